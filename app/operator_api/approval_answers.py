"""The shapes of what the operator API answers about requests to deploy and API tokens. See ``answers.py``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from app.operator_api.answers import Id, Moment, words

Checksum = Annotated[str, Field(pattern="^[0-9a-f]{64}$", examples=["0123456789abcdef" * 4])]


class DeployRequest(TypedDict):
    """What somebody asks for in a protected environment."""

    id: Id
    environmentId: Id
    pipelineId: Id
    pipeline: str
    kind: Annotated[str, words("deploy", "rollback", "undeploy")]
    state: Annotated[str, words("open", "approved", "rejected", "cancelled", "expired", "overtaken")]
    nodeSelector: str
    logLevel: str | None
    changelog: str | None
    fromVersion: Annotated[int | None, Field(description="Which version a rollback goes back to.")]
    baseVersion: Annotated[int | None, Field(description="What was deployed when it was asked.")]
    checksum: Checksum
    targets: Annotated[int, Field(description="Nodes that it would have reached when it was asked.")]
    askedBy: str
    askedAt: Moment
    expiresAt: Moment
    decidedBy: str | None
    decidedAt: Moment | None
    comment: str | None
    deploymentId: Annotated[Id | None, Field(description="What carried it out, or overtook it.")]


class AskedFor(TypedDict):
    """The request that was made in place of a deploy: nothing has changed yet."""

    deployRequest: DeployRequest
    message: str


class DifferentLine(TypedDict):
    """A line of the difference to what was deployed."""

    mark: Annotated[str, Field(description="`+`, `-`, a space, or `…` where lines are left out.")]
    old: int | None
    new: int | None
    text: str


class ReachedNode(TypedDict):
    """A node that joined or left what a request would reach."""

    nodeId: Id
    name: str


class RequestReach(TypedDict):
    """Which nodes an open request would reach now."""

    checksum: Checksum
    changed: Annotated[bool, Field(description="Approving has to carry `checksum` as `targetsChecksum`.")]
    targets: int
    gained: int
    lost: int
    joined: list[ReachedNode]
    left: list[ReachedNode]


class DeployRequestInFull(DeployRequest):
    """A request with its YAML, what it would change, and whom it would reach."""

    configYaml: str
    difference: list[DifferentLine]
    reach: Annotated[RequestReach | None, Field(description="Null once it has ended.")]


class ApiToken(TypedDict):
    """An API token, without its text."""

    id: Id
    name: str
    role: Annotated[str, words("viewer", "editor", "admin")]
    environmentId: Id | None
    mayApprove: bool
    state: Annotated[str, words("active", "expired", "revoked")]
    createdBy: str | None
    createdAt: Moment
    expiresAt: Moment | None
    lastUsedAt: Moment | None
    revokedAt: Moment | None


class MadeApiToken(ApiToken):
    """A new token, with its text."""

    token: Annotated[str, Field(examples=["sbx_api_…"])]
