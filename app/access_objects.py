"""In which environment the object lies that an address names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from app import taps
from app.access_rules import Scope
from app.database import look
from app.errors import NotFoundError
from app.ids import is_id
from app.models import (
    ActionBatch,
    Alert,
    AlertRule,
    ApiToken,
    Deployment,
    DeployRequest,
    Environment,
    Node,
    NodeAction,
    Pipeline,
    SampleRequest,
    Webhook,
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of object: the argument of the address that has its id, what people call it, and how it is asked for."""

    argument: str
    words: str
    query: Select[Any] | None = None
    """Of the environment's id alone, still without the object's."""
    id_column: Any = None


_KINDS: dict[Scope, _Kind] = {
    Scope.ENVIRONMENT: _Kind("environment_id", "environment", select(Environment.id), Environment.id),
    Scope.NODE: _Kind("node_id", "node", select(Node.environment_id), Node.id),
    Scope.PIPELINE: _Kind("pipeline_id", "pipeline", select(Pipeline.environment_id), Pipeline.id),
    Scope.DEPLOYMENT: _Kind("deployment_id", "deployment", select(Deployment.environment_id), Deployment.id),
    Scope.ACTION: _Kind(
        "action_id",
        "action",
        select(Node.environment_id).join(NodeAction, NodeAction.node_id == Node.id),
        NodeAction.id,
    ),
    Scope.ACTION_BATCH: _Kind(
        "batch_id", "batch of actions", select(ActionBatch.environment_id), ActionBatch.id
    ),
    Scope.SAMPLES: _Kind(
        "request_id",
        "request for samples",
        select(Pipeline.environment_id).join(SampleRequest, SampleRequest.pipeline_id == Pipeline.id),
        SampleRequest.id,
    ),
    Scope.TAP: _Kind("request_id", "live tail"),
    Scope.WEBHOOK: _Kind("webhook_id", "webhook", select(Webhook.environment_id), Webhook.id),
    Scope.ALERT_RULE: _Kind("rule_id", "alert rule", select(AlertRule.environment_id), AlertRule.id),
    Scope.ALERT: _Kind("alert_id", "alert", select(Alert.environment_id), Alert.id),
    Scope.DEPLOY_REQUEST: _Kind(
        "deploy_request_id", "deploy request", select(DeployRequest.environment_id), DeployRequest.id
    ),
    Scope.API_TOKEN: _Kind("api_token_id", "API token", select(ApiToken.environment_id), ApiToken.id),
}

OBJECT_SCOPES = frozenset(_KINDS)


def words_of(scope: Scope) -> str:
    """What people call such an object."""
    return _KINDS[scope].words


def argument_of(scope: Scope) -> str:
    """The argument of an address that has the object's id."""
    return _KINDS[scope].argument


def environment_of(scope: Scope, arguments: Mapping[str, Any]) -> str | None:
    """The environment of the object that the *arguments* of an address name; ``None``: it lies outside of all.

    :raises NotFoundError: there is no such object, in the same words as for one that may not be seen.
    """
    kind = _KINDS[scope]
    object_id = str(arguments[kind.argument])
    unknown = NotFoundError(f"There is no such {kind.words}.")
    if scope is Scope.TAP:
        try:
            return taps.get(object_id).environment_id
        except NotFoundError:
            raise unknown from None
    assert kind.query is not None
    query = kind.query.where(kind.id_column == object_id)
    found = look(query) if is_id(object_id) else []
    if not found:
        raise unknown
    environment_id: str | None = found[0][0]
    return environment_id
