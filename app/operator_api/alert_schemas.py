"""The bodies that the operator API takes of alert rules. See ``schemas.py``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from app.alert_drafts import CLEAR_SECONDS, Draft
from app.alert_kinds import KINDS, LEAST_CLEAR_SECONDS, MOST_SECONDS, SEVERITIES, Kind
from app.json_body import Wire
from app.operator_api.schemas import Changes, Name, NodeSelector, example


def _of_kind(kind: Kind) -> JsonDict:
    """What a body of *kind* must be beside what all are."""
    properties: JsonDict = {"kind": {"const": kind.name}}
    if kind.unit is None:
        properties["threshold"] = {"type": "null"}
    else:
        properties["threshold"] = {"type": "number", "minimum": kind.least, "maximum": kind.most}
    if kind.subject != "pipeline":
        properties["pipelineId"] = {"type": "null"}
    if kind.subject == "certificate":
        properties["nodeSelector"] = {"enum": ["", None]}
    return {"required": ["kind", "threshold"] if kind.unit else ["kind"], "properties": properties}


def _seconds(least: int) -> Any:
    """A number of seconds; the use says its bounds in a sentence."""
    return Field(ge=0, le=2**31 - 1, json_schema_extra={"minimum": least, "maximum": MOST_SECONDS})


ForSeconds = Annotated[int, _seconds(0)]
ClearSeconds = Annotated[int, _seconds(LEAST_CLEAR_SECONDS)]
Severity = Annotated[str, Field(json_schema_extra={"enum": list(SEVERITIES)})]


class NewAlertRule(Wire):
    """``POST /alert-rules`` and ``POST /alert-rules/preview``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "Pipeline failed", "kind": "pipeline_failed", "forSeconds": 60}],
            "oneOf": [_of_kind(kind) for kind in KINDS.values()],
        }
    )

    name: Name
    kind: Annotated[str, Field(json_schema_extra={"enum": list(KINDS)})]
    threshold: Annotated[float, Field(description="In the kind's unit.")] | None = None
    for_seconds: Annotated[ForSeconds, Field(description="Without: what the kind suggests.")] | None = None
    clear_seconds: ClearSeconds = CLEAR_SECONDS
    environment_id: Annotated[str, Field(description="Without: all environments.")] | None = None
    pipeline_id: Annotated[str, Field(description="Without: all pipelines.")] | None = None
    node_selector: NodeSelector = ""
    severity: Severity = "warning"

    def draft(self) -> Draft:
        """What is asked for."""
        return Draft(**self.model_dump())


class AlertRuleChanges(Changes):
    """``PATCH /alert-rules/{id}``."""

    model_config = example(enabled=False)

    name: Name = ""
    threshold: float | None = None
    for_seconds: ForSeconds = 0
    clear_seconds: ClearSeconds = CLEAR_SECONDS
    node_selector: NodeSelector = ""
    severity: Severity = ""
    enabled: bool = True
