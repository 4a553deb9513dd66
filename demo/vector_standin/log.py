"""Log lines on standard error, shaped like Vector's.

2026-01-02T03:04:05.678901Z  INFO vector::app: Log level is enabled. level="info"
"""

import sys
import threading
from datetime import UTC, datetime

LEVELS = ("trace", "debug", "info", "warn", "error", "off")

_threshold = LEVELS.index("info")
_write_lock = threading.Lock()


def set_level(directives: str) -> str:
    """Take the level from a VECTOR_LOG value and return it.

    `debug`, or a list such as `info,vector=debug`: the level for `vector`, else the bare one, counts. What
    names no level leaves `info`, as Vector does.
    """
    global _threshold
    chosen = "info"
    for directive in directives.lower().split(","):
        target, _, level = directive.strip().rpartition("=")
        if level in LEVELS and target in ("", "vector"):
            chosen = level
    _threshold = LEVELS.index(chosen)
    return chosen


def quote(value: object) -> str:
    """A value as Vector's logs quote it: strings in double quotes, lists in brackets."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(quote(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _emit(level: str, target: str, message: str, span: str, fields: dict[str, object]) -> None:
    if LEVELS.index(level) < _threshold:
        return
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    rest = "".join(f" {name}={value}" for name, value in fields.items())
    line = f"{now} {level.upper():>5} {span + ': ' if span else ''}{target}: {message}{rest}\n"
    with _write_lock:
        try:
            sys.stderr.write(line)
            sys.stderr.flush()
        except OSError:
            # Whoever read our log has gone. A pipeline does not stop for that.
            return


def debug(target: str, message: str, span: str = "", **fields: object) -> None:
    _emit("debug", target, message, span, fields)


def info(target: str, message: str, span: str = "", **fields: object) -> None:
    _emit("info", target, message, span, fields)


def warn(target: str, message: str, span: str = "", **fields: object) -> None:
    _emit("warn", target, message, span, fields)


def error(target: str, message: str, span: str = "", **fields: object) -> None:
    _emit("error", target, message, span, fields)
