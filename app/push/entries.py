"""Entries of the registry: who is connected, as it is stored."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the registry."""

    fence: int
    connection_id: str
    worker_id: str
    transport: str
    since_ms: int
    label: str
    address: str
    subscribed: bool
    instance: str | None = None
    """Which run of the agent it is (``X-Agent-Instance``), where the agent says so."""

    def pack(self) -> str:
        """As it is stored; none of the fields holds a space."""
        return (
            f"{self.fence} {self.connection_id} {self.worker_id} {self.transport} {self.since_ms}"
            f" {self.label} {self.address or '-'} {int(self.subscribed)}"
            f"{f' {self.instance}' if self.instance else ''}"
        )

    @classmethod
    def unpack(cls, text: str) -> Entry:
        """The entry in *text*.

        :raises ValueError: not one of ours.
        """
        fence, connection_id, worker_id, transport, since_ms, label, address, subscribed, *more = text.split(
            " "
        )
        return cls(
            int(fence),
            connection_id,
            worker_id,
            transport,
            int(since_ms),
            label,
            address,
            subscribed == "1",
            more[0] if more else None,
        )


def entry_in(value: bytes | None) -> Entry | None:
    """The entry that is stored as *value*; ``None`` where it is none."""
    if not value:
        return None
    try:
        return Entry.unpack(text_of(value))
    except ValueError:
        return None  # not written by this version: its owner's audit will write it again


def text_of(value: bytes | str) -> str:
    """What Redis answers, as text."""
    return value.decode() if isinstance(value, bytes) else value
