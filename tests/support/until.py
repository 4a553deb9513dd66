"""Waiting for something to become so, with a deadline and no hoping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 30.0
"""How long to wait for what comes at once on an idle machine: it costs nothing when it comes."""
LONGEST_PAUSE = 0.1
"""Seconds; a probe is often a request, and fifty of them a second take half a core from what is waited for."""
PAUSES_A_WAIT = 20
"""A pause grows to this part of what was waited already: nothing is seen later than by a twentieth."""


def until(
    probe: Callable[[], T | None],
    *,
    seconds: float = PATIENCE_SECONDS,
    every: float = 0.02,
    what: str = "",
    tolerate: tuple[type[Exception], ...] = (),
) -> T:
    """Call `probe` until it answers something true, and return that.

    `seconds` is the deadline and `every` the first pause between two calls; pauses grow with what was waited, up
    to a tenth of a second. Exceptions of the types in `tolerate`
    count as "not yet". Raises AssertionError with the last value or exception when the deadline has passed;
    the probe is called at least once, and once more at the deadline.
    """
    __tracebackhide__ = True  # a failure is shown where the test waits
    began = time.monotonic()
    deadline = began + seconds
    while True:
        late = time.monotonic() >= deadline
        cause: Exception | None = None
        try:
            value = probe()
        except tolerate as error:
            cause = error
            last = f"raised {error!r}"
        else:
            if value:
                return value
            last = f"was {value!r}"
        if late:
            raise AssertionError(f"not so after {seconds} s: {what or 'the probe'} {last} at last") from cause
        grown = min((time.monotonic() - began) / PAUSES_A_WAIT, LONGEST_PAUSE)
        time.sleep(max(every, grown))
