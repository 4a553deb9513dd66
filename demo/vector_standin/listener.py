"""HTTP listeners: the API, and the metrics of `prometheus_exporter`. Each has its own threads."""

import socket
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

from . import log


def parse_address(address: str) -> tuple[str, int]:
    """`127.0.0.1:8686` or `[::1]:8686` -> (host, port). Raises ValueError."""
    host, separator, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"invalid socket address syntax: {address}")
    return host, int(port)


class Answer(BaseHTTPRequestHandler):
    """A request handler that keeps quiet and does not wait for ever for a slow peer."""

    timeout = 10
    server_version = "vector-standin"
    sys_version = ""

    def log_message(self, format: str, *args: object) -> None:
        log.debug("vector::listener", "Answered a request.", request=log.quote(format % args))

    def answer(self, status: int, content_type: str, body: str) -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens at an address and answers each request in a thread of its own."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: str, handler: type[Answer]) -> None:
        """Raises OSError if the address cannot be had, ValueError if it is none."""
        host, port = parse_address(address)
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), handler)

    @property
    def address(self) -> str:
        """Where it listens: with port 0 asked for, the one that was found."""
        host, port = self.server_address[:2]
        return f"[{host!s}]:{port}" if self.address_family == socket.AF_INET6 else f"{host!s}:{port}"

    def start(self) -> None:
        # The default interval of half a second is there for shutdown(), which nobody calls: the thread ends
        # with the process.
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 3600}, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        log.debug("vector::listener", "A connection broke.", peer=log.quote(client_address))
