"""Two small proxies: one that passes bytes on over few ports, one that compresses as nginx does with `gzip on`."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

IP_LOCAL_PORT_RANGE = 51
"""Of linux/in.h, since Linux 6.3: which ports this socket may be given, so that no other one is concerned."""
READ_BYTES = 64 * 1024


class TcpProxy:
    """Passes bytes on; *upstream* is an address of TCP or the path of a unix socket; a context manager."""

    def __init__(self, upstream: tuple[str, int] | str, ports: tuple[int, int]) -> None:
        """*ports*: the first and the last that it uses towards a TCP upstream; OSError where Linux is before 6.3."""
        self._upstream = upstream
        low, high = ports
        self._range = struct.pack("=I", high << 16 | low)
        with socket.socket() as trial:
            trial.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, self._range)
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.setblocking(False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.failures: Counter[str] = Counter()
        """Why clients were hung up on."""

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> TcpProxy:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._listener.close()

    def _run(self) -> None:
        self._loop.create_task(self._accept())
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _accept(self) -> None:
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            client.setblocking(False)
            task = self._loop.create_task(self._serve(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket) -> None:
        with client:
            is_tcp = not isinstance(self._upstream, str)
            with socket.socket(socket.AF_INET if is_tcp else socket.AF_UNIX) as server:
                server.setblocking(False)
                try:
                    if is_tcp:
                        server.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, self._range)
                    await self._loop.sock_connect(server, self._upstream)
                except OSError as error:
                    self.failures[error.strerror or type(error).__name__] += 1
                    return
                _, rest = await asyncio.wait(
                    [
                        self._loop.create_task(self._pass_on(*pair))
                        for pair in ((client, server), (server, client))
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in rest:
                    task.cancel()

    async def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := await self._loop.sock_recv(source, READ_BYTES):
                await self._loop.sock_sendall(sink, data)
        except OSError:
            pass  # one of them has gone


class GzipProxy:
    """Answers GETs with what the server at *port* answers, compressed, its strong tags made weak."""

    def __init__(self, port: int) -> None:
        self.upstream_bytes = 0
        """Bytes of bodies that the server has sent."""
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                try:
                    upstream.request("GET", self.path, headers=dict(self.headers))
                    answer = upstream.getresponse()
                    body = answer.read()
                finally:
                    upstream.close()
                proxy.upstream_bytes += len(body)
                self.send_response(answer.status)
                if body:
                    body = gzip.compress(body, 1)
                    self.send_header("Content-Encoding", "gzip")
                tag = answer.headers["ETag"]
                self.send_header("ETag", tag if tag.startswith("W/") else f"W/{tag}")
                if answer.status != 304:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> GzipProxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
