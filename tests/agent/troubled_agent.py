"""`python -m tests.agent.troubled_agent`: the real agent on a machine with a strange clock and a strange resolver.

The file that SIGNALBOX_TEST_CLOCK names holds how many seconds the wall clock is off. The one that
SIGNALBOX_TEST_RESOLVER names says what becomes of the name `signalbox.test`: `127.0.0.1`, `fail`, or `hang`, as long
as it says so. Where a file is missing all is as usual, and the name leads home.
"""

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from agent.__main__ import main

NAME = "signalbox.test"
CLOCK = Path(os.environ.get("SIGNALBOX_TEST_CLOCK", "/nonexistent"))
RESOLVER = Path(os.environ.get("SIGNALBOX_TEST_RESOLVER", "/nonexistent"))

true_time, true_lookup = time.time, socket.getaddrinfo


def said_by(file: Path, otherwise: str) -> str:
    return file.read_text().strip() if file.exists() else otherwise


def strange_time() -> float:
    return true_time() + float(said_by(CLOCK, "0"))


def strange_lookup(host: Any, *arguments: Any, **more: Any) -> Any:
    if host != NAME:
        return true_lookup(host, *arguments, **more)
    while (answer := said_by(RESOLVER, "127.0.0.1")) == "hang":
        time.sleep(0.1)
    if answer == "fail":
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return true_lookup(answer, *arguments, **more)


if __name__ == "__main__":
    time.time = strange_time
    socket.getaddrinfo = strange_lookup
    sys.exit(main())
