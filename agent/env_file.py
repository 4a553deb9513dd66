"""The file of settings that systemd reads for a service (``EnvironmentFile=``). Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

ASSIGNMENT = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*)=(.*)")
PLAIN = re.compile(r"[A-Za-z0-9_./:@,=+%*\[\]-]*")


def parse(text: str) -> dict[str, str]:
    """What a file says, as systemd takes it; lines that are no assignment count for nothing."""
    found = (_assignment(line) for line in text.splitlines())
    return {name: value for name, value in found if name}


def with_values(text: str, values: Mapping[str, str]) -> str:
    """``text`` with ``values`` set; every other line stays. ValueError for a value that no line can hold."""
    missing = dict(values)
    lines = []
    for line in text.splitlines():
        name, old = _assignment(line)
        if name in values:
            value = missing.pop(name, None)
            if value is None:
                # A second line of the same name would win.
                continue
            line = line if old == value else _line(name, value)
        lines.append(line)
    lines += [_line(name, value) for name, value in missing.items()]
    return "".join(f"{line}\n" for line in lines)


def _assignment(line: str) -> tuple[str, str]:
    match = ASSIGNMENT.fullmatch(line)
    if match is None:
        return "", ""
    value = match[2].strip()
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r'\\(["\\$`])', r"\1", value[1:-1])
    elif len(value) >= 2 and value[0] == value[-1] == "'":
        value = value[1:-1]
    return match[1], value


def _line(name: str, value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{name} holds a character that no settings file can hold")
    if PLAIN.fullmatch(value):
        return f"{name}={value}"
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'{name}="{escaped}"'
