"""Finds the processes that a test session started and left behind, however they were orphaned."""

import os
from pathlib import Path

import psutil

MARK = "SIGNALBOX_TEST_SESSION"
"""An environment variable that everything started here inherits; its value tells sessions apart."""


def left_behind(mark: str, folder: Path) -> list[psutil.Process]:
    """The living processes that carry `mark`, or work in or were told of `folder`, but for us.

    Two signs, because an agent gives its children an environment without our mark: their command line then
    names a file under the session's temporary folder. Zombies are dead, processes that we may not look
    into are not ours, and those above us in the tree may well have been told of the folder.
    """
    ourselves = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter()
        if process.pid not in ourselves and _is_ours(process, mark, folder)
    ]


def _is_ours(process: psutil.Process, mark: str, folder: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get(MARK) == mark:
            return True
        named = [process.cwd(), *process.cmdline()]
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False
    return any(str(folder) in text for text in named)


def describe(process: psutil.Process) -> str:
    """One line for a report."""
    try:
        return f"pid {process.pid}: {' '.join(process.cmdline())}"
    except psutil.NoSuchProcess:
        return f"pid {process.pid}, which has just ended"
