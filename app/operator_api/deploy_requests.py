"""``/api/v1/deploy-requests``: what is asked for in protected environments, and what becomes of it."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, approvals, deploy_reach, deploy_requests, parties, pipelines, text_difference
from app.errors import NotFoundError
from app.operator_api import answers, approval_answers, approval_rows, queries, requests, rows, schemas
from app.operator_api.contract import declares

blueprint = Blueprint("deploy_requests", __name__, url_prefix="/deploy-requests")


@blueprint.get("")
@declares(answers.Page[approval_answers.DeployRequest], query=queries.DeployRequests)
def listing() -> ResponseReturnValue:
    """Newest first; ``?environmentId=&pipelineId=&state=``."""
    asked = requests.query(queries.DeployRequests)
    page = deploy_requests.listing(
        access.where("viewer"),
        environment_id=asked.environment_id,
        pipeline_id=asked.pipeline_id,
        state=asked.state,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return jsonify(rows.page(page, approval_rows.deploy_request))


@blueprint.get("/<deploy_request_id>")
@declares(approval_answers.DeployRequestInFull)
def show(deploy_request_id: str) -> ResponseReturnValue:
    """One, with what it would bring in place of what is deployed, and whom it would reach now."""
    row = deploy_requests.get(deploy_request_id)
    request = row.request
    runs = ""
    if request.base_version is not None:
        try:
            runs = pipelines.version(request.pipeline_id, request.base_version).config_yaml
        except NotFoundError:
            pass  # it was not kept for so long
    lines = text_difference.difference(runs, request.config_yaml)
    found = deploy_reach.reach(deploy_request_id) if row.state == "open" else None
    return jsonify(approval_rows.deploy_request_in_full(row, lines, found))


@blueprint.post("/<deploy_request_id>/approve")
@declares(answers.Outcome, body=schemas.Approval, refusals=(409,))
def approve(deploy_request_id: str) -> ResponseReturnValue:
    """Deploy exactly what was asked for."""
    body = requests.body(schemas.Approval)
    outcome = approvals.approve(
        deploy_request_id,
        parties.own(),
        comment=body.comment,
        checksum=body.checksum,
        targets_checksum=body.targets_checksum,
    )
    return jsonify(rows.outcome(outcome))


@blueprint.post("/<deploy_request_id>/reject")
@declares(approval_answers.DeployRequest, body=schemas.Rejection, refusals=(409,))
def reject(deploy_request_id: str) -> ResponseReturnValue:
    """Let it end without a deployment."""
    body = requests.body(schemas.Rejection)
    row = approvals.reject(deploy_request_id, parties.own(), comment=body.comment)
    return jsonify(approval_rows.deploy_request(row))


@blueprint.post("/<deploy_request_id>/cancel")
@declares(approval_answers.DeployRequest, refusals=(409,))
def cancel(deploy_request_id: str) -> ResponseReturnValue:
    """Take back one's own; an admin also what others have asked for."""
    environment_id = deploy_requests.get(deploy_request_id).request.environment_id
    is_admin = access.principal().may("admin", environment_id)
    row = approvals.cancel(deploy_request_id, parties.own(), is_admin=is_admin)
    return jsonify(approval_rows.deploy_request(row))
