"""Lines that are replaced where they stand on a terminal; elsewhere nothing is taken back."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TextIO

from signalbox_cli.plain_text import cut

_UP_AND_CLEAR = "\x1b[{}F\x1b[J"


class Screen:
    """A block of lines at the end of a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0
        self.is_live = stream.isatty() and os.environ.get("TERM") != "dumb"
        """Whether what was drawn can be replaced."""

    @property
    def height(self) -> int:
        """How many lines can be replaced: what has scrolled away cannot."""
        return max(1, shutil.get_terminal_size().lines - 1)

    def draw(self, lines: Sequence[str]) -> None:
        """Put *lines* (without colours) in place of the ones before; of too many the first, and how many more."""
        columns = shutil.get_terminal_size().columns
        shown = list(lines)
        if len(shown) > self.height:
            left_out = len(shown) - self.height + 1
            shown = [*shown[: self.height - 1], f"… and {left_out} more"]
        erase = _UP_AND_CLEAR.format(self._drawn) if self._drawn else ""
        self._stream.write(erase + "".join(f"{cut(line, columns - 1)}\n" for line in shown))
        self._stream.flush()
        self._drawn = len(shown)

    def erase(self) -> None:
        """Take back what was drawn."""
        if self._drawn:
            self.draw([])
