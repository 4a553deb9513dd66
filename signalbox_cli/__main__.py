"""``python -m signalbox_cli``, for whoever has not installed it."""

from __future__ import annotations

from signalbox_cli.program import main

if __name__ == "__main__":
    main(prog_name="signalbox")
