"""What every request is held to before a view sees it: proxies, body time, half-sent bodies of strangers.

1,005 half-sent POSTs stopped a worker of the sketch this replaces (hazard 25).
"""

from __future__ import annotations

import socket
import time
from collections import OrderedDict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import gevent
from flask import Flask
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.middleware.proxy_fix import ProxyFix

from app.config import Settings
from app.errors import InvalidInputError, RequestTimeoutError, TooManyRequestsError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

BODY_SECONDS = 10.0
UNKNOWN_SENDERS_AT_ONCE = 64
"""Requests with a body and without a token that one address may have under way in one worker."""
MAX_BODY_BYTES = 16 * 1024 * 1024


class _TimedBody:
    """``wsgi.input`` that must arrive within ten seconds of the request, however slowly it trickles."""

    def __init__(self, body: Any, connection: Any) -> None:
        self._body = body
        self._connection = connection
        self._deadline = time.monotonic() + BODY_SECONDS
        self._is_given_up = False

    def give_up(self) -> None:
        """Wait no longer. The reader is woken by the end of what it reads, never by an exception from outside."""
        self._is_given_up = True
        try:
            self._connection.shutdown(socket.SHUT_RD)
        except OSError:
            pass  # gone already

    def _within(self, read: Any, *arguments: Any) -> Any:
        late = RequestTimeoutError("The body did not arrive within 10 seconds.")
        data = None
        try:
            with gevent.Timeout(max(0.001, self._deadline - time.monotonic()), late):
                data = read(*arguments)
        except ParseException as error:
            raise InvalidInputError("The body is not sent in the chunks that HTTP describes.") from error
        except OSError as error:
            if not self._is_given_up:
                if isinstance(error, NoMoreData):
                    raise InvalidInputError("The connection ended before the body was whole.") from error
                raise
        if self._is_given_up:
            raise TooManyRequestsError(
                "Too many unfinished requests without a token came from this address.", retry_after=1
            )
        return data

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data: bytes = self._within(self._body.read, size)
        return data

    def readline(self, size: int = -1) -> bytes:
        """As a file's."""
        data: bytes = self._within(self._body.readline, size)
        return data

    def readlines(self, hint: int = -1) -> list[bytes]:
        """As a file's."""
        lines: list[bytes] = self._within(self._body.readlines, hint)
        return lines

    def __iter__(self) -> Any:
        return iter(self.readline, b"")


class RequestLimits:
    """WSGI middleware around the whole application.

    Of more than 64 bodies of one address that come without a token, the oldest is given up for the newest: who
    sends all of it at once is served, however many stalled ones come from behind the same NAT.
    """

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app
        self._unfinished: dict[str, OrderedDict[int, _TimedBody]] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        body = _TimedBody(environ["wsgi.input"], connection)
        environ["signalbox.input"], environ["wsgi.input"] = environ["wsgi.input"], body
        address = environ.get("REMOTE_ADDR") or ""
        has_body = environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ
        has_token = "HTTP_AUTHORIZATION" in environ
        # Behind a unix socket every address is '' (hazard 26): there the proxy buffers bodies.
        if has_token or not has_body or not address or connection is None:
            return self._wsgi_app(environ, start_response)
        unfinished = self._unfinished.setdefault(address, OrderedDict())
        unfinished[id(body)] = body
        if len(unfinished) > UNKNOWN_SENDERS_AT_ONCE:
            unfinished.popitem(last=False)[1].give_up()
        try:
            return self._wsgi_app(environ, start_response)
        finally:
            unfinished.pop(id(body), None)
            if not unfinished and self._unfinished.get(address) is unfinished:
                del self._unfinished[address]


def init_app(app: Flask, settings: Settings) -> None:
    """Put the limits around *app*; forwarded headers count only from as many proxies as are configured."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.wsgi_app = RequestLimits(app.wsgi_app)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_prefix=0
        )
