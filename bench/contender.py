"""What a measurement of sockets needs to know of a server that runs, ours or a peer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Contender:
    """A server that runs, with nodes that may connect."""

    name: str
    urls: list[str]
    """Where channels are opened, in turn."""
    tokens: list[str]
    """One for each node; the index is how the rest of the bench names a node."""
    pids: list[int]
    """Of its workers."""
    store: Any
    """A client of its Redis."""
    held: Callable[[], int]
    """How many channels it has subscribed."""
    deploy: Callable[[], int]
    """Tell all; how many were told, as far as it knows."""
    publish_one: Callable[[int], None]
    """Put one message for one node on its Redis."""
    headers: Mapping[str, str] = field(default_factory=dict)
    dialect: str = "plain"
    settle: Callable[[], None] = lambda: None
    """Called after a deploy: everybody has done what was asked."""
