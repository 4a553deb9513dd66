"""A browser's name for itself in a few words, for people who look for the session that is not theirs."""

from __future__ import annotations

import re

_BROWSERS = (
    ("Edge", r"\bEdg(?:e|A|iOS)?/(\d+)"),
    ("Opera", r"\bOPR/(\d+)"),
    ("Samsung Internet", r"\bSamsungBrowser/(\d+)"),
    ("Firefox", r"\b(?:Firefox|FxiOS)/(\d+)"),
    ("Chrome", r"\b(?:HeadlessChrome|Chrome|CriOS)/(\d+)"),
    ("Safari", r"\bVersion/(\d+)[\d.]* (?:Mobile/\S+ )?Safari/"),
)
"""Those that call themselves by others' names, too, stand before these."""
_SYSTEMS = (
    ("iOS", r"iPhone|iPad"),
    ("Android", r"Android"),
    ("Windows", r"Windows"),
    ("macOS", r"Macintosh|Mac OS X"),
    ("ChromeOS", r"\bCrOS\b"),
    ("Linux", r"Linux|X11"),
)
MOST_CHARACTERS = 40


def in_words(text: str | None) -> str:
    """``Firefox 145 on Linux``; the beginning of what is no known browser's."""
    if not text:
        return "unknown browser"
    system = next((name for name, pattern in _SYSTEMS if re.search(pattern, text)), None)
    for name, pattern in _BROWSERS:
        found = re.search(pattern, text)
        if found:
            return f"{name} {found[1]}" + (f" on {system}" if system else "")
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1] + "…"
