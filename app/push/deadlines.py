"""A total deadline around what is made of steps, each with a time-out of its own or none at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent import monkey


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End what takes longer than *seconds* in all; only gevent can, so in an unpatched process it does nothing.

    What is ended sees ``gevent.Timeout``, no ``Exception``: SQLAlchemy and redis-py then give up the connection.

    :raises TimeoutError: it has been ended.
    """
    if not monkey.is_module_patched("socket"):
        yield
        return
    timer = gevent.Timeout(seconds)
    timer.start()
    try:
        yield
    except gevent.Timeout as late:
        if late is not timer:
            raise
        raise TimeoutError(f"not done after {seconds:g} s") from None
    finally:
        timer.close()
