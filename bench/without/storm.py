"""Hazard 10: all bytes that are there are fed to the reader at once, and each message is written as it is read."""

from __future__ import annotations

import errno
import time
from typing import Any

from flask import Flask

from app.push import broker, worker
from app.push.channels import OTHER
from app.push.inbox import gather
from bench.without import replace


def remove(app: Flask) -> None:
    """Replace one turn of the subscriber, and what is done with its messages."""
    told_as_it_is = worker.Worker._on_messages

    def read_turn(self: Any, sock: Any, reader: Any) -> tuple[list[tuple[str, bytes]], list[str]]:
        received: list[tuple[str, bytes]] = []
        confirmed: list[str] = []
        data: bytes | None = sock.recv(broker.READ_BYTES)
        while data is not None:
            if not data:
                raise OSError(errno.ECONNRESET, "closed by Redis")
            self.last_read = self.progressed_at = time.monotonic()
            reader.feed(data)
            data = broker._read_at_once(sock)
        self._take(reader, received, confirmed)
        return received, confirmed

    def on_messages(self: Any, received: list[tuple[str, bytes]]) -> None:
        for item in received:
            key = item[0]
            if key.startswith(OTHER):
                told_as_it_is(self, [item])
                continue
            connection = self.hub.get(key)
            for message, receipt in gather([item]).nudges.get(key, ()):
                if connection is not None:
                    self.hub.deliver(connection, message, receipt)

    replace(broker.Subscriber, "_read_turn", read_turn)
    replace(worker.Worker, "_on_messages", on_messages)
