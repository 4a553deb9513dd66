"""``--check``: a new agent's first start, beside the old one: it imports itself and reads what that one kept."""

from __future__ import annotations

import os
from pathlib import Path

from agent import __version__
from agent.places import data_dir
from agent.store import Store, StoreError


def check() -> int:
    """Say the version as the last line and nothing else, if this file can be the agent here; the exit code."""
    store = Store(Path(data_dir(os.environ)))
    try:
        from agent import certificates, loop  # noqa: F401 - that it can be imported is what is asked

        certificates.check()
        store.plan()
        store.actions()
    except (ImportError, StoreError) as error:
        print(error)
        return 1
    print(f"signalbox-agent {__version__}")
    return 0
