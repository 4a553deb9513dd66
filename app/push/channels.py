"""The names of all channels between processes, under one prefix."""

from __future__ import annotations


class Channels:
    """One channel for each node and each worker, and one for fleet pages.

    A hash tag leaves room for sharded pub/sub.
    """

    def __init__(self, prefix: str) -> None:
        self.node_head = f"{prefix}node:{{"
        """What stands before the node's id; behind it stands a brace."""
        self._worker = f"{prefix}worker-echo:{{"
        self.fleet = f"{prefix}fleet"

    def node(self, node_id: str) -> str:
        """The channel of one node."""
        return f"{self.node_head}{node_id}}}"

    def node_of(self, channel: str) -> str | None:
        """The node whose channel this is."""
        return channel[len(self.node_head) : -1] if channel.startswith(self.node_head) else None

    def worker(self, worker_id: str) -> str:
        """The channel on which a worker hears itself."""
        return f"{self._worker}{worker_id}}}"
