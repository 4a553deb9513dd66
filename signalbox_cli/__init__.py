"""``signalbox``, the command line: a client of the operator API, and the only package that gets installed."""

from __future__ import annotations

from importlib import metadata

__all__ = ["version"]


def version() -> str:
    """That of the installed distribution, as ``pyproject.toml`` has it."""
    try:
        return metadata.version("signalbox")
    except metadata.PackageNotFoundError:
        return "0 (not installed)"
