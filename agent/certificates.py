"""The certificate authorities of the one file, as a file of their own: TLS reads no archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import certifi

from agent.store import write_atomically

NAME = "cacert.pem"


def unpack(data_dir: Path) -> None:
    """Have certifi name a file in the data folder, where all of us lies in an archive.

    It would make a temporary file in each life, and an agent that is killed or begins anew leaves its one behind.
    Where the disk is full, an older file serves, and without one certifi does as it likes.
    """
    if not is_packed():
        return
    path = data_dir / NAME
    try:
        content = _content()
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content, is_lasting=True)
    except OSError:
        if not path.exists():
            return

    def where() -> str:
        return str(path)

    certifi.where = certifi.core.where = where


def is_packed() -> bool:
    """Whether this agent runs from its one file."""
    return not Path(certifi.__file__).exists()


def check() -> None:
    """ImportError where the authorities are missing."""
    if b"BEGIN CERTIFICATE" not in _content():
        raise ImportError("the file holds no certificate authorities")


def _content() -> bytes:
    # Not through certifi.contents(), which loads all that Python knows of archives.
    assert certifi.__spec__ is not None
    loader: Any = certifi.__spec__.loader
    content: bytes = loader.get_data(str(Path(certifi.__file__).with_name(NAME)))
    return content
