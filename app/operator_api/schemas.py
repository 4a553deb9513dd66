"""The bodies that the operator API takes: one model for each, which validates it and describes it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from agent.protocol import ActionType
from app import server_settings
from app.action_batches import MAX_NODES
from app.action_wishes import MAX_SIGNATURE_CHARACTERS, Wish
from app.approvals import MOST_COMMENT_CHARACTERS
from app.json_body import Wire
from app.pipelines import LOG_LEVELS
from app.samples import DEFAULT_EVENTS, MAX_COMPONENTS, MAX_EVENTS
from app.webhook_events import EVENTS


def text(format: str, *examples: str, least: int = 1, most: int | None = None) -> Any:
    """A text of which the document says more than the model checks: the use refuses the rest, with its own sentence.

    *format* is named in ``docs/protocol.md``, section 2.
    """
    bounds = {} if most is None else {"minLength": least, "maxLength": most}
    return Field(json_schema_extra={"format": format, **bounds}, examples=list(examples))


def example(**fields: Any) -> ConfigDict:
    """What the readable page and its command show as the body."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


AN_ID = "01985f0e1c3a7d20b7a5c0ffee000001"
YAML = """\
sources:
  in:
    type: demo_logs
    format: json
sinks:
  out:
    type: blackhole
    inputs: [in]
"""
RESTART: JsonDict = {
    "properties": {
        "action": {"const": "restart"},
        **{name: {"type": "null"} for name in ("targetVersion", "downloadUrl", "checksum", "signature")},
    },
}
SELF_UPDATE: JsonDict = {
    "required": ["targetVersion", "downloadUrl", "checksum"],
    "properties": {
        "action": {"const": "self_update"},
        "pipelineId": {"type": "null"},
        "targetVersion": {"type": "string", "format": "version"},
        "downloadUrl": {"type": "string", "format": "web-address"},
        "checksum": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    },
}
"""Without any of the three it is to the agent that the server itself hands out, where it has one."""
BY_NAME: JsonDict = {
    "required": ["nodeIds"],
    "properties": {"nodeIds": {"type": "array"}, "selector": {"type": "null"}},
}
BY_SELECTOR: JsonDict = {
    "required": ["selector"],
    "properties": {
        "selector": {"type": "string", "format": "label-selector"},
        "nodeIds": {"type": "null"},
    },
}

MAX_GRANTS = 1000
EnvironmentId = Annotated[str, Field(examples=[AN_ID])]
Name = Annotated[str, text("name", "edge", most=100)]
NodeName = Annotated[str, text("name", "edge-01", most=253)]
ConfigYaml = Annotated[str, Field(description="Vector's configuration, at most 512 KiB.", examples=[YAML])]
NodeSelector = Annotated[
    str,
    BeforeValidator(lambda value: "" if value is None else value),
    Field(
        description="Which nodes run it; empty: every node.",
        json_schema_extra={"type": ["string", "null"], "format": "label-selector"},
        examples=["zone=a"],
    ),
]
LogLevel = Annotated[
    str, Field(json_schema_extra={"enum": list(LOG_LEVELS)}, description="Null: Vector's own.")
]
RoleName = Annotated[str, Field(json_schema_extra={"enum": ["viewer", "editor", "admin"]})]
Password = Annotated[str, text("password", least=8, most=72)]
LabelKey = Annotated[str, text("label-key", "zone", most=63)]
Event = Annotated[str, Field(json_schema_extra={"enum": list(EVENTS)})]
Url = Annotated[str, text("web-address", "https://hooks.example/signalbox", most=2000)]


class Changes(Wire):
    """A body in which an absent field means that nothing changes."""

    def given(self) -> dict[str, Any]:
        """The fields that were present, by their names in Python."""
        return self.model_dump(exclude_unset=True)


class NewEnvironment(Wire):
    """``POST /environments``."""

    model_config = example(name="edge", protected=False)

    name: Name
    protected: bool = False


class EnvironmentChanges(Changes):
    """``PATCH /environments/{id}``."""

    model_config = example(protected=True)

    name: Name = ""
    protected: bool = False
    selectable_agent_labels: list[LabelKey] = Field(
        default_factory=list,
        description="Keys of agents' own labels that selectors of pipelines look at; replaces the list.",
        json_schema_extra={"maxItems": 64},
    )


class SecretValue(Wire):
    """``PUT /environments/{id}/secrets/{name}``."""

    model_config = example(value="correct horse battery staple")

    value: Annotated[str, Field(json_schema_extra={"minLength": 1}, description="At most 64 KiB.")]


class CertificateFile(Wire):
    """``PUT /environments/{id}/certificates/{name}``; ``data`` is base64 of PEM."""

    filename: Annotated[str, text("file-name", "client.pem", most=100)]
    data: Annotated[str, text("pem-in-base64")]


class NodeChanges(Changes):
    """``PATCH /nodes/{id}``; a label that is ``null`` is left out of the operator's new set."""

    model_config = example(labels={"zone": "a"}, maintenanceMode=False)

    name: NodeName = ""
    labels: dict[str, str | None] = Field(
        default_factory=dict,
        description="The operator's whole set of labels; one that is null is left out.",
        json_schema_extra={
            "maxProperties": 64,
            "propertyNames": {"format": "label-key"},
            "additionalProperties": {"anyOf": [{"type": "string", "format": "label"}, {"type": "null"}]},
        },
    )
    maintenance_mode: bool = False
    environment_id: EnvironmentId = ""


class Adoption(Wire):
    """``POST /refused-tokens/{fingerprint}/adopt``."""

    model_config = example(environmentId=AN_ID, name="edge-01")

    environment_id: EnvironmentId
    name: NodeName | None = None


class NewPipeline(Wire):
    """``POST /pipelines``."""

    model_config = example(environmentId=AN_ID, name="access-log", configYaml=YAML, nodeSelector="zone=a")

    environment_id: EnvironmentId
    name: Name
    config_yaml: ConfigYaml
    node_selector: NodeSelector = ""
    log_level: LogLevel | None = None


class PipelineChanges(Changes):
    """``PUT /pipelines/{id}``. An absent selector is kept: an empty one would reach every node."""

    model_config = example(configYaml=YAML, nodeSelector="zone=a")

    environment_id: Annotated[str, Field(description="The one that it is in: it cannot be moved.")] = ""
    name: Name = ""
    config_yaml: ConfigYaml = ""
    node_selector: NodeSelector = ""
    log_level: LogLevel | None = None


class Validation(Wire):
    """``POST /pipelines/validate``."""

    model_config = example(environmentId=AN_ID, configYaml=YAML)

    environment_id: EnvironmentId
    config_yaml: ConfigYaml


class NewTap(Wire):
    """``POST /pipelines/{id}/taps``."""

    model_config = example(componentId="in")

    component_id: Annotated[str, Field(description="A source or transform of the deployed version.")]
    node_id: Annotated[str, Field(description="Without: the connected one heard of last.")] | None = None


class Deploy(Wire):
    """``POST /pipelines/{id}/deploy``."""

    model_config = example(changelog="drop health checks")

    changelog: Annotated[str, Field(max_length=4000)] | None = None


class Rollback(Wire):
    """``POST /pipelines/{id}/rollback``."""

    model_config = example(version=3)

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class Undeploy(Wire):
    """``POST /pipelines/{id}/undeploy``; ``emergency`` is an admin's reason not to wait for somebody else."""

    emergency: (
        Annotated[
            str,
            # The use refuses one of spaces alone, with a sentence.
            Field(max_length=MOST_COMMENT_CHARACTERS, json_schema_extra={"minLength": 1, "pattern": r"\S"}),
        ]
        | None
    ) = None


class Rejection(Wire):
    """``POST /deploy-requests/{id}/reject``."""

    comment: Annotated[str, Field(max_length=MOST_COMMENT_CHARACTERS)] | None = None


class Approval(Rejection):
    """``POST /deploy-requests/{id}/approve``: that this request, and these nodes, are meant."""

    checksum: str | None = None
    targets_checksum: str | None = None


class NewApiToken(Wire):
    """``POST /api-tokens``."""

    model_config = example(name="ci", role="editor", environmentId=AN_ID)

    name: Name
    role: RoleName
    environment_id: Annotated[str, Field(description="Without: in all environments.")] | None = None
    expires_at: (
        Annotated[
            str,
            Field(json_schema_extra={"format": "date-time"}, description="In the future; without: never."),
        ]
        | None
    ) = None
    may_approve: bool = False


class NewSamples(Wire):
    """``POST /pipelines/{id}/samples``."""

    model_config = example(componentKeys=["in"], limit=10)

    component_keys: Annotated[list[str], Field(min_length=1, max_length=MAX_COMPONENTS)]
    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS)] = DEFAULT_EVENTS


def _setting(name: str) -> Any:
    """The bounds and the meaning of a setting, as ``server_settings.TABLE`` has them."""
    (each,) = (each for each in server_settings.TABLE if each.name == to_camel(name))
    return Field(
        ge=-(2**31),
        le=2**31 - 1,
        description=f"{each.help} In {each.unit}.",
        json_schema_extra={"minimum": each.least, "maximum": each.most},
    )


class SettingsChanges(Changes):
    """``PATCH /settings``; units and bounds stand in ``server_settings.TABLE``."""

    model_config = example(pollIntervalMs=15000)

    poll_interval_ms: Annotated[int, _setting("poll_interval_ms")] = 1
    idle_poll_interval_ms: Annotated[int, _setting("idle_poll_interval_ms")] = 1
    heartbeat_interval_ms: Annotated[int, _setting("heartbeat_interval_ms")] = 1
    idle_heartbeat_interval_ms: Annotated[int, _setting("idle_heartbeat_interval_ms")] = 1
    minute_metrics_hours: Annotated[int, _setting("minute_metrics_hours")] = 1
    hour_metrics_days: Annotated[int, _setting("hour_metrics_days")] = 1
    day_metrics_days: Annotated[int, _setting("day_metrics_days")] = 1
    node_log_days: Annotated[int, _setting("node_log_days")] = 1
    sample_days: Annotated[int, _setting("sample_days")] = 1
    deployment_days: Annotated[int, _setting("deployment_days")] = 1
    versions_kept: Annotated[int, _setting("versions_kept")] = 1
    channel_history_days: Annotated[int, _setting("channel_history_days")] = 1
    webhook_delivery_days: Annotated[int, _setting("webhook_delivery_days")] = 1
    session_idle_hours: Annotated[int, _setting("session_idle_hours")] = 1
    session_days: Annotated[int, _setting("session_days")] = 1
    alert_days: Annotated[int, _setting("alert_days")] = 1
    deploy_request_hours: Annotated[int, _setting("deploy_request_hours")] = 1
    deploy_request_days: Annotated[int, _setting("deploy_request_days")] = 1
    ended_token_days: Annotated[int, _setting("ended_token_days")] = 1
    unseen_node_days: Annotated[int, _setting("unseen_node_days")] = 0


class NewAction(Wire):
    """``POST /nodes/{id}/actions``."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"action": "restart"}], "oneOf": [RESTART, SELF_UPDATE]}
    )

    action: Annotated[str, Field(json_schema_extra={"enum": [str(each) for each in ActionType]})]
    pipeline_id: Annotated[str, Field(description="Without: the whole agent.")] | None = None
    target_version: str | None = None
    download_url: str | None = None
    checksum: Annotated[str, Field(description="`sha256:` and 64 digits.")] | None = None
    signature: (
        Annotated[str, Field(json_schema_extra={"minLength": 1, "maxLength": MAX_SIGNATURE_CHARACTERS})]
        | None
    ) = None

    def wish(self) -> Wish:
        """What is asked for."""
        return Wish(
            self.action,
            self.pipeline_id,
            self.target_version,
            self.download_url,
            self.checksum,
            self.signature,
        )


class NewActions(NewAction):
    """``POST /environments/{id}/actions``: of the nodes that are named, or of those that match."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"action": "restart", "selector": "zone=a"}],
            "oneOf": [
                {"allOf": [kind, which]}
                for kind in (RESTART, SELF_UPDATE)
                for which in (BY_NAME, BY_SELECTOR)
            ],
        }
    )

    node_ids: Annotated[list[str], Field(json_schema_extra={"maxItems": MAX_NODES})] | None = None
    selector: Annotated[str, Field(description="Empty: every node.")] | None = None
    only_failed: bool = False
    max_failures: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0


class Grant(Wire):
    """A role in one environment."""

    environment_id: EnvironmentId
    role: RoleName


def by_environment(grants: list[Grant]) -> dict[str, str]:
    """The roles by the environment's id; of two for one environment the later."""
    return {grant.environment_id: grant.role for grant in grants}


class NewAccount(Wire):
    """``POST /accounts``."""

    model_config = example(
        email="ops@example.org", role="viewer", grants=[{"environmentId": AN_ID, "role": "editor"}]
    )

    email: Annotated[str, text("e-mail", "ops@example.org", most=253)]
    password: Annotated[Password, Field(description="Without: one is made.")] | None = None
    role: Annotated[RoleName, Field(description="In every environment, and outside of them.")] | None = None
    grants: list[Grant] = Field(default_factory=list, max_length=MAX_GRANTS)


class AccountChanges(Changes):
    """``PATCH /accounts/{id}``; ``grants`` replaces all of them."""

    model_config = example(disabled=True)

    role: RoleName | None = None
    grants: list[Grant] = Field(default_factory=list, max_length=MAX_GRANTS)
    disabled: bool = False


class NewPassword(Wire):
    """``POST /accounts/{id}/password``."""

    model_config = example(password="correct horse battery staple")

    password: Annotated[Password, Field(description="Without: one is made.")] | None = None


class NewWebhook(Wire):
    """``POST /webhooks``."""

    model_config = example(
        name="on-call", url="https://hooks.example/signalbox", events=["pipeline.failed", "node.unreachable"]
    )

    name: Name
    url: Url
    events: Annotated[list[Event], Field(json_schema_extra={"minItems": 1})]
    environment_id: Annotated[str, Field(description="Without: of all environments.")] | None = None


class WebhookChanges(Changes):
    """``PATCH /webhooks/{id}``."""

    model_config = example(enabled=False)

    name: Name = ""
    url: Url = ""
    events: list[Event] = Field(default_factory=list, json_schema_extra={"minItems": 1})
    enabled: bool = True
