"""Enroll, config, heartbeat, samples, logs, and the push channel in its two forms."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Blueprint, Response, current_app, g, jsonify, request
from flask.typing import ResponseReturnValue

from agent.protocol import (
    MAX_BODY_BYTES,
    MAX_REPORT_BODY_BYTES,
)
from app import (
    enrollment,
    fetch_notes,
    heartbeat_body,
    heartbeats,
    node_identity,
    node_labels,
    node_logs,
    sample_results,
    taps,
    tokens,
)
from app.agent_api import config_answer, push_channel
from app.agent_api.returned import error_of
from app.agent_api.schemas import Enrollment
from app.errors import TooLargeError, UnauthorizedError
from app.extensions import sock
from app.failure_limits import FailureLimits
from app.json_body import Wire, drain, read_list, read_model
from app.node_identity import AuthenticatedNode, ForeignTokenError
from app.refused_tokens import RefusedTokens

Checked = TypeVar("Checked")
Report = TypeVar("Report", bound=Wire)

MAX_DRAINED_BYTES = 256 * 1024 * 1024
"""Of a body that is too large; no agent sends more in the ten seconds that it has."""

log = logging.getLogger("signalbox.agent_api")

blueprint = Blueprint("agent_api", __name__, url_prefix="/api/agent")


@blueprint.before_request
def authenticate() -> Response | None:
    """Know the node before anything of its request's body is read; enrolling brings its token in the body.

    A WebSocket is answered here where its socket can be handed over and ``short_upgrade`` has not answered already;
    else flask-sock does it, before its view.
    """
    if request.endpoint == "agent_api.enroll":
        return None
    token = tokens.bearer(request.headers.get("Authorization"))
    fetches = request.endpoint == "agent_api.config"

    def look_up() -> AuthenticatedNode:
        error = error_of(request.environ.get("gunicorn.socket"))
        if error is not None:
            raise error
        return node_identity.authenticate(token, with_errands=fetches)

    def check() -> AuthenticatedNode:
        return _limited(token, look_up)

    if request.endpoint == "agent_api.websocket_route":
        push_channel.check_upgrade(request)
        g.node = push_channel.counted(check)
        push_channel.prepare(request, g.node, "ws")
        return push_channel.hand_over()
    elif request.endpoint == "agent_api.event_stream":
        push_channel.check_stream(request)
        g.node = push_channel.counted(check)
        push_channel.prepare(request, g.node, "sse")
    else:
        g.node = check()
    return None


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
    """What the node must run; see ``config_answer``. Nearly always it is the short way that answers."""
    answer = config_answer.make(g.node, request.environ)
    return Response(answer.body, status=answer.status, headers=answer.headers)


@blueprint.post("/heartbeat")
def heartbeat() -> ResponseReturnValue:
    """Take in what the node says runs."""
    body = _read_report(heartbeat_body.Heartbeat)
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
    """The push channel where its socket could not be handed to this worker's hub."""
    push_channel.serve(socket)


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
        bad_node_token = node_identity.FOREIGN_NODE_TOKEN if is_foreign else node_identity.BAD_NODE_TOKEN
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
    fetch_notes.take(node)
    return None
