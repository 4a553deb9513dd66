"""What the experiments on hazards stand on: their proxies, and that the rules are where they are taken away."""

import gzip
import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.hazards.proxies import GzipProxy, TcpProxy
from tests.support import PROJECT
from tests.support.server import clean_environment, fresh_secrets

PORTS = (46_000, 46_009)
RULES = sorted(file.stem for file in (PROJECT / "bench" / "without").glob("[a-z]*.py"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        known = self.headers["If-None-Match"]
        self.send_response(304 if known else 200)
        self.send_header("ETag", '"one"')
        body = b"" if known else b"a configuration " * 50
        if body:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_proxy_that_compresses_weakens_tags(upstream: ThreadingHTTPServer) -> None:
    """As nginx does; and it counts what it was sent."""
    with GzipProxy(upstream.server_address[1]) as proxy:
        client = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=10)
        client.request("GET", "/")
        answer = client.getresponse()
        assert gzip.decompress(answer.read()) == b"a configuration " * 50
        assert answer.headers["ETag"] == 'W/"one"'
        client.request("GET", "/", headers={"If-None-Match": 'W/"one"'})
        again = client.getresponse()
        assert (again.status, again.read(), again.headers["ETag"]) == (304, b"", 'W/"one"')
        client.close()
        assert proxy.upstream_bytes == 800


def test_one_pair_of_addresses_holds_as_many_connections_as_there_are_ports() -> None:
    """The proxy has ten; the eleventh client is hung up on, and a port that is free again is used again."""
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(10)
        with TcpProxy(upstream.getsockname(), PORTS) as proxy:
            clients = [socket.create_connection(("127.0.0.1", proxy.port), 10) for _ in range(10)]
            held = [upstream.accept() for _ in clients]
            assert {address[1] for _, address in held} <= set(range(PORTS[0], PORTS[1] + 1))
            with socket.create_connection(("127.0.0.1", proxy.port), 10) as one_more:
                assert one_more.recv(1) == b""
            assert proxy.failures.total() == 1
            for client in clients:
                client.close()
            for connection, _ in held:
                connection.close()


def test_every_rule_that_is_taken_away_is_where_it_was() -> None:
    """Else an experiment would measure the server as it is twice, and say that its rule is worth nothing."""
    work = (
        "from importlib import import_module\n"
        "from bench.application import app\n"
        f"for rule in {RULES}: import_module(f'bench.without.{{rule}}').remove(app)\n"
    )
    environment = {**clean_environment(), **fresh_secrets(), "SIGNALBOX_DATABASE_URL": "postgresql:///nobody"}
    done = subprocess.run(
        [sys.executable, "-c", work], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(RULES) == 6
