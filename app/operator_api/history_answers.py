"""The shapes of what the operator API answers about what was, and about webhooks. See ``answers.py``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from app.operator_api.answers import Cursor, Id, Moment, words


class HostPoint(TypedDict):
    """A point of a node's machine; null is what its agent does not tell."""

    at: Moment
    seconds: Annotated[float, Field(description="How many seconds of it were observed.")]
    cpuShare: Annotated[float | None, Field(description="From 0 to 1.")]
    memoryUsedBytes: float | None
    memoryTotalBytes: float | None
    fsUsedBytes: float | None
    fsTotalBytes: float | None
    diskReadBytesPerSecond: float
    diskWrittenBytesPerSecond: float
    netRxBytesPerSecond: float
    netTxBytesPerSecond: float


class PipelinePoint(TypedDict):
    """A point of one pipeline on one node."""

    at: Moment
    seconds: float
    eventsInPerSecond: float
    eventsOutPerSecond: float
    bytesInPerSecond: float
    bytesOutPerSecond: float
    errorsTotalPerSecond: float
    eventsDiscardedPerSecond: float


class Metrics(TypedDict):
    """What a node and its pipelines did in a span of time; where nothing was observed there is no point."""

    level: Annotated[str, words("minute", "hour", "day")]
    since: Moment
    until: Moment
    host: list[HostPoint]
    pipelines: Annotated[dict[str, list[PipelinePoint]], Field(description="By the pipelines' ids.")]


class PipelineLogs(TypedDict):
    """The last lines that one pipeline's process printed on a node."""

    pipelineId: Id
    name: str
    reportedAt: Moment | None
    lines: list[str]


class Channel(TypedDict):
    """A push channel that has ended."""

    transport: Annotated[str, words("ws", "sse")]
    openedAt: Moment
    endedAt: Moment
    reason: str
    worker: str
    address: str | None


class Percentiles(TypedDict):
    """Of the nodes that have come so far, in milliseconds."""

    p50: float | None
    p99: float | None


class DeploymentNode(TypedDict):
    """How far one node has come."""

    nodeId: Id
    nudgedAt: Moment | None
    fetchedAt: Moment | None
    runningAt: Moment | None
    status: Annotated[str, words("PENDING", "RUNNING", "STOPPED", "FAILED", "SUPERSEDED")]
    error: str | None


class DeploymentNodes(TypedDict):
    """One page of a deployment's nodes."""

    items: list[DeploymentNode]
    nextCursor: Cursor


class Deployment(TypedDict):
    """How far a deployment has come, with one page of its nodes."""

    id: Id
    pipelineId: Id
    version: int | None
    createdAt: Moment
    targets: int
    pushed: int
    nudgedToFetchedMs: Percentiles
    nudgedToRunningMs: Percentiles
    nodes: DeploymentNodes


class RefusedToken(TypedDict):
    """An agent that presents another system's token."""

    fingerprint: str
    address: str
    firstSeenAt: Moment
    lastSeenAt: Moment


class Webhook(TypedDict):
    """Who is told of which events; without its secret."""

    id: Id
    environmentId: Id | None
    name: str
    url: str
    events: list[str]
    enabled: bool
    disabledReason: str | None
    createdBy: str
    createdAt: Moment
    waiting: Annotated[int, Field(description="Deliveries in its queue.")]


class MadeWebhook(Webhook):
    """A webhook that was made; no other answer shows its secret."""

    secret: str


class WebhookSecret(TypedDict):
    """Another secret of a webhook; no other answer shows it."""

    secret: str


class WebhookSent(TypedDict):
    """What was put into a webhook's queue."""

    deliveryId: Id


class WebhookDelivery(TypedDict):
    """One event for one webhook, and how its last attempt went."""

    id: Id
    event: str
    status: Annotated[str, words("PENDING", "DELIVERED", "FAILED")]
    attempts: int
    nextAttemptAt: Moment | None
    lastStatus: int | None
    lastError: str | None
    lastMilliseconds: int | None
    createdAt: Moment
    finishedAt: Moment | None
    payload: dict[str, Any]


class Settings(TypedDict):
    """Every setting that people change while the server runs, each in its own unit."""

    pollIntervalMs: int
    idlePollIntervalMs: int
    heartbeatIntervalMs: int
    idleHeartbeatIntervalMs: int
    minuteMetricsHours: int
    hourMetricsDays: int
    dayMetricsDays: int
    nodeLogDays: int
    sampleDays: int
    deploymentDays: int
    versionsKept: int
    channelHistoryDays: int
    webhookDeliveryDays: int
    alertDays: int
    sessionIdleHours: int
    sessionDays: int
    deployRequestHours: int
    deployRequestDays: int
    endedTokenDays: int
    unseenNodeDays: int
