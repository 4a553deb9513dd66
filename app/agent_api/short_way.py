"""The short way of the one call that a whole fleet makes in the same second: ``GET /api/agent/config``.

What Flask does around a view costs more than the answer: routes, a session, signals, a response that may be changed.
So what is plain is answered before it: a token that was good lately and still is, and nothing that fails. All else
takes the long way through ``views.config``, which makes the same answer, counts bad tokens and says what is wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask
from sqlalchemy.exc import SQLAlchemyError

from app import node_identity, tokens
from app.agent_api import config_answer
from app.errors import SignalboxError
from app.failure_limits import FailureLimits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PATH = "/api/agent/config"

log = logging.getLogger("signalbox.agent_api")


class ShortWay:
    """WSGI middleware right around *app*."""

    def __init__(self, app: Flask, wsgi_app: WSGIApplication) -> None:
        self._app = app
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == PATH and environ["REQUEST_METHOD"] == "GET":
            with self._app.app_context():
                answer = self._answer(environ)
            if answer is not None:
                start_response(answer.status, answer.headers)
                return [answer.body] if answer.body else []
        return self._wsgi_app(environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> config_answer.ConfigAnswer | None:
        """The answer; ``None`` where the long way is to find one."""
        limits: FailureLimits = self._app.extensions["failure_limits"]
        token = tokens.bearer(environ.get("HTTP_AUTHORIZATION"))
        if token is None or not limits.is_known_good(tokens.digest(token)):
            return None
        try:
            node = node_identity.authenticate(token, with_errands=True)
            return config_answer.make(node, environ)
        except (SignalboxError, SQLAlchemyError) as error:
            log.debug("the short way leads nowhere: %s", error)
            return None


def init_app(app: Flask) -> None:
    """Put the short way around *app*, inside of all that every request is held to."""
    app.wsgi_app = ShortWay(app, app.wsgi_app)  # type: ignore[method-assign]
