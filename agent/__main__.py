"""``python -m agent``; what it can do says ``agent/command_line.py``."""

from __future__ import annotations

import sys

from agent.command_line import main

if __name__ == "__main__":
    sys.exit(main())
