"""The shapes of what the operator API answers about alerts. See ``answers.py``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from app.alert_kinds import KINDS, REASONS, SEVERITIES, STATES
from app.operator_api.answers import Id, Moment, words

KindName = Annotated[str, words(*KINDS)]
Severity = Annotated[str, words(*SEVERITIES)]


class AlertRule(TypedDict):
    """What is to be told of, and how many of its alerts are open."""

    id: Id
    environmentId: Annotated[Id | None, Field(description="Null: all environments.")]
    pipelineId: Annotated[Id | None, Field(description="Null: all pipelines.")]
    name: str
    kind: KindName
    threshold: float | None
    unit: Annotated[str | None, Field(description="Of the threshold.")]
    forSeconds: int
    clearSeconds: int
    nodeSelector: str
    severity: Severity
    enabled: bool
    problem: Annotated[str | None, Field(description="Why it cannot be evaluated.")]
    problemSince: Moment | None
    evaluatedAt: Annotated[Moment | None, Field(description="When it last could be.")]
    firing: int
    pending: int
    createdBy: str
    createdAt: Moment
    updatedAt: Moment


class AlertPreview(TypedDict):
    """What a rule would find now."""

    subject: Annotated[str, words("node", "pipeline", "certificate")]
    subjects: Annotated[int, Field(description="That it is about.")]
    bad: Annotated[int, Field(description="That would fire.")]
    unknown: Annotated[int, Field(description="Of which nobody can say.")]
    more: Annotated[bool, Field(description="Whether more are bad than were counted.")]
    examples: Annotated[list[str], Field(description="A sentence on some that are bad.")]


class Alert(TypedDict):
    """One rule, and something that it found."""

    id: Id
    ruleId: Annotated[Id, Field(description="The rule may be gone.")]
    rule: str
    kind: KindName
    severity: Severity
    environmentId: Id
    environment: str
    nodeId: Id | None
    node: str | None
    pipelineId: Id | None
    pipeline: str | None
    certificate: str | None
    state: Annotated[str, words(*STATES)]
    text: str
    value: Annotated[float | None, Field(description="What was measured when its state last changed.")]
    unit: str | None
    since: Moment
    firedAt: Moment | None
    resolvedAt: Moment | None
    resolvedReason: Annotated[str | None, Field(json_schema_extra={"enum": [*REASONS, None]})]
    acknowledgedBy: str | None
    acknowledgedAt: Moment | None
