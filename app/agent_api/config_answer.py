"""The answer to ``GET /api/agent/config``: what the node must run, and how it is to behave.

What is the same for many nodes is put together once; an answer of 10,000 differs from another one by its ETag.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from typing import Any, NamedTuple

from flask import current_app
from werkzeug.http import parse_etags
from werkzeug.wsgi import get_current_url

from agent.protocol import SECRET_BACKEND, SSE_PATH, WEBSOCKET_PATH
from app import assembly, fetch_notes, node_actions, sample_offers, server_settings
from app.config import Settings
from app.node_identity import AuthenticatedNode
from app.push.meters import CONFIG_ANSWERS
from app.server_settings import Intervals
from app.upgrade_rate import ReconnectSpread


class ConfigAnswer(NamedTuple):
    """A status, ``200`` or ``304``, the body that goes with it, and the headers of both."""

    status: str
    body: bytes
    headers: list[tuple[str, str]]


def make(node: AuthenticatedNode, environ: dict[str, Any]) -> ConfigAnswer:
    """The answer to *node*, whose request is *environ*; that it has asked is noted.

    ``304`` where its ``If-None-Match`` is still right (weak comparison), which assembles nothing.

    :raises UnavailableError: the database is busy or does not answer.
    """
    labels = assembly.selectable_labels(node.operator_labels, node.agent_labels, node.selectable_agent_labels)
    plan = assembly.wanted_for(node.environment_id, node.nonce).for_node(labels, node.maintenance_mode)
    own: dict[str, Any] = {}
    attempt = ""
    if node.errands.has_action and (pending := node_actions.pending(node.id)) is not None:
        own["pendingAction"], attempt = pending
    if node.errands.has_samples and (offered := sample_offers.offered(node.id, node.environment_id)):
        own["sampleRequests"] = offered
    spread: ReconnectSpread = current_app.extensions["reconnect_spread"]
    tail = _tail(
        server_settings.intervals_with(node.errands.changed_intervals),
        _root_url(environ),
        spread.milliseconds(),
        plan.revision,
    )
    if own:
        tail = tail[:-1] + b"," + json.dumps(own, separators=(",", ":")).encode()[1:]
    etag = hashlib.sha256(f"{node.id} {attempt}".encode() + tail).hexdigest()[:32]
    fetch_notes.take(node)
    headers = [
        ("ETag", f'"{etag}"'),
        ("Cache-Control", "private, no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    if _is_known(etag, environ.get("HTTP_IF_NONE_MATCH", "")):
        CONFIG_ANSWERS.labels("304").inc()
        return ConfigAnswer("304 NOT MODIFIED", b"", headers)
    CONFIG_ANSWERS.labels("200").inc()
    body = b'{"pipelines":' + plan.body + b"," + tail[1:]
    headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return ConfigAnswer("200 OK", body, headers)


def _is_known(etag: str, said: str) -> bool:
    return said == f'"{etag}"' or (bool(said) and parse_etags(said).contains_weak(etag))


@lru_cache(maxsize=2048)
def _tail(intervals: Intervals, root_url: str, spread_ms: int, revision: str) -> bytes:
    """All but the pipelines, as a JSON object."""
    fields = {
        **intervals.to_wire(),
        "websocketUrl": "ws" + root_url.removeprefix("http") + WEBSOCKET_PATH,
        "pushUrl": root_url + SSE_PATH,
        "secretBackend": SECRET_BACKEND,
        "reconnectSpreadMs": spread_ms,
        "configRevision": revision,
    }
    return json.dumps(fields, separators=(",", ":")).encode()


def _root_url(environ: dict[str, Any]) -> str:
    """Where the server is, without a slash: ``SIGNALBOX_PUBLIC_URL`` where that is set, else from the request."""
    settings: Settings = current_app.extensions["settings"]
    if settings.public_url:
        return settings.public_url
    host = environ.get("HTTP_HOST")
    if not host:
        return get_current_url(environ, root_only=True).rstrip("/")
    return _url_of(environ["wsgi.url_scheme"], host, environ.get("SCRIPT_NAME", ""))


@lru_cache(maxsize=256)
def _url_of(scheme: str, host: str, root: str) -> str:
    environ = {"wsgi.url_scheme": scheme, "HTTP_HOST": host, "SCRIPT_NAME": root}
    return get_current_url(environ, root_only=True).rstrip("/")
