"""``python -m agent``: the agent in the foreground, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime

from agent import __version__, certificates
from agent.protocol import rfc3339
from agent.settings import Settings, SettingsError, read_settings
from agent.starter import start_again
from agent.store import Store, StoreError
from agent.transport import LinkTiming
from agent.update import UpdateTiming

CANNOT_START = 1


class _Formatter(logging.Formatter):
    """One line each, however many a message has: ``2026-01-31T12:00:00.000Z INFO agent message``."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return rfc3339(datetime.fromtimestamp(record.created, UTC))

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")


def main(link_timing: LinkTiming | None = None, update_timing: UpdateTiming | None = None) -> int:
    """Run; the exit code. The timings are for tests that cannot wait for minutes."""
    if sys.argv[1:] == ["--version"]:
        print(f"signalbox-agent {__version__}")
        return 0
    try:
        settings = read_settings(os.environ)
        _start_logging(settings)
        store = Store(settings.data_dir)
        store.open()
        certificates.unpack(store.data_dir)
        # Only now, when it is sure that it will be needed: requests and websocket take a while to import.
        from agent.loop import Loop

        if Loop(settings, store, link_timing, update_timing).run():
            return start_again()
    except (SettingsError, StoreError) as error:
        print(error, file=sys.stderr)
        return CANNOT_START
    return 0


def _start_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("agent").setLevel(settings.log_level)


if __name__ == "__main__":
    sys.exit(main())
