"""The shapes of what the operator API answers: ``rows.py`` is held to them, and the OpenAPI document made of them.

Names are those on the wire. A field may be added, never renamed or retyped; ``NotRequired`` ones are there only when
there is something to say.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, NotRequired, TypeVar

from pydantic import Field
from typing_extensions import TypedDict

Row = TypeVar("Row")

Id = Annotated[str, Field(pattern="^[0-9a-z]{1,32}$", examples=["01985f0e1c3a7d20b7a5c0ffee000001"])]
Moment = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00.000Z"])
]


def words(*known: str) -> Any:
    """For a text that is one of the words *known*."""
    return Field(json_schema_extra={"enum": list(known)})


Labels = Annotated[dict[str, str], Field(examples=[{"zone": "a"}])]
Cursor = Annotated[str | None, Field(description="Asks for the next page; null at the end of the list.")]


class Page(TypedDict, Generic[Row]):
    """One page of a list."""

    items: list[Row]
    nextCursor: Cursor


class Problem(TypedDict):
    """A refusal: RFC 9457, and beside it the sentence and the details that scripts have always read."""

    type: Annotated[str, Field(description="A relative address that names the kind of problem.")]
    title: str
    status: int
    detail: Annotated[str, Field(description="The same sentence as `error`.")]
    instance: Annotated[str, Field(description="The path that was asked for.")]
    error: Annotated[str, Field(description="One sentence on what is wrong.")]
    details: NotRequired[list[ProblemDetail]]


class ProblemDetail(TypedDict):
    """One field that is not valid; of a pipeline's YAML also where."""

    field: str
    message: str
    component: NotRequired[str | None]
    line: NotRequired[int | None]


class Environment(TypedDict):
    """A group of nodes with its own pipelines, secrets and certificates."""

    id: Id
    name: str
    protected: bool
    nodeCount: int
    selectableAgentLabels: Annotated[
        list[str], Field(description="Keys of agents' own labels that selectors of pipelines look at.")
    ]
    createdAt: Moment


class EnrollmentToken(TypedDict):
    """A token with which nodes enroll; no other answer shows it."""

    token: str
    hint: Annotated[str, Field(description="Its last characters, by which people tell it.")]


class Told(TypedDict):
    """Whom a change concerns, and who was told of it at once."""

    targets: Annotated[int, Field(description="Nodes that are concerned.")]
    pushed: Annotated[
        int, Field(description="Nodes whose nudge was taken by a worker that holds their socket.")
    ]
    pushError: NotRequired[Annotated[str, Field(description="Why not everybody was told.")]]


class Secret(TypedDict):
    """A secret without its value."""

    name: str
    updatedAt: Moment
    usedBy: Annotated[list[Id], Field(description="Deployed pipelines that name it.")]
    readable: Annotated[bool, Field(description="False where the key that it was encrypted with is gone.")]


class SecretPut(Secret, Told):
    """A secret that was put, and whom that concerns."""


class Certificate(TypedDict):
    """A certificate or key file without its content."""

    name: str
    filename: Annotated[str, Field(examples=["client.pem"])]
    expiresAt: Annotated[Moment | None, Field(description="Of what expires first; null: nothing in it does.")]
    updatedAt: Moment
    usedBy: Annotated[list[Id], Field(description="Deployed pipelines that name it.")]
    readable: Annotated[bool, Field(description="False where the key that it was encrypted with is gone.")]


class CertificatePut(Certificate, Told):
    """A certificate that was put, and whom that concerns."""


class Pipeline(TypedDict):
    """A pipeline's draft, and which version nodes must run."""

    id: Id
    environmentId: Id
    name: str
    configYaml: str
    nodeSelector: str
    logLevel: str | None
    wantedVersion: Annotated[int | None, Field(description="What is deployed.")]
    createdAt: Moment
    updatedAt: Moment
    hold: NotRequired[Annotated[str, Field(description="Why the wanted version cannot be assembled.")]]


class Version(TypedDict):
    """What one deploy made."""

    version: int
    configYaml: str
    nodeSelector: str
    logLevel: str | None
    changelog: str | None
    createdBy: str
    createdAt: Moment


class Verdict(TypedDict):
    """What a deploy would be refused for."""

    valid: bool
    errors: list[ProblemDetail]


class Outcome(Told):
    """What a deploy, an undeploy or a roll back did."""

    deploymentId: Id
    version: Annotated[int | None, Field(description="Null: undeployed.")]


class Duel(TypedDict):
    """Two agents use the node's token."""

    addresses: list[str]
    at: Moment


class Push(TypedDict):
    """The node's push channel."""

    connected: Annotated[bool | None, Field(description="Null: nobody can say, since Redis is away.")]
    transport: Annotated[str, words("ws", "sse")] | None
    since: Moment | None
    worker: str | None
    unknownSince: NotRequired[Moment | None]
    duel: NotRequired[Duel]


class NodePipeline(TypedDict):
    """One pipeline on one node."""

    pipelineId: Id
    name: str
    version: Annotated[int | None, Field(description="What runs.")]
    wantedVersion: int | None
    status: str
    error: str | None
    failedVersion: int | None
    hold: NotRequired[str]


class Node(TypedDict):
    """A node: what it is, whether it is connected, what it runs and should run."""

    id: Id
    name: str
    host: str
    os: str | None
    environmentId: Id
    status: Annotated[str, words("UNKNOWN", "UNREACHABLE", "HEALTHY")]
    push: Push
    labels: Annotated[Labels, Field(description="The operator's over the agent's.")]
    agentLabels: Labels
    operatorLabels: Labels
    agentVersion: str | None
    vectorVersion: str | None
    deploymentMode: str | None
    lastSeenAt: Moment | None
    enrolledAt: Moment
    maintenanceMode: bool
    behind: Annotated[bool, Field(description="Whether it has not reported yet what it should run.")]
    pipelines: list[NodePipeline]
    revokedAt: NotRequired[Moment]


class Targets(TypedDict):
    """One page of the nodes that a deploy would reach, and how many it would be."""

    items: list[Node]
    nextCursor: Cursor
    targets: int
    gained: Annotated[int, Field(description="Those that would run it for the first time.")]
    lost: Annotated[int, Field(description="Those that would run it no more.")]


class AuditEntry(TypedDict):
    """One change of state."""

    id: Id
    at: Moment
    actor: str
    address: str | None
    action: str
    environmentId: Id | None
    subjectId: Id | None
    detail: dict[str, Any]
    sequence: int | None
    hash: str | None


class ActionAsked(TypedDict):
    """What became of an action's request."""

    actionId: Id
    pushed: Annotated[int, Field(ge=0, le=1)]
    pushError: NotRequired[str]


class Skipped(TypedDict):
    """A node that was left out, and why."""

    nodeId: Id
    name: str
    reason: str


class BatchAsked(Told):
    """What became of a request to many nodes."""

    batchId: Id
    skipped: list[Skipped]


class Action(TypedDict):
    """What one node was asked to do."""

    id: Id
    nodeId: Id
    batchId: Id | None
    wave: int
    action: str
    pipelineId: Id | None
    targetVersion: str | None
    status: Annotated[str, words("PENDING", "DELIVERED", "COMPLETED", "FAILED", "EXPIRED")]
    attempts: int
    error: str | None
    createdBy: str
    createdAt: Moment
    expiresAt: Moment | None
    deliveredAt: Moment | None
    finishedAt: Moment | None


class Wave(TypedDict):
    """Nodes of a batch that are asked together."""

    wave: int
    counts: dict[str, int]


class ActionBatch(TypedDict):
    """An action that was asked of many nodes, and how many are how far."""

    id: Id
    environmentId: Id
    action: str
    pipelineId: Id | None
    targetVersion: str | None
    createdBy: str
    createdAt: Moment
    targets: int
    counts: Annotated[dict[str, int], Field(description="By status.")]
    wave: int
    waves: list[Wave]
    maxFailures: int
    haltedAt: Moment | None


class SamplesAsked(TypedDict):
    """What became of a request for samples."""

    requestId: Id
    nodes: int
    pushed: int
    pushError: NotRequired[str]


class AskedNode(TypedDict):
    """A node that was asked."""

    nodeId: Id
    name: str


class Sample(TypedDict):
    """What counts for one component."""

    componentKey: str
    nodeId: Id
    events: list[Any] | None
    schema: list[dict[str, str]] | None
    error: str | None


class SampleFailure(TypedDict):
    """What one node has failed at."""

    componentKey: str
    nodeId: Id
    error: str | None


class Samples(TypedDict):
    """A request for samples: whom it asked, and what counts of what they said."""

    id: Id
    pipelineId: Id
    status: Annotated[str, words("PENDING", "COMPLETED", "ERROR", "EXPIRED")]
    componentKeys: list[str]
    limit: int
    createdBy: str
    createdAt: Moment
    expiresAt: Moment
    finishedAt: Moment | None
    nodes: list[AskedNode]
    samples: list[Sample]
    failures: list[SampleFailure]


class AccountGrant(TypedDict):
    """A role in one environment."""

    environmentId: Id
    role: Annotated[str, words("viewer", "editor", "admin")]


class Account(TypedDict):
    """Somebody who may sign in, and what they may do."""

    id: Id
    email: str
    role: Annotated[
        Annotated[str, words("viewer", "editor", "admin")] | None,
        Field(description="In every environment and outside of them; null: in none but those of `grants`."),
    ]
    grants: list[AccountGrant]
    disabled: bool
    createdAt: Moment
    lastLoginAt: Moment | None
    provider: Annotated[
        str | None, Field(description="Where they sign in; its groups decide the roles at each sign-in.")
    ]


class MadeAccount(Account):
    """An account that was made; no other answer shows its password, where the server has made one."""

    password: NotRequired[str]


class PasswordSet(TypedDict):
    """Another password; no other answer shows it, and this one only where the server has made it."""

    password: NotRequired[str]


class AccountSession(TypedDict):
    """Where somebody is signed in."""

    id: str
    method: str
    address: str | None
    userAgent: str | None
    createdAt: Moment
    lastSeenAt: Moment


class SessionsEnded(TypedDict):
    """How many sessions were ended."""

    ended: int


class TapAsked(TypedDict):
    """A live tail that was begun."""

    requestId: Id
    nodeId: Id
