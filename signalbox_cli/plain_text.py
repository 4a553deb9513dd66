"""Text from elsewhere as a terminal may show it, and how wide that is there."""

from __future__ import annotations

import json
import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
ELLIPSIS = "…"


def printable(text: str, keep: str = "\t") -> str:
    """*text* with whatever could steer a terminal written out (``\\x1b``); a tab and what *keep* names stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each in keep or unicodedata.category(each) not in _INVISIBLE else _written_out(each)
        for each in text
    )


def printable_json(text: str) -> str:
    """JSON with whatever could steer a terminal written out as JSON has it; line ends stay."""
    if text.isprintable():
        return text
    return "".join(
        each if each == "\n" or unicodedata.category(each) not in _INVISIBLE else json.dumps(each)[1:-1]
        for each in text
    )


def width(text: str) -> int:
    """How many columns *text* takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def cut(text: str, columns: int) -> str:
    """*text* in at most *columns* columns, with an ellipsis where something was left out."""
    if width(text) <= columns:
        return text
    kept, left = "", columns - 1
    for each in text:
        left -= width(each)
        if left < 0:
            break
        kept += each
    return kept + ELLIPSIS if columns > 0 else ""


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
