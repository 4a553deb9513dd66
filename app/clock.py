"""The time of day as the server stores and prints it: UTC with milliseconds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import overload


def utc_now() -> datetime:
    """Now, aware, cut to milliseconds so that what is stored equals what is printed."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@overload
def rfc3339(moment: datetime) -> str: ...


@overload
def rfc3339(moment: datetime | None) -> str | None: ...


def rfc3339(moment: datetime | None) -> str | None:
    """``2026-01-31T12:00:00.000Z`` for an aware moment; ``None`` stays ``None``."""
    if moment is None:
        return None
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def from_milliseconds(milliseconds: float) -> datetime:
    """The aware moment that lies *milliseconds* after 1970."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
