"""Which agent file runs on this node: ``update/`` in the data folder, read and written by agents of every version.

::

    update/state.json              what follows, replaced whole, 0600
    update/agent-<digest>.pyz      files that were fetched, never changed once they have their name

``state.json`` is one object. The starter that reads it is never updated, so words are only ever added to it, and
words that are not known are kept:

``base``      build id of the installed file beside which all this was written
``current``   ``{file, version, digest}``: what runs in place of the installed file, once it was accepted
``previous``  what ran before it, should that file be damaged
``trial``     a file that has yet to prove itself, see :func:`begin`
``retry``     the same, put off because the server was away
``failed``    ``[{version, digest, reason}]``: what was tried and given up
``last``      ``{actionId, error}``: how the last trial ended
``key``       the public key that was last trusted

The starter writes while no agent runs, an agent while it holds the lock of the data folder.
This module stays in memory beside a guarded agent: it imports next to nothing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

Record = dict[str, Any]

STARTED_BY = "SIGNALBOX_AGENT_STARTED_BY"
"""``<pid>:<path of the installed file>``: set by a starter for the agent that it becomes, or guards."""
RESTART = 75
"""Exit code of a guarded agent that wants to be started again."""
MOST_STARTS = 3
"""A trial that was begun so often and never judged has failed; power cuts and kills are excused twice."""
MOST_POSTPONED = 3
"""So many trials may pass without the server answering."""
FAILURES_KEPT = 20


def folder(data_dir: Path) -> Path:
    """Where the files of updates lie."""
    return data_dir / "update"


def read(folder: Path) -> Record:
    """The state; empty where there is none or none that can be understood."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def write(folder: Path, state: Record) -> None:
    """Replace the state; it has reached the disk on return. OSError if that cannot be done."""
    folder.mkdir(mode=0o700, exist_ok=True)
    temporary = folder / f".state.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(json.dumps(state, indent=1).encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / "state.json")
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Have the names in it reach the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def entry(state: Record, name: str) -> Record | None:
    """``current``, ``previous``, ``trial`` or ``retry``; ``None`` where there is none that names a file."""
    value = state.get(name)
    if not isinstance(value, dict) or not all(
        isinstance(value.get(key), str) for key in ("file", "version", "digest")
    ):
        return None
    # Whatever a damaged disk may say, it is a file of this folder.
    return value if "/" not in value["file"] else None


def begin(state: Record, trial: Record) -> None:
    """The next start tries a file.

    ``trial``: ``{file, version, digest, actionId, seconds, starts, postponed, …}``. ``seconds`` is how long after
    its start it is ended unless it was accepted, or has written a larger number here meanwhile; the rest is between
    the agent that writes it and the one that is tried.
    """
    state["trial"] = trial | {"starts": 0}
    state.pop("retry", None)


def accept(state: Record) -> None:
    """The file on trial runs from now on."""
    trial = state.pop("trial")
    if (current := entry(state, "current")) is not None:
        state["previous"] = current
    state["current"] = {key: trial[key] for key in ("file", "version", "digest")}
    state["last"] = {"actionId": trial.get("actionId"), "error": None}


def fail(state: Record, reason: str) -> None:
    """The file on trial is not tried again."""
    trial = state.pop("trial")
    failed = state.get("failed")
    failed = failed if isinstance(failed, list) else []
    failed.append({"version": trial["version"], "digest": trial["digest"], "reason": reason})
    state["failed"] = failed[-FAILURES_KEPT:]
    error = f"went back from {trial['version']}: {reason}"
    state["last"] = {"actionId": trial.get("actionId"), "error": error}


def postpone(state: Record) -> None:
    """Nothing can be said about the file on trial: the server was away. It is tried again, three times in all."""
    trial = state.pop("trial")
    postponed = int(trial.get("postponed") or 0) + 1
    if postponed < MOST_POSTPONED:
        state["retry"] = trial | {"postponed": postponed}
        return
    error = f"went back from {trial['version']}: the server did not answer it in {postponed} trials"
    state["last"] = {"actionId": trial.get("actionId"), "error": error}


def follow_base(state: Record, build_id: str | None) -> bool:
    """Forget what was fetched where the installed file was replaced by hand since; whether it was."""
    if state.get("base") == build_id:
        return False
    for name in ("current", "previous", "trial", "retry"):
        state.pop(name, None)
    state["base"] = build_id
    return True


def started_by() -> tuple[Path, bool] | None:
    """The installed file and whether a starter guards this process; ``None`` for an agent that started alone."""
    pid, colon, base = os.environ.get(STARTED_BY, "").partition(":")
    if not colon or not base or pid not in (str(os.getpid()), str(os.getppid())):
        return None
    return Path(base), pid == str(os.getppid())
