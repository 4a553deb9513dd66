"""What the demo says while it goes on: on standard error, in lines."""

import os
import sys
from typing import TextIO


def step(text: str) -> None:
    """A step begins."""
    say(f"==> {text}")


def detail(text: str) -> None:
    """News of the step under way."""
    say(f"    {text}")


def say(text: str) -> None:
    """Anything else."""
    write(text, sys.stderr)


def write(text: str, stream: TextIO) -> None:
    """Print at once. A terminal that has gone does not matter: stopping in order does."""
    try:
        print(text, file=stream, flush=True)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
