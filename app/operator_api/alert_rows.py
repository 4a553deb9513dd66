"""Alert rules, previews and alerts as JSON."""

from __future__ import annotations

from app.alert_kinds import KINDS
from app.alert_preview import Preview as AlertPreview
from app.alert_rules import RuleRow
from app.alerts import AlertRow
from app.clock import rfc3339
from app.operator_api import alert_answers


def alert_rule(row: RuleRow) -> alert_answers.AlertRule:
    """An alert rule, and how many of its alerts are open."""
    return {
        "id": row.id,
        "environmentId": row.environment_id,
        "pipelineId": row.pipeline_id,
        "name": row.name,
        "kind": row.kind,
        "threshold": row.threshold,
        "unit": KINDS[row.kind].unit,
        "forSeconds": row.for_seconds,
        "clearSeconds": row.clear_seconds,
        "nodeSelector": row.node_selector,
        "severity": row.severity,
        "enabled": row.is_enabled,
        "problem": row.problem,
        "problemSince": rfc3339(row.problem_since),
        "evaluatedAt": rfc3339(row.evaluated_at),
        "firing": row.firing,
        "pending": row.pending,
        "createdBy": row.created_by,
        "createdAt": rfc3339(row.created_at),
        "updatedAt": rfc3339(row.updated_at),
    }


def alert_preview(preview: AlertPreview) -> alert_answers.AlertPreview:
    """What a rule would find now."""
    return {
        "subject": preview.subject,
        "subjects": preview.subjects,
        "bad": preview.bad,
        "unknown": preview.unknown,
        "more": preview.is_more,
        "examples": list(preview.names),
    }


def alert(row: AlertRow) -> alert_answers.Alert:
    """An alert."""
    own = row.alert
    return {
        "id": own.id,
        "ruleId": own.rule_id,
        "rule": own.rule_name,
        "kind": own.kind,
        "severity": own.severity,
        "environmentId": own.environment_id,
        "environment": row.environment_name,
        "nodeId": own.node_id,
        "node": own.node_name,
        "pipelineId": own.pipeline_id,
        "pipeline": own.pipeline_name,
        "certificate": own.certificate,
        "state": own.state,
        "text": own.text,
        "value": own.value,
        "unit": KINDS[own.kind].unit,
        "since": rfc3339(own.since),
        "firedAt": rfc3339(own.fired_at),
        "resolvedAt": rfc3339(own.resolved_at),
        "resolvedReason": own.resolved_reason,
        "acknowledgedBy": own.acknowledged_by,
        "acknowledgedAt": rfc3339(own.acknowledged_at),
    }
