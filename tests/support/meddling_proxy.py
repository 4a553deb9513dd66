"""A proxy in front of a server that lets somebody act before a request, and loses answers after it was done."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

TIMEOUT_SECONDS = 30
HOP_BY_HOP = frozenset(
    {"connection", "transfer-encoding", "content-length", "content-encoding", "keep-alive", "accept-encoding", "host"}
)  # fmt: skip


@dataclass
class _Meddling:
    method: str
    end: str
    left: int
    act: Callable[[], object]
    loses: bool


class MeddlingProxy(ThreadingHTTPServer):
    """Whole requests and answers, each connection for one; `asked` has method, path and headers of each."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        """`target` is the server's address, without a slash at the end."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self._meddlings: list[_Meddling] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def before(self, method: str, end: str, act: Callable[[], object], number: int = 1) -> None:
        """`act` before the `number`th request from now on whose path ends with `end` is passed on."""
        self._meddlings.append(_Meddling(method, end, number, act, False))

    def lose(self, method: str, end: str) -> None:
        """The connection breaks in place of the answer of the next such request, which is passed on."""
        self._meddlings.append(_Meddling(method, end, 1, lambda: None, True))

    @property
    def is_done(self) -> bool:
        """Whether all that was asked of it has happened."""
        return not self._meddlings

    def meddle(self, method: str, path: str) -> bool:
        """Whether the answer is to be lost."""
        loses = False
        for each in list(self._meddlings):
            if each.method == method and path.partition("?")[0].endswith(each.end):
                each.left -= 1
                if each.left == 0:
                    self._meddlings.remove(each)
                    each.act()
                    loses = loses or each.loses
        return loses


class _Handler(BaseHTTPRequestHandler):
    server: MeddlingProxy
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        self.close_connection = True
        loses = self.server.meddle(self.command, self.path)
        with requests.Session() as session:
            session.trust_env = False
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            response = session.request(
                self.command,
                self.server.target + self.path,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=TIMEOUT_SECONDS,
            )
        if loses:
            return
        self.send_response(response.status_code)
        for name, value in response.headers.items():
            if name.lower() not in HOP_BY_HOP | {"date", "server"}:
                self.send_header(name, value)
        self.send_header("Connection", "close")
        if response.status_code != 204:
            self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        self.wfile.write(response.content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        pass
