"""How a node that connects again and again is slowed down, whatever its reason (agent A redials without a pause).

Counted across workers by ``claim.lua``; ``Dials`` is the same rule in one worker's memory, for as long as Redis is
away. A node may dial eight times in ten seconds, far more than the restart of every worker, one by one, makes it
dial. The next time it is told to pause, for 2 s, and after the pause it may try once; if it comes back too soon
again the pause doubles, up to a minute. Whoever has been quiet for two minutes starts afresh. Dialling during a
pause prolongs nothing: agent A cannot read ``Retry-After``, and backs off by itself to 30 s.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

DIALS_ALLOWED = 8
WITHIN_MS = 10_000
FIRST_PAUSE_MS = 2_000
LONGEST_PAUSE_MS = 60_000
REMEMBERED_MS = 120_000
MAX_NODES = 20_000


@dataclass(slots=True)
class _Dialling:
    count: int
    since: float
    level: int
    paused_until: float
    last: float


class Dials:
    """The dials of the nodes that came last, at most twenty thousand. Pure: every moment is given, in seconds."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, _Dialling] = OrderedDict()

    def pause_ms(self, node_id: str, now: float) -> int:
        """The node dials: 0 if it may, else for how many milliseconds it is to wait."""
        node = self._nodes.pop(node_id, None)
        if node is None or (now - node.last) * 1000 >= REMEMBERED_MS + LONGEST_PAUSE_MS:
            node = _Dialling(0, now, 0, 0.0, now)
        self._nodes[node_id] = node
        if len(self._nodes) > MAX_NODES:
            self._nodes.popitem(last=False)
        if now < node.paused_until:
            return int((node.paused_until - now) * 1000) + 1
        if (now - node.paused_until) * 1000 >= REMEMBERED_MS:
            node.level = 0
        if (now - node.since) * 1000 >= WITHIN_MS:
            node.count, node.since = 0, now
        node.count += 1
        node.last = now
        if node.count <= DIALS_ALLOWED:
            return 0
        node.level += 1
        pause_ms: int = min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (node.level - 1))
        node.paused_until = node.since = now + pause_ms / 1000
        node.count = DIALS_ALLOWED - 1
        return pause_ms
