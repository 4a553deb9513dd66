"""Connections to the server, for HTTP and the WebSocket alike, that another thread can cut off at any time.

Through which proxy, and against which authorities a certificate is checked, is decided here for each connection.
"""

from __future__ import annotations

import os
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from agent import __version__
from agent.authorities import named_authorities
from agent.proxies import DEFAULT_PORTS, parse_proxy, proxy_for

CONNECT_SECONDS = 10.0
USER_AGENT = f"signalbox-agent/{__version__}"


class Attempt:
    """The sockets of one request, so that another thread can cut it off."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._is_up = False
        self._lock = threading.Lock()
        self.is_cut = False

    @property
    def is_connected(self) -> bool:
        """Whether a connection was made, to the server or to a proxy before it, and where wanted TLS over it."""
        return self._is_up

    def add(self, connected: socket.socket, *, is_up: bool = True) -> None:
        """Take note of a socket of this request; called by the connection that has just been made.

        ``is_up``: there is nothing left to do before the request, no tunnel and no TLS.
        """
        with self._lock:
            # What a TLS socket was made from is none any more.
            self._sockets = [known for known in self._sockets if known.fileno() >= 0] + [connected]
            self._is_up |= is_up
            if self.is_cut:
                _shut(connected)

    def set_read_deadline(self, seconds: float) -> None:
        """Each read from now on may wait so long."""
        with self._lock:
            for connected in self._sockets:
                connected.settimeout(seconds)

    def cut(self) -> None:
        """End it, now or as soon as it is connected; whoever reads from it sees the end."""
        with self._lock:
            self.is_cut = True
            for connected in self._sockets:
                _shut(connected)


def open_session(attempt: Attempt, token: str | None) -> requests.Session:
    """A session whose connections ``attempt`` can cut, with the token on every request; close it."""
    session = requests.Session()
    # The adapter decides about proxies and authorities, as for the WebSocket.
    session.trust_env = False
    session.mount("http://", _Adapter(attempt))
    session.mount("https://", _Adapter(attempt))
    session.auth = _Bearer(token) if token is not None else _no_auth
    return session


def connect(url: str, attempt: Attempt, timeout_seconds: float) -> socket.socket:
    """A connection for the WebSocket at ``url`` (ws or wss), with TLS where it wants that, for ``attempt`` to cut.

    Through a proxy always by CONNECT. OSError or urllib3's HTTPError if it fails, ValueError for a bad ``url``.
    """
    proxy = proxy_for(url, os.environ)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    first = (proxy.host, proxy.port) if proxy is not None else (host, port)
    plain, tls = _connection_kinds(attempt)
    connection: HTTPConnection
    if parts.scheme in ("wss", "https"):
        trusted = ca_bundle()
        folder, file = (trusted, None) if os.path.isdir(trusted) else (None, trusted)
        connection = tls(
            *first, timeout=timeout_seconds, cert_reqs="CERT_REQUIRED", ca_certs=file, ca_cert_dir=folder
        )
    else:
        connection = plain(*first, timeout=timeout_seconds)
    if proxy is not None:
        connection.set_tunnel(host, port, proxy.headers)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection.sock


def ca_bundle() -> str:
    """The file (or folder) of the certificate authorities that are trusted."""
    named = named_authorities(os.environ)
    return named[1] if named is not None else certifi.where()


def parse_retry_after(text: str | None) -> float | None:
    """Seconds of a ``Retry-After``, at most an hour; ``None`` where it is absent or a date."""
    if text is None or not text.strip().isdigit():
        return None
    return min(float(text), 3600.0)


def root_cause(error: Exception) -> str:
    """What lies at the bottom of requests' and urllib3's layers of exceptions, in one sentence."""
    cause: BaseException = error
    while (below := cause.__cause__ or cause.__context__) is not None:
        cause = below
    text = f"{type(cause).__name__}: {cause}"[:300]
    # By its text: on the way through a proxy it is no ssl.SSLCertVerificationError any more.
    is_stranger = "CERTIFICATE_VERIFY_FAILED" in text
    return text + ("; SIGNALBOX_CA_FILE names the authorities to trust" if is_stranger else "")


class _Bearer(requests.auth.AuthBase):
    """Sets the token in a way that a ~/.netrc does not replace."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Adapter(HTTPAdapter):
    """Makes connections that tell an attempt about their sockets."""

    def __init__(self, attempt: Attempt) -> None:
        plain, tls = _connection_kinds(attempt)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = plain

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = tls

        self._pools = {"http": PlainPool, "https": TlsPool}
        super().__init__(max_retries=0)

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        proxy = proxy_for(request.url or "", os.environ)
        chosen = {"http": proxy.url, "https": proxy.url} if proxy is not None else {}
        return super().send(request, stream, timeout, ca_bundle(), cert, chosen)

    def proxy_headers(self, proxy: str) -> dict[str, str]:
        return parse_proxy("", proxy).headers

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


def _connection_kinds(attempt: Attempt) -> tuple[type[HTTPConnection], type[HTTPSConnection]]:
    """Connections that tell ``attempt`` about their sockets."""

    class PlainConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            connected = super()._new_conn()
            attempt.add(connected)
            return connected

    class TlsConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            connected = super()._new_conn()
            # A proxy may take for ever over the tunnel.
            attempt.add(connected, is_up=False)
            return connected

        def connect(self) -> None:
            super().connect()
            if attempt.is_cut:
                # On a socket that was shut before, Python's ssl leaves the handshake out without a word.
                self.close()
                raise ConnectionAbortedError("given up while connecting")
            attempt.add(self.sock)

    return PlainConnection, TlsConnection


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        # Already closed: there is nothing left to cut.
        return
