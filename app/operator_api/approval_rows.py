"""Requests to deploy and API tokens as JSON."""

from __future__ import annotations

from typing import Any

from app.api_tokens import TokenRow
from app.clock import rfc3339
from app.deploy_reach import Reach
from app.deploy_requests import RequestRow
from app.matching import Target
from app.text_difference import Line

NODES_NAMED = 500
"""Of each list of nodes; its count is of all."""


def deploy_request(row: RequestRow) -> dict[str, Any]:
    """A request to deploy, without its YAML."""
    request = row.request
    return {
        "id": request.id,
        "environmentId": request.environment_id,
        "pipelineId": request.pipeline_id,
        "pipeline": row.pipeline_name,
        "kind": request.kind,
        "state": row.state,
        "nodeSelector": request.node_selector,
        "logLevel": request.log_level,
        "changelog": request.changelog,
        "fromVersion": request.from_version,
        "baseVersion": request.base_version,
        "checksum": request.checksum,
        "targets": request.target_count,
        "askedBy": request.asked_by,
        "askedAt": rfc3339(request.asked_at),
        "expiresAt": rfc3339(request.expires_at),
        "decidedBy": request.decided_by,
        "decidedAt": rfc3339(request.decided_at),
        "comment": request.comment,
        "deploymentId": request.deployment_id,
    }


def deploy_request_in_full(row: RequestRow, lines: list[Line], found: Reach | None) -> dict[str, Any]:
    """The same with its YAML, the difference to what was deployed, and (of an open one) whom it reaches now."""
    return {
        **deploy_request(row),
        "configYaml": row.request.config_yaml,
        "difference": [
            {"mark": line.mark, "old": line.old, "new": line.new, "text": line.text} for line in lines
        ],
        "reach": None
        if found is None
        else {
            "checksum": found.checksum,
            "changed": found.has_changed,
            "targets": len(found.targets),
            "gained": len(found.gained),
            "lost": len(found.lost),
            "joined": _nodes(found.joined),
            "left": _nodes(found.left),
        },
    }


def asked(row: RequestRow) -> dict[str, Any]:
    """The answer to a deploy that waits for somebody else."""
    return {
        "deployRequest": deploy_request(row),
        "message": f'The environment "{row.environment_name}" is protected: nothing was changed yet. Somebody else'
        f" must approve the request by {rfc3339(row.request.expires_at)}.",
    }


def api_token(row: TokenRow) -> dict[str, Any]:
    """An API token, without its text."""
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "environmentId": row.environment_id,
        "mayApprove": row.may_approve,
        "state": row.state,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created_at),
        "expiresAt": rfc3339(row.expires_at),
        "lastUsedAt": rfc3339(row.last_used_at),
        "revokedAt": rfc3339(row.revoked_at),
    }


def _nodes(targets: list[Target]) -> list[dict[str, str]]:
    return [{"nodeId": target.node_id, "name": target.name} for target in targets[:NODES_NAMED]]
