"""Since when this node has been on its own, for whoever reads its log. Decides nothing: the wall clock may jump."""

from __future__ import annotations

import logging
import math
import time
from datetime import UTC, datetime

from agent.protocol import rfc3339
from agent.store import Store, StoreError

log = logging.getLogger("agent.contact")

KEEP_SECONDS = 60.0
"""The moment on disk is no older than this while the server answers."""
REPEAT_SECONDS = 3600.0
"""How often it is said again while the server stays away."""


class Contact:
    """When the server last answered, over the lives of the agent."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._heard_at = store.last_contact()
        self._is_alone = False
        self._kept_at = self._said_at = -math.inf

    def answered(self) -> None:
        """The server has told what is wanted."""
        if self._is_alone:
            log.info("the server answers again, on its own since=%s", self._heard_at or "-")
        self._is_alone = False
        self.heard()

    def heard(self) -> None:
        """The server has answered something; while what is wanted cannot be had, that changes nothing."""
        if self._is_alone:
            return
        self._heard_at = rfc3339(datetime.now(UTC))
        if time.monotonic() - self._kept_at >= KEEP_SECONDS:
            self._kept_at = time.monotonic()
            try:
                self._store.keep_contact(self._heard_at)
            except StoreError as error:
                log.debug("%s", error)

    def missed(self) -> None:
        """What is wanted could not be had."""
        if not self._is_alone or time.monotonic() - self._said_at >= REPEAT_SECONDS:
            self._is_alone, self._said_at = True, time.monotonic()
            log.warning("on its own since=%s, what runs goes on", self._heard_at or "-")
