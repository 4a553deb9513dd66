"""The query strings that the operator API takes: one model for each, which validates it and describes it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from app import alert_kinds, deploy_requests, fleet_filter, metrics_history, targets
from app.action_states import STATUSES as ACTION_STATUSES
from app.json_body import Wire
from app.paging import DEFAULT_LIMIT, MAX_LIMIT


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= MAX_LIMIT):
        raise ValueError(f"it is a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("it is true or false")
    return text == "true"


class OneOf:
    """For a text that is one of *words*; with *any_case* in small letters too."""

    def __init__(self, words: Collection[str], *, any_case: bool = False) -> None:
        self._words = [str(word) for word in words]
        self._any_case = any_case

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {**handler(schema), "enum": self._words}

    def _checked(self, text: str) -> str:
        wanted = text.upper() if self._any_case else text
        if wanted not in self._words:
            raise ValueError(f"it is one of {', '.join(self._words)}")
        return wanted


Limit = Annotated[
    int,
    BeforeValidator(_whole_number),
    Field(json_schema_extra={"minimum": 1, "maximum": MAX_LIMIT}, description="Rows in a page."),
]
Cursor = Annotated[
    str, Field(json_schema_extra={"format": "cursor"}, description="The `nextCursor` of the page before.")
]
Flag = Annotated[bool, BeforeValidator(_truth)]
Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00Z"])]
Selector = Annotated[str, Field(json_schema_extra={"format": "label-selector"}, examples=["zone=a,tier!=db"])]
EnvironmentId = Annotated[str, Field(description="Of this environment alone.")]


NameCursor = Annotated[
    str,
    Field(json_schema_extra={"format": "name-cursor"}, description="The `nextCursor` of the page before."),
]


class Query(Wire):
    """Parameters of a query string; an empty one counts as absent, and unknown ones are ignored."""


class Listing(Query):
    """Which page of a list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class InEnvironment(Listing):
    """A list of what lies in environments."""

    environment_id: EnvironmentId | None = None


class Nodes(InEnvironment):
    """``GET /nodes``."""

    cursor: NameCursor | None = None
    status: Annotated[str, OneOf(fleet_filter.STATUSES, any_case=True)] | None = None
    connected: Flag | None = None
    label: Annotated[Selector, Field(description="Looks at all labels.")] | None = None
    q: Annotated[str, Field(description="A part of the name or the host name.")] | None = None


class Pipelines(InEnvironment):
    """``GET /pipelines``."""

    name: Annotated[str, Field(description="The whole name.")] | None = None


class Targets(Listing):
    """``GET /pipelines/{id}/targets``."""

    cursor: NameCursor | None = None
    selector: Annotated[Selector, Field(description="In place of the draft's; empty: every node.")] | None = (
        None
    )
    change: targets.Change | None = None


class Actions(Listing):
    """``GET /action-batches/{id}/actions``."""

    status: Annotated[str, OneOf(ACTION_STATUSES, any_case=True)] | None = None


class Logs(Listing):
    """``GET /nodes/{id}/logs``."""

    cursor: NameCursor | None = None
    pipeline_id: Annotated[str, Field(description="Of this pipeline alone.")] | None = None


class Metrics(Query):
    """``GET /nodes/{id}/metrics``."""

    level: Annotated[str, OneOf(metrics_history.LEVELS)] = "minute"
    since: Annotated[Moment, Field(description="By default sixty points before `until`.")] | None = None
    until: Annotated[Moment, Field(description="By default now.")] | None = None


class Audit(InEnvironment):
    """``GET /audit``."""

    actor: Annotated[str, Field(description="As the entries have it.", examples=["token ci"])] | None = None
    action: Annotated[str, Field(description="One, or a family.", examples=["pipeline.*"])] | None = None
    subject: Annotated[str, Field(description="An id, or the name of something that exists.")] | None = None
    since: Moment | None = None
    until: Annotated[Moment, Field(description="The first moment that is not meant any more.")] | None = None


class DeployRequests(InEnvironment):
    """``GET /deploy-requests``."""

    pipeline_id: Annotated[str, Field(description="Of this pipeline alone.")] | None = None
    state: deploy_requests.State | None = None


class ApiTokens(InEnvironment):
    """``GET /api-tokens``."""

    revoked: Flag | None = None


class Deliveries(Listing):
    """``GET /webhooks/{id}/deliveries``."""

    status: Annotated[str, OneOf(("PENDING", "DELIVERED", "FAILED"))] | None = None


class Alerts(InEnvironment):
    """``GET /alerts``."""

    state: Annotated[str, OneOf(alert_kinds.STATES)] | None = None
    rule_id: Annotated[str, Field(description="Of this rule alone.")] | None = None
