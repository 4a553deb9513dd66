"""The agent's one file as a test wants it: another version, other delays, signed, or spoilt."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tools.build_agent import archive, describe, sources

MAIN = "__main__.py"
TIMING = ("patience", "longest", "retry", "margin")


@cache
def _sources() -> dict[str, bytes]:
    return sources()


class AgentFile:
    """One built file and what a `self_update` action says of it."""

    def __init__(
        self,
        folder: Path,
        version: str,
        *,
        main: str | None = None,
        agent: str | None = None,
        timing: Mapping[str, float] | None = None,
        changes: Mapping[str, tuple[str, str]] | None = None,
        key: Ed25519PrivateKey | None = None,
    ) -> None:
        """Built into `folder`, which exists.

        `main` replaces what is run first, the starter; `agent` replaces agent/command_line.py; `timing` are the
        delays (see agent/update.py) of the trials that this agent begins; `changes` are by file a text and what
        stands in its place.
        """
        files = dict(_sources())
        for name, (old, new) in {
            "agent/__init__.py": ('__version__ = "', f'__version__ = "{version}"  # "'),
            **(changes or {}),
        }.items():
            files[name] = _replaced(files[name], old, new)
        for name, seconds in (timing or {}).items():
            assert name in TIMING
            files["agent/update.py"] = _replaced(
                files["agent/update.py"], f"    {name}: float = ", f"    {name}: float = {seconds}  # "
            )
        if main is not None:
            files[MAIN] = main.encode()
        if agent is not None:
            files["agent/command_line.py"] = agent.encode()
        self.version = version
        self.content = archive(files, key)
        self.description = describe(self.content, version, key)
        self.path = folder / f"signalbox-agent-{version}-{self.digest[:8]}.pyz"
        self.path.write_bytes(self.content)

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def action(self, url: str, action_id: str = "u1") -> dict[str, str]:
        """A `pendingAction` that asks for it."""
        action = {
            "type": "self_update",
            "actionId": action_id,
            "targetVersion": self.version,
            "downloadUrl": url,
            "checksum": self.description["checksum"],
        }
        if "signature" in self.description:
            action["signature"] = self.description["signature"]
        return action


def _replaced(content: bytes, old: str, new: str) -> bytes:
    assert content.decode().count(old) == 1, f"{old!r} does not stand there once"
    return content.replace(old.encode(), new.encode())
