"""After a fail-over or a split, publisher and subscriber may sit on an old master and hear each other (hazard 23).

So every five seconds the command connection is asked who it talks to, and the subscriber follows it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import gevent

from app.push.redis_gate import MASTER, Identity, RedisAwayError, RedisGate, RedisRefusedError

EVERY_SECONDS = 5.0
MAX_SECONDS = 60.0
"""Where connecting again changes nothing, it is tried less and less often."""

log = logging.getLogger("signalbox.push")


def what_is_wrong(commanded: Identity, heard_run_id: str | None) -> str | None:
    """Why all connections should be made again; ``None`` if they are right. Pure."""
    if commanded.role != MASTER:
        return f"the Redis that takes commands is no master but a {commanded.role}"
    if heard_run_id is not None and heard_run_id != commanded.run_id:
        return "the subscriber listens to another Redis than the one that takes commands"
    return None


class RedisGuard:
    """Looks at *gate*; *heard_run_id* answers which Redis the subscriber is connected to, if it knows."""

    def __init__(
        self, gate: RedisGate, heard_run_id: Callable[[], str | None], reconnect: Callable[[], None]
    ) -> None:
        self._gate = gate
        self._heard_run_id = heard_run_id
        self._reconnect = reconnect
        self._is_silent = False

    def run(self) -> None:
        """Look, for ever. One greenlet."""
        pause = EVERY_SECONDS
        while True:
            gevent.sleep(pause)
            pause = EVERY_SECONDS if self.look() else min(pause * 2, MAX_SECONDS)

    def look(self) -> bool:
        """Make all connections again where they are wrong; False if they were."""
        try:
            commanded = self._gate.identity()
        except RedisRefusedError as error:
            if not self._is_silent:
                log.warning("redis not checked for a fail-over: %s", error)
            self._is_silent = True
            return True
        except RedisAwayError:
            return True
        reason = what_is_wrong(commanded, self._heard_run_id())
        if reason is None:
            return True
        log.warning("redis connections made again: %s", reason)
        self._gate.drop()
        self._reconnect()
        return False
