"""Enroll, config, heartbeat, samples, logs, and the push channel in its two forms."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import update
from sqlalchemy.orm import Session

from agent.protocol import (
    MAX_BODY_BYTES,
    MAX_REPORT_BODY_BYTES,
    SECRET_BACKEND,
    SSE_PATH,
    WEBSOCKET_PATH,
)
from app import (
    assembly,
    deployments,
    enrollment,
    heartbeats,
    node_actions,
    node_labels,
    node_logs,
    sample_offers,
    sample_results,
    server_settings,
    taps,
    tokens,
)
from app.agent_api import push_channel
from app.agent_api.schemas import Enrollment
from app.clock import utc_now
from app.config import Settings
from app.database import transaction
from app.enrollment import AuthenticatedNode, ForeignTokenError
from app.errors import TooLargeError, UnauthorizedError
from app.extensions import sock
from app.failure_limits import FailureLimits
from app.json_body import Wire, drain, read_list, read_model
from app.models import Node
from app.push.meters import CONFIG_ANSWERS
from app.refused_tokens import RefusedTokens

Checked = TypeVar("Checked")
Report = TypeVar("Report", bound=Wire)

SEEN_AT_MOST_EVERY = timedelta(minutes=1)
MAX_DRAINED_BYTES = 256 * 1024 * 1024
"""Of a body that is too large; no agent sends more in the ten seconds that it has."""

log = logging.getLogger("signalbox.agent_api")

blueprint = Blueprint("agent_api", __name__, url_prefix="/api/agent")


@blueprint.before_request
def authenticate() -> None:
    """Know the node before anything of its request's body is read; enrolling brings its token in the body."""
    if request.endpoint == "agent_api.enroll":
        return
    header = request.headers.get("Authorization")

    def check() -> AuthenticatedNode:
        return _limited(tokens.bearer(header), lambda: enrollment.authenticate(header))

    if request.endpoint == "agent_api.websocket_route":
        push_channel.check_upgrade(request)
        g.node = push_channel.counted(check)
        push_channel.prepare(request, g.node, "ws")
    elif request.endpoint == "agent_api.event_stream":
        push_channel.check_stream(request)
        g.node = push_channel.counted(check)
        push_channel.prepare(request, g.node, "sse")
    else:
        g.node = check()


@blueprint.errorhandler(ConnectionError)
def peer_gone(_error: ConnectionError) -> ResponseReturnValue:
    """The agent has reset its connection, in the middle of a body or a handshake: nobody reads an answer."""
    return push_channel.HandedOver() if "gunicorn.socket" in request.environ else ("", 400)


@blueprint.teardown_request
def take_claim_back(_error: BaseException | None) -> None:
    """A connection that was claimed and never reached the hub leaves no presence behind."""
    push_channel.give_up_unless_adopted()


@blueprint.post("/enroll")
def enroll() -> ResponseReturnValue:
    """Make a node. ``200`` with ``{nodeId, nodeToken, environmentId, environmentName}``."""
    body = read_model(request, Enrollment, MAX_BODY_BYTES)
    enrolled = _limited(
        body.token,
        lambda: enrollment.enroll(
            body.token,
            body.hostname,
            os=body.os,
            agent_version=body.agent_version,
            vector_version=body.vector_version,
            labels=node_labels.bounded(body.labels or {}),
            install_id=body.install_id,
            address=request.remote_addr,
        ),
    )
    # The new token is ours and good, whatever else comes from the node's address.
    current_app.extensions["failure_limits"].succeeded(tokens.digest(enrolled.token))
    return jsonify(
        nodeId=enrolled.node_id,
        nodeToken=enrolled.token,
        environmentId=enrolled.environment_id,
        environmentName=enrolled.environment_name,
    )


@blueprint.get("/config")
def config() -> ResponseReturnValue:
    """What the node must run; ``304`` where its ``If-None-Match`` is still right, which assembles nothing."""
    node: AuthenticatedNode = g.node
    labels = assembly.selectable_labels(node.operator_labels, node.agent_labels, node.selectable_agent_labels)
    plan = assembly.wanted_for(node.environment_id, node.nonce).for_node(labels, node.maintenance_mode)
    rest: dict[str, Any] = {
        **server_settings.intervals().to_wire(),
        "websocketUrl": _public_url(WEBSOCKET_PATH, websocket=True),
        "pushUrl": _public_url(SSE_PATH),
        "secretBackend": SECRET_BACKEND,
        "reconnectSpreadMs": current_app.extensions["reconnect_spread"].milliseconds(),
        "configRevision": plan.revision,
    }
    attempt = ""
    if (pending := node_actions.pending(node.id)) is not None:
        rest["pendingAction"], attempt = pending
    if offered := sample_offers.offered(node.id, node.environment_id):
        rest["sampleRequests"] = offered
    tail = json.dumps(rest, separators=(",", ":")).encode()
    etag = hashlib.sha256(f"{node.id} {attempt}".encode() + tail).hexdigest()[:32]
    _note_seen(node)
    deployments.record_fetched(node.id)
    response = Response(status=304)
    if not request.if_none_match.contains_weak(etag):
        response = Response(b'{"pipelines":' + plan.body + b"," + tail[1:], content_type="application/json")
    CONFIG_ANSWERS.labels(response.status_code).inc()
    response.set_etag(etag)
    response.headers["Cache-Control"] = "private, no-store"
    return response


@blueprint.post("/heartbeat")
def heartbeat() -> ResponseReturnValue:
    """Take in what the node says runs."""
    body = _read_report(heartbeats.Heartbeat)
    if body is None:
        return jsonify(ok=True)
    heartbeats.record(g.node, body)
    return jsonify(ok=True)


@blueprint.post("/samples")
def take_samples() -> ResponseReturnValue:
    """Take in what the node shows of the events that it was asked for."""
    body = _read_report(sample_results.ReportedResults)
    if body is None:
        return jsonify(ok=True)
    sample_results.record(g.node.id, g.node.environment_id, body.results)
    return jsonify(ok=True)


@blueprint.post("/logs")
def logs() -> ResponseReturnValue:
    """Take in the lines that its pipelines have printed since the last call."""
    node_logs.record(g.node, read_list(request, node_logs.Logs, MAX_REPORT_BODY_BYTES))
    return jsonify(ok=True)


@blueprint.post("/tap-events")
def tap_events() -> ResponseReturnValue:
    """Take in what a component has put out, if this node was asked for it."""
    taps.record(g.node, read_model(request, taps.TapEvents, MAX_REPORT_BODY_BYTES))
    return jsonify(ok=True)


@sock.route("/ws", bp=blueprint)  # type: ignore[untyped-decorator]
def websocket_route(socket: Any) -> None:
    """The push channel: handed to this worker's hub as the view's last act."""
    push_channel.hand_over(socket)


@blueprint.get("/push")
def event_stream() -> ResponseReturnValue:
    """The push channel as server-sent events, for networks that break WebSockets."""
    return push_channel.open_stream()


def _limited(token: str | None, check: Callable[[], Checked]) -> Checked:
    """What *check* makes of the token, asked only where a bad one has not been seen too often (hazard 26)."""
    limits: FailureLimits = current_app.extensions["failure_limits"]
    refused: RefusedTokens = current_app.extensions["refused_tokens"]
    address = request.remote_addr or ""
    digest = tokens.digest(token or "")
    is_foreign = tokens.is_foreign(token)
    # A foreign token may have been adopted since it was found bad.
    if limits.is_known_bad(digest, address) and not (is_foreign and limits.was_vouched_for(digest)):
        if is_foreign:
            refused.note(digest, address, only_known=True)
        is_enrolling = request.endpoint == "agent_api.enroll"
        bad_node_token = enrollment.FOREIGN_NODE_TOKEN if is_foreign else enrollment.BAD_NODE_TOKEN
        raise UnauthorizedError(enrollment.BAD_ENROLLMENT_TOKEN if is_enrolling else bad_node_token)
    try:
        result = check()
    except UnauthorizedError as error:
        limits.failed(digest, address)
        if isinstance(error, ForeignTokenError):
            refused.note(digest, address)
        raise
    limits.succeeded(digest)
    return result


def _read_report(model: type[Report]) -> Report | None:
    """The body as *model*; ``None`` where it is too large, which ends what the node was asked for.

    The answer is ``200`` all the same: older agents keep what was refused, and send it with more for ever
    (hazard 27).

    :raises TooLargeError: it is far too large.
    """
    node: AuthenticatedNode = g.node
    # Flask's own limit is the same, and says 413.
    request.max_content_length = None
    try:
        return read_model(request, model, MAX_REPORT_BODY_BYTES)
    except TooLargeError:
        drain(request, MAX_DRAINED_BYTES)
    log.warning("a body of %s was too large and is left out node=%s", request.path, node.id)
    sample_results.fail_all(node.id, node.environment_id, sample_results.TOO_LARGE)
    _note_seen(node)
    return None


def _note_seen(node: AuthenticatedNode) -> None:
    """Write that the node lives, at most once a minute."""
    now = utc_now()
    if node.authenticated_at and node.last_seen_at and now - node.last_seen_at < SEEN_AT_MOST_EVERY:
        return

    def work(session: Session) -> None:
        session.execute(
            update(Node)
            .where(Node.id == node.id)
            .values(last_seen_at=now, authenticated_at=node.authenticated_at or now)
        )

    transaction(work)


def _public_url(path: str, websocket: bool = False) -> str:
    """The absolute URL of *path*, from ``SIGNALBOX_PUBLIC_URL`` where that is set, else from the request."""
    settings: Settings = current_app.extensions["settings"]
    root = settings.public_url or request.url_root.rstrip("/")
    url = root + path
    return "ws" + url.removeprefix("http") if websocket else url
