"""Identifiers: UUIDv7 as 32 hexadecimal digits, so that none is ever used twice (hazard 5)."""

import re

import uuid_utils

ID_PATTERN = re.compile(r"[0-9a-z]{1,32}")


def new_id() -> str:
    """A fresh identifier of 32 hexadecimal digits; later ones sort after earlier ones."""
    return uuid_utils.uuid7().hex


def is_id(text: str) -> bool:
    """Whether *text* can be an identifier at all, known or not."""
    return ID_PATTERN.fullmatch(text) is not None
