"""A receiver of webhooks: keeps what it was sent, answers as it is told, and checks signatures."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

LOOPBACK = "127.0.0.0/8"


@dataclass
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.body)
        return event

    def is_signed_by(self, secret: str) -> bool:
        """By the words of Standard Webhooks, not by the server's code."""
        key = base64.b64decode(secret.removeprefix("whsec_"))
        content = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        return hmac.compare_digest(expected, self.headers["webhook-signature"])


@dataclass
class Receiver:
    """`answers` are statuses, with headers, for the next requests; after them it answers 204."""

    url: str
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    body: bytes = b""
    _received: list[Received] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def received(self, event: str | None = None) -> list[Received]:
        """All so far, or those of one event, in their order."""
        with self._lock:
            return [each for each in self._received if event is None or each.event["type"] == event]

    def take(self, each: Received) -> tuple[int, dict[str, str]]:
        with self._lock:
            self._received.append(each)
            return self.answers.pop(0) if self.answers else (204, {})


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, more = own.take(Received(headers, body))
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                self.wfile.write(own.body)
            except OSError:
                pass  # nobody reads on

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    own = Receiver(f"http://127.0.0.1:{server.server_port}/hook")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield own
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
