"""The code that whoever makes the first account must have: it shows that they can read the server's log.

It is worked out from the secret key and the hour, so that every worker and machine knows the same one and none
keeps anything. A new one begins each hour; the one before is good for another hour, so that none is good for
longer than two.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime, timedelta

CHARACTERS = 16
"""Of base32: eighty bits, which nobody guesses in two hours."""
CLOCKS_APART = timedelta(minutes=2)
"""A machine whose clock is ahead by less shows codes that the others take."""

_PURPOSE = b"signalbox setup code "
_HOUR = timedelta(hours=1)


def at(secret_key: str, moment: datetime) -> str:
    """The code of the hour of *moment*, such as ``abcd-efgh-ijkl-mnop``."""
    hour = int(moment.timestamp() // _HOUR.total_seconds())
    digest = hmac.new(secret_key.encode(), _PURPOSE + str(hour).encode(), hashlib.sha256).digest()
    text = base64.b32encode(digest).decode().lower()[:CHARACTERS]
    return "-".join(text[start : start + 4] for start in range(0, CHARACTERS, 4))


def good_until(moment: datetime) -> datetime:
    """When the code of the hour of *moment* is good no longer."""
    return moment.replace(minute=0, second=0, microsecond=0) + 2 * _HOUR


def is_good(secret_key: str, given: str, now: datetime) -> bool:
    """Whether *given* is this hour's code or the one before; case, blanks and hyphens do not matter."""
    letters = "".join(given.lower().replace("-", "").split()).encode("utf-8", "surrogatepass")
    is_right = False
    for moment in (now, now - _HOUR, now + CLOCKS_APART):
        expected = at(secret_key, moment).replace("-", "").encode()
        is_right = hmac.compare_digest(letters, expected) or is_right
    return is_right
