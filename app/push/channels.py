"""The names of all channels between processes, under one prefix, and the short keys that stand for them.

A worker keeps a key for each channel that it hears: of a node's channel that is the node's id, a string which it
has anyway; a name of its own would cost as much as a third of the socket.
"""

from __future__ import annotations

OTHER = "/"
"""Begins the key of a channel that is no node's; no id holds one."""


class Channels:
    """One channel for each node and each worker, and one for fleet pages.

    A hash tag leaves room for sharded pub/sub.
    """

    def __init__(self, prefix: str) -> None:
        self.node_head = f"{prefix}node:{{".encode()
        """What stands before the node's id; behind it stands a brace."""
        self._worker = f"{prefix}worker-echo:{{"
        self.fleet = f"{prefix}fleet"
        self.fleet_key = OTHER + self.fleet

    def worker(self, worker_id: str) -> str:
        """The channel on which a worker hears itself."""
        return f"{self._worker}{worker_id}}}"

    def worker_key(self, worker_id: str) -> str:
        """Its key."""
        return OTHER + self.worker(worker_id)

    def name(self, key: str) -> bytes:
        """The channel that *key* stands for."""
        return key[1:].encode() if key.startswith(OTHER) else b"%s%s}" % (self.node_head, key.encode())

    def key(self, name: bytes) -> str:
        """The key of the channel *name*.

        :raises ValueError: no channel has such a name.
        """
        if name.startswith(self.node_head):
            return name[len(self.node_head) : -1].decode()
        return OTHER + name.decode()
