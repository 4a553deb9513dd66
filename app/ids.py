"""Identifiers: UUIDv7 as 32 hexadecimal digits, so that none is ever used twice (hazard 5)."""

import re
from datetime import datetime

import uuid_utils

ID_PATTERN = re.compile(r"[0-9a-z]{1,32}")


def new_id() -> str:
    """A fresh identifier of 32 hexadecimal digits; later ones sort after earlier ones."""
    return uuid_utils.uuid7().hex


def is_id(text: str) -> bool:
    """Whether *text* can be an identifier at all, known or not."""
    return ID_PATTERN.fullmatch(text) is not None


def first_id_at(moment: datetime) -> str:
    """Sorts after every identifier that was made before *moment*, and before all that were made later."""
    return f"{int(moment.timestamp() * 1000):012x}{0:020x}"
