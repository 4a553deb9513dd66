"""What the operator API answers with: each kind of row as JSON, in the shapes of ``answers.py``, and lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from app.account_admin import AccountRow
from app.action_batches import BatchAsked
from app.action_progress import BatchRow
from app.certificate_store import CertificateRow
from app.clock import from_milliseconds, rfc3339
from app.deploy_acts import DeployOutcome
from app.environments import EnvironmentRow
from app.fleet import NodeRow
from app.metrics_figures import host_figures, pipeline_figures
from app.metrics_points import Point
from app.models import AuditEntry, ChannelSpan, Pipeline, PipelineVersion, WebhookDelivery
from app.node_actions import ActionRow, Asked
from app.node_logs import PipelineLogs
from app.node_pipelines import PipelineState
from app.operator_api import answers
from app.operator_api import history_answers as history
from app.paging import Page
from app.refused_tokens import RefusedToken
from app.rotation import Outcome
from app.sample_views import Samples
from app.samples import Asked as SamplesAsked
from app.secret_store import SecretRow
from app.targets import Preview
from app.webhooks import WebhookRow

Row = TypeVar("Row")
Json = TypeVar("Json")


def page(rows: Page[Row], to_json: Callable[[Row], Json]) -> answers.Page[Json]:
    """One page of a list."""
    return {"items": [to_json(row) for row in rows.items], "nextCursor": rows.next_cursor}


def account(row: AccountRow) -> answers.Account:
    """An account, without anything of its password."""
    return {
        "id": row.id,
        "email": row.email,
        "role": row.role,
        "grants": [{"environmentId": key, "role": role} for key, role in sorted(row.grants.items())],
        "disabled": row.disabled_at is not None,
        "createdAt": rfc3339(row.created_at),
        "lastLoginAt": rfc3339(row.last_login_at),
        "provider": row.provider,
    }


def environment(row: EnvironmentRow) -> answers.Environment:
    """An environment."""
    return {
        "id": row.id,
        "name": row.name,
        "protected": row.protected,
        "nodeCount": row.node_count,
        "selectableAgentLabels": row.selectable_agent_labels,
        "createdAt": rfc3339(row.created_at),
    }


def secret(row: SecretRow) -> answers.Secret:
    """A secret without its value; ``readable`` is false where the key that it was encrypted with is gone."""
    return {
        "name": row.name,
        "updatedAt": rfc3339(row.updated_at),
        "usedBy": [user.pipeline_id for user in row.used_by],
        "readable": row.is_readable,
    }


def certificate(row: CertificateRow) -> answers.Certificate:
    """A certificate without its content; ``expiresAt`` is ``null`` where the file holds only a key."""
    return {
        "name": row.name,
        "filename": row.filename,
        "expiresAt": rfc3339(row.expires_at),
        "updatedAt": rfc3339(row.updated_at),
        "usedBy": [user.pipeline_id for user in row.used_by],
        "readable": row.is_readable,
    }


def rotation(done: Outcome) -> answers.Told:
    """How many nodes a new value concerns and how many were told; ``pushError`` says why not everybody was."""
    answer: answers.Told = {"targets": done.targets, "pushed": done.pushed}
    if done.push_error is not None:
        answer["pushError"] = done.push_error
    return answer


def pipeline(row: Pipeline, hold: str | None = None) -> answers.Pipeline:
    """A pipeline's draft, which version nodes must run, and why that cannot be assembled if it cannot."""
    answer: answers.Pipeline = {
        "id": row.id,
        "environmentId": row.environment_id,
        "name": row.name,
        "configYaml": row.config_yaml,
        "nodeSelector": row.node_selector,
        "logLevel": row.log_level,
        "wantedVersion": row.wanted_version,
        "createdAt": rfc3339(row.created_at),
        "updatedAt": rfc3339(row.updated_at),
    }
    if hold is not None:
        answer["hold"] = hold
    return answer


def version(row: PipelineVersion) -> answers.Version:
    """What one deploy made."""
    return {
        "version": row.version,
        "configYaml": row.config_yaml,
        "nodeSelector": row.node_selector,
        "logLevel": row.log_level,
        "changelog": row.changelog,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created_at),
    }


def outcome(done: DeployOutcome) -> answers.Outcome:
    """What a deploy, an undeploy or a rollback did; ``pushError`` says why not everybody was told."""
    answer: answers.Outcome = {
        "deploymentId": done.deployment_id,
        "version": done.version,
        "targets": done.targets,
        "pushed": done.pushed,
    }
    if done.push_error is not None:
        answer["pushError"] = done.push_error
    return answer


def preview(row: Preview) -> dict[str, Any]:
    """How many nodes a deploy would reach, and for how many of them, and of the others, it changes something."""
    return {"targets": row.targets, "gained": row.gained, "lost": row.lost}


def audit_entry(row: AuditEntry) -> answers.AuditEntry:
    """One change of state."""
    return {
        "id": row.id,
        "at": rfc3339(row.at),
        "actor": row.actor,
        "address": row.address,
        "action": row.action,
        "environmentId": row.environment_id,
        "subjectId": row.subject_id,
        "detail": row.detail,
        "sequence": row.sequence,
        "hash": row.hash,
    }


def node(row: NodeRow) -> answers.Node:
    """A node: what it is, whether it is connected, what it runs and should run."""
    push: answers.Push = {
        "connected": row.push.connected,
        "transport": row.push.transport,
        "since": rfc3339(row.push.since),
        "worker": row.push.worker,
    }
    if row.push.connected is None:
        push["unknownSince"] = rfc3339(row.push.unknown_since)
    if row.push.duel is not None:
        push["duel"] = {"addresses": list(row.push.duel.addresses), "at": rfc3339(row.push.duel.at)}
    answer: answers.Node = {
        "id": row.id,
        "name": row.name,
        "host": row.host,
        "os": row.os,
        "environmentId": row.environment_id,
        "status": row.status.value,
        "push": push,
        "labels": row.labels,
        "agentLabels": row.agent_labels,
        "operatorLabels": row.operator_labels,
        "agentVersion": row.agent_version,
        "vectorVersion": row.vector_version,
        "deploymentMode": row.deployment_mode,
        "lastSeenAt": rfc3339(row.last_seen_at),
        "enrolledAt": rfc3339(row.enrolled_at),
        "maintenanceMode": row.maintenance_mode,
        "behind": row.behind,
        "pipelines": [_node_pipeline(state) for state in row.pipelines],
    }
    if row.revoked_at is not None:
        answer["revokedAt"] = rfc3339(row.revoked_at)
    return answer


def _node_pipeline(state: PipelineState) -> answers.NodePipeline:
    answer: answers.NodePipeline = {
        "pipelineId": state.pipeline_id,
        "name": state.name,
        "version": state.version,
        "wantedVersion": state.wanted_version,
        "status": state.status,
        "error": state.error,
        "failedVersion": state.failed_version,
    }
    if state.hold is not None:
        answer["hold"] = state.hold
    return answer


def asked(done: Asked) -> answers.ActionAsked:
    """What became of an action's request; ``pushError`` says why nobody was told."""
    answer: answers.ActionAsked = {"actionId": done.action_id, "pushed": done.pushed}
    if done.push_error is not None:
        answer["pushError"] = done.push_error
    return answer


def batch_asked(done: BatchAsked) -> answers.BatchAsked:
    """The same for many nodes, with those that were left out."""
    answer: answers.BatchAsked = {
        "batchId": done.batch_id,
        "targets": done.asked,
        "pushed": done.pushed,
        "skipped": [
            {"nodeId": node.node_id, "name": node.name, "reason": node.reason} for node in done.skipped
        ],
    }
    if done.push_error is not None:
        answer["pushError"] = done.push_error
    return answer


def action(row: ActionRow) -> answers.Action:
    """What one node was asked to do."""
    return {
        "id": row.id,
        "nodeId": row.node_id,
        "batchId": row.batch_id,
        "wave": row.wave,
        "action": row.action,
        "pipelineId": row.pipeline_id,
        "targetVersion": row.target_version,
        "status": row.status,
        "attempts": row.attempts,
        "error": row.error,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created_at),
        "expiresAt": rfc3339(row.expires_at),
        "deliveredAt": rfc3339(row.delivered_at),
        "finishedAt": rfc3339(row.finished_at),
    }


def action_batch(row: BatchRow) -> answers.ActionBatch:
    """An action that was asked of many nodes, and how many are how far."""
    return {
        "id": row.id,
        "environmentId": row.environment_id,
        "action": row.action,
        "pipelineId": row.pipeline_id,
        "targetVersion": row.target_version,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created_at),
        "targets": row.total,
        "counts": row.counts,
        "wave": row.wave,
        "waves": [{"wave": wave, "counts": own} for wave, own in sorted(row.by_wave.items())],
        "maxFailures": row.max_failures,
        "haltedAt": rfc3339(row.halted_at),
    }


def samples_asked(done: SamplesAsked) -> answers.SamplesAsked:
    """What became of a request for samples; ``pushError`` says why nobody was told."""
    answer: answers.SamplesAsked = {"requestId": done.request_id, "nodes": done.nodes, "pushed": done.pushed}
    if done.push_error is not None:
        answer["pushError"] = done.push_error
    return answer


def samples(found: Samples) -> answers.Samples:
    """A request for samples: whom it asked, and what counts of what they said."""
    request = found.request
    return {
        "id": request.id,
        "pipelineId": request.pipeline_id,
        "status": request.status,
        "componentKeys": request.component_keys,
        "limit": request.event_limit,
        "createdBy": request.created_by,
        "createdAt": rfc3339(request.created_at),
        "expiresAt": rfc3339(request.expires_at),
        "finishedAt": rfc3339(request.finished_at),
        "nodes": [{"nodeId": node_id, "name": name} for node_id, name in found.asked.items()],
        "samples": [
            {
                "componentKey": sample.component_key,
                "nodeId": sample.node_id,
                "events": sample.events,
                "schema": sample.schema,
                "error": sample.error,
            }
            for sample in found.samples
        ],
        "failures": [
            {"componentKey": failure.component_key, "nodeId": failure.node_id, "error": failure.error}
            for failure in found.failures
        ],
    }


def host_point(start: int, point: Point) -> history.HostPoint:
    """A point of a node's machine: from when, of how many seconds, and what was measured."""
    point_of_time = {"at": rfc3339(from_milliseconds(start * 1000)), "seconds": point[0]}
    return cast(history.HostPoint, {**point_of_time, **host_figures(point)})


def pipeline_point(start: int, point: Point) -> history.PipelinePoint:
    """A point of one pipeline on one node."""
    point_of_time = {"at": rfc3339(from_milliseconds(start * 1000)), "seconds": point[0]}
    return cast(history.PipelinePoint, {**point_of_time, **pipeline_figures(point)})


def pipeline_logs(row: PipelineLogs) -> history.PipelineLogs:
    """The last lines that one pipeline's process printed on a node."""
    return {
        "pipelineId": row.pipeline_id,
        "name": row.name,
        "reportedAt": rfc3339(row.reported_at),
        "lines": row.lines,
    }


def channel(row: ChannelSpan) -> history.Channel:
    """A push channel that has ended."""
    return {
        "transport": row.transport,
        "openedAt": rfc3339(row.opened_at),
        "endedAt": rfc3339(row.ended_at),
        "reason": row.reason,
        "worker": row.worker,
        "address": row.address,
    }


def refused_token(row: RefusedToken) -> history.RefusedToken:
    """An agent that presents another system's token."""
    return {
        "fingerprint": row.fingerprint,
        "address": row.address,
        "firstSeenAt": rfc3339(row.first_seen_at),
        "lastSeenAt": rfc3339(row.last_seen_at),
    }


def webhook(row: WebhookRow) -> history.Webhook:
    """A webhook, without its secret."""
    return {
        "id": row.id,
        "environmentId": row.environment_id,
        "name": row.name,
        "url": row.url,
        "events": row.events,
        "enabled": row.is_enabled,
        "disabledReason": row.disabled_reason,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created_at),
        "waiting": row.waiting,
    }


def webhook_delivery(row: WebhookDelivery) -> history.WebhookDelivery:
    """One event for one webhook, and how its last attempt went."""
    return {
        "id": row.id,
        "event": row.event,
        "status": row.status,
        "attempts": row.attempts,
        "nextAttemptAt": rfc3339(row.next_attempt_at) if row.status == "PENDING" else None,
        "lastStatus": row.last_status,
        "lastError": row.last_error,
        "lastMilliseconds": row.last_milliseconds,
        "createdAt": rfc3339(row.created_at),
        "finishedAt": rfc3339(row.finished_at),
        "payload": row.payload,
    }
