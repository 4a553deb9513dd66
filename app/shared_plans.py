"""An environment's plan, assembled by one worker for all of them: encrypted, in Redis (ADR 15).

The last plan of each environment lies there for some minutes, bound to its environment and nonce: under another
nonce it cannot be opened. Redis only spares work here. Where it is away, has nothing, or has what cannot be opened,
a worker assembles for itself.
"""

from __future__ import annotations

import json
import random
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import current_app

from app.encryption import DecryptionError, Sealed, keyring
from app.push.redis_gate import RedisAwayError
from app.switchboard_process import switchboard

KIND = "plan 1"
"""What is sealed; the number changes with its form, so that a release never reads another one's."""
KEPT_SECONDS = 600
MAX_BYTES = 4 * 1024 * 1024
"""Sealed. A larger plan is not shared."""
TURN_SECONDS = 10
"""After so long without a plan from the worker whose turn it is, another one may assemble."""
PATIENCE_SECONDS = 3.0
"""So long a worker waits for another one's plan before it assembles for itself."""
LOOK_SECONDS = (0.01, 0.04)

_END_TURN = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"


class Turn:
    """What ``turn`` gives: ``found``, or leave to assemble and the duty to ``keep`` what comes of it."""

    def __init__(self, environment_id: str, nonce: str, found: dict[str, Any] | None) -> None:
        self.found = found
        """The plan of another worker, as ``keep`` got it."""
        self._place = environment_id, nonce

    def keep(self, plan: dict[str, Any]) -> None:
        """Share *plan*, which is JSON, with the other workers. Never raises for Redis."""
        environment_id, nonce = self._place
        packed = zlib.compress(json.dumps(plan, separators=(",", ":")).encode(), 1)
        if len(packed) > MAX_BYTES:
            return
        sealed = keyring().seal(packed, environment_id, KIND, nonce)
        value = sealed.key_id.encode() + b" " + sealed.data
        try:
            switchboard().gate.run(lambda client: client.set(_key(environment_id), value, ex=KEPT_SECONDS))
        except RedisAwayError:
            pass  # each worker assembles for itself


@contextmanager
def turn(environment_id: str, nonce: str) -> Iterator[Turn]:
    """Wait for the plan of *nonce*, or for the turn to assemble it: one worker at a time has it.

    The wait ends without either after ``PATIENCE_SECONDS``, and at once where Redis is away.
    """
    own = uuid.uuid4().hex
    name = f"{_key(environment_id)}:{nonce}"
    deadline = time.monotonic() + PATIENCE_SECONDS
    has_turn = False
    try:
        found = _look(environment_id, nonce)
        if found is None:
            while not (has_turn := _take_turn(name, own)) and time.monotonic() < deadline:
                time.sleep(random.uniform(*LOOK_SECONDS))
            # Whoever had the turn before has put its plan there.
            found = _look(environment_id, nonce)
    except RedisAwayError:
        found = None
    try:
        yield Turn(environment_id, nonce, found)
    finally:
        if has_turn:
            try:
                switchboard().gate.run(lambda client: client.eval(_END_TURN, 1, name, own))
            except RedisAwayError:
                pass  # it ends by itself


def _take_turn(name: str, own: str) -> bool:
    return bool(switchboard().gate.run(lambda client: client.set(name, own, nx=True, ex=TURN_SECONDS)))


def _look(environment_id: str, nonce: str) -> dict[str, Any] | None:
    value = switchboard().gate.run(lambda client: client.get(_key(environment_id)))
    if not isinstance(value, bytes):
        return None
    key_id, _, data = value.partition(b" ")
    try:
        packed = keyring().open(Sealed(key_id.decode(), data), environment_id, KIND, nonce)
        plan: dict[str, Any] = json.loads(zlib.decompress(packed))
    except (DecryptionError, UnicodeDecodeError, zlib.error, ValueError):
        return None  # of another nonce, or of a key that is not here
    return plan


def _key(environment_id: str) -> str:
    prefix: str = current_app.extensions["settings"].redis_prefix
    return f"{prefix}plan:{{{environment_id}}}"
