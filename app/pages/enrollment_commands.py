"""The commands that make a node of a machine: what somebody pastes there, and nothing else."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from urllib.parse import urlsplit

FILE = "signalbox-agent.pyz"
SERVICE_FILE = f"/usr/local/lib/{FILE}"
"""A service may not run what lies in a home or a temporary folder."""
FOLDER = '"$PWD/signalbox-agent"'
"""Where the agent keeps all that it has when it is tried: beside its file, without root."""
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Commands:
    """Each is one line for a POSIX shell."""

    here: str | None
    """Fetches the agent's one file and runs it in the terminal; ``None`` where the server has none to offer."""
    service: str | None
    """Fetches it and makes it a service of systemd; the token stands in no process's arguments."""
    module: str
    """Runs the agent from a copy of the source."""
    is_local: bool
    """Whether the address is one at which only the server's own machine finds the server."""


def commands(url: str, token: str, *, has_file: bool) -> Commands:
    """For the server at *url*, with the environment's enrollment *token*."""
    offered = shlex.quote(f"{url}/agent/{FILE}")
    settings = f"SIGNALBOX_URL={shlex.quote(url)} SIGNALBOX_TOKEN={shlex.quote(token)}"
    here = f"curl -fsSL -o {FILE} {offered} && {settings} SIGNALBOX_DATA_DIR={FOLDER} python3 {FILE}"
    # printf is the shell's own: arguments of programs are for everybody on the machine to see.
    service = (
        f"sudo curl -fsSL -o {SERVICE_FILE} {offered} && printf %s {shlex.quote(token)}"
        f" | sudo python3 {SERVICE_FILE} install --now --url {shlex.quote(url)} --token-file -"
    )
    return Commands(
        here if has_file else None,
        service if has_file else None,
        f"{settings} SIGNALBOX_DATA_DIR={FOLDER} python3 -m agent",
        urlsplit(url).hostname in LOCAL,
    )
