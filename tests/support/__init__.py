"""Real services for the tests: nothing here stands in for a part, it starts the part."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
"""The root of the source tree, where every part is started."""
