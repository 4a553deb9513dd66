"""The bodies that the operator API takes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from app.action_batches import MAX_NODES
from app.action_wishes import Wish
from app.json_body import Wire
from app.samples import DEFAULT_EVENTS, MAX_COMPONENTS, MAX_EVENTS

MAX_GRANTS = 1000
Interval = Annotated[int, Field(ge=1, le=2**31 - 1)]
NodeSelector = Annotated[str, BeforeValidator(lambda value: "" if value is None else value)]


class Changes(Wire):
    """A body in which an absent field means that nothing changes."""

    def given(self) -> dict[str, Any]:
        """The fields that were present, by their names in Python."""
        return self.model_dump(exclude_unset=True)


class NewEnvironment(Wire):
    """``POST /environments``."""

    name: str
    protected: bool = False


class EnvironmentChanges(Changes):
    """``PATCH /environments/{id}``."""

    name: str = ""
    protected: bool = False
    selectable_agent_labels: list[str] = Field(default_factory=list)


class SecretValue(Wire):
    """``PUT /environments/{id}/secrets/{name}``."""

    value: str


class CertificateFile(Wire):
    """``PUT /environments/{id}/certificates/{name}``; ``data`` is base64 of PEM."""

    filename: str
    data: str


class NodeChanges(Changes):
    """``PATCH /nodes/{id}``; a label that is ``null`` is left out of the operator's new set."""

    name: str = ""
    labels: dict[str, str | None] = Field(default_factory=dict)
    maintenance_mode: bool = False
    environment_id: str = ""


class Adoption(Wire):
    """``POST /refused-tokens/{fingerprint}/adopt``."""

    environment_id: str
    name: str | None = None


class NewPipeline(Wire):
    """``POST /pipelines``."""

    environment_id: str
    name: str
    config_yaml: str
    node_selector: NodeSelector = ""
    log_level: str | None = None


class PipelineChanges(Changes):
    """``PUT /pipelines/{id}``. An absent selector is kept: an empty one would reach every node."""

    environment_id: str = ""
    name: str = ""
    config_yaml: str = ""
    node_selector: NodeSelector = ""
    log_level: str | None = None


class Validation(Wire):
    """``POST /pipelines/validate``."""

    environment_id: str
    config_yaml: str


class NewTap(Wire):
    """``POST /pipelines/{id}/taps``."""

    component_id: str
    node_id: str | None = None


class Deploy(Wire):
    """``POST /pipelines/{id}/deploy``."""

    changelog: Annotated[str, Field(max_length=4000)] | None = None


class Rollback(Wire):
    """``POST /pipelines/{id}/rollback``."""

    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class NewSamples(Wire):
    """``POST /pipelines/{id}/samples``."""

    component_keys: Annotated[list[str], Field(min_length=1, max_length=MAX_COMPONENTS)]
    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS)] = DEFAULT_EVENTS


class SettingsChanges(Changes):
    """``PATCH /settings``; units and bounds stand in ``server_settings.TABLE``."""

    poll_interval_ms: Interval = 1
    idle_poll_interval_ms: Interval = 1
    heartbeat_interval_ms: Interval = 1
    idle_heartbeat_interval_ms: Interval = 1
    minute_metrics_hours: Interval = 1
    hour_metrics_days: Interval = 1
    day_metrics_days: Interval = 1
    node_log_days: Interval = 1
    sample_days: Interval = 1
    deployment_days: Interval = 1
    versions_kept: Interval = 1
    channel_history_days: Interval = 1
    webhook_delivery_days: Interval = 1
    session_idle_hours: Interval = 1
    session_days: Interval = 1
    unseen_node_days: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class NewAction(Wire):
    """``POST /nodes/{id}/actions``."""

    action: str
    pipeline_id: str | None = None
    target_version: str | None = None
    download_url: str | None = None
    checksum: str | None = None
    signature: str | None = None

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

    node_ids: list[str] | None = None
    selector: str | None = None
    only_failed: bool = False
    max_failures: Annotated[int, Field(ge=0, le=MAX_NODES)] = 0


class Grant(Wire):
    """A role in one environment."""

    environment_id: str
    role: str


def by_environment(grants: list[Grant]) -> dict[str, str]:
    """The roles by the environment's id; of two for one environment the later."""
    return {grant.environment_id: grant.role for grant in grants}


class NewAccount(Wire):
    """``POST /accounts``."""

    email: str
    password: str | None = None
    role: str | None = None
    grants: list[Grant] = Field(default_factory=list, max_length=MAX_GRANTS)


class AccountChanges(Changes):
    """``PATCH /accounts/{id}``; ``grants`` replaces all of them."""

    role: str | None = None
    grants: list[Grant] = Field(default_factory=list, max_length=MAX_GRANTS)
    disabled: bool = False


class NewPassword(Wire):
    """``POST /accounts/{id}/password``."""

    password: str | None = None


class NewWebhook(Wire):
    """``POST /webhooks``."""

    name: str
    url: str
    events: list[str]
    environment_id: str | None = None


class WebhookChanges(Changes):
    """``PATCH /webhooks/{id}``."""

    name: str = ""
    url: str = ""
    events: list[str] = Field(default_factory=list)
    enabled: bool = True
