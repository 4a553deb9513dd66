"""Each address by its endpoint: the least role that it takes, and where that role is looked for.

``app/access.py`` holds every request to it. An address without a line here keeps the server from starting, and
``tests/app/test_access.py`` walks all of them as everybody who could come; ``docs/access.md`` is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from app.principal import Role


class Scope(Enum):
    """Where the role of a rule is looked for. Those from ``ENVIRONMENT`` on: in the environment of that object."""

    PUBLIC = "everybody"
    AGENT = "agents, by their own tokens, which the agent API looks at"
    SIGNED_IN = "whoever has signed in"
    OVERALL = "overall: it lies outside of every environment"
    ANYWHERE = "in one environment at least: it shows what lies in those, or its body names one"
    ENVIRONMENT = "environment"
    NODE = "node"
    PIPELINE = "pipeline"
    DEPLOYMENT = "deployment"
    ACTION = "action"
    ACTION_BATCH = "batch of actions"
    SAMPLES = "request for samples"
    TAP = "live tail"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Rule:
    """The least role and where it is looked for; ``PUBLIC``, ``AGENT`` and ``SIGNED_IN`` ask for no role."""

    role: Role
    scope: Scope


PUBLIC: Final = Rule("viewer", Scope.PUBLIC)
AGENT: Final = Rule("viewer", Scope.AGENT)

# fmt: off
RULES: Final[dict[str, Rule]] = {
    "agent_api.config": AGENT,
    "agent_api.enroll": AGENT,
    "agent_api.event_stream": AGENT,
    "agent_api.heartbeat": AGENT,
    "agent_api.logs": AGENT,
    "agent_api.take_samples": AGENT,
    "agent_api.tap_events": AGENT,
    "agent_api.websocket_route": AGENT,
    "agent_file.describe": PUBLIC,
    "agent_file.download": PUBLIC,
    "health.healthz": PUBLIC,
    "health.readyz": PUBLIC,
    "metrics.metrics": PUBLIC,
    "oidc.begin": PUBLIC,
    "oidc.callback": PUBLIC,
    "oidc.leave": PUBLIC,
    "operator_api.account_sessions.end_all": Rule("admin", Scope.OVERALL),
    "operator_api.account_sessions.end_session": Rule("admin", Scope.OVERALL),
    "operator_api.account_sessions.listing": Rule("admin", Scope.OVERALL),
    "operator_api.accounts.create": Rule("admin", Scope.OVERALL),
    "operator_api.accounts.delete": Rule("admin", Scope.OVERALL),
    "operator_api.accounts.listing": Rule("admin", Scope.OVERALL),
    "operator_api.accounts.set_password": Rule("admin", Scope.OVERALL),
    "operator_api.accounts.show": Rule("admin", Scope.OVERALL),
    "operator_api.accounts.update": Rule("admin", Scope.OVERALL),
    "openapi": PUBLIC,
    "operator_api.actions.of_batch": Rule("viewer", Scope.ACTION_BATCH),
    "operator_api.actions.of_node": Rule("viewer", Scope.NODE),
    "operator_api.actions.request_many": Rule("editor", Scope.ENVIRONMENT),
    "operator_api.actions.request_one": Rule("editor", Scope.NODE),
    "operator_api.actions.show": Rule("viewer", Scope.ACTION),
    "operator_api.actions.show_batch": Rule("viewer", Scope.ACTION_BATCH),
    "operator_api.adoption.adopt": Rule("admin", Scope.OVERALL),
    "operator_api.adoption.listing": Rule("admin", Scope.OVERALL),
    "operator_api.audit.listing": Rule("viewer", Scope.ANYWHERE),
    "operator_api.deployments.show": Rule("viewer", Scope.DEPLOYMENT),
    "operator_api.environments.create": Rule("admin", Scope.OVERALL),
    "operator_api.environments.delete": Rule("admin", Scope.ENVIRONMENT),
    "operator_api.environments.end_token": Rule("admin", Scope.ENVIRONMENT),
    "operator_api.environments.listing": Rule("viewer", Scope.ANYWHERE),
    "operator_api.environments.rotate_token": Rule("admin", Scope.ENVIRONMENT),
    "operator_api.environments.show": Rule("viewer", Scope.ENVIRONMENT),
    "operator_api.environments.update": Rule("admin", Scope.ENVIRONMENT),
    "operator_api.history.channels": Rule("viewer", Scope.NODE),
    "operator_api.history.logs": Rule("viewer", Scope.NODE),
    "operator_api.history.metrics": Rule("viewer", Scope.NODE),
    "operator_api.nodes.delete": Rule("admin", Scope.NODE),
    "operator_api.nodes.listing": Rule("viewer", Scope.ANYWHERE),
    "operator_api.nodes.revoke": Rule("admin", Scope.NODE),
    "operator_api.nodes.show": Rule("viewer", Scope.NODE),
    "operator_api.nodes.update": Rule("editor", Scope.NODE),
    "operator_api.pipelines.create": Rule("editor", Scope.ANYWHERE),
    "operator_api.pipelines.delete": Rule("editor", Scope.PIPELINE),
    "operator_api.pipelines.deploy": Rule("editor", Scope.PIPELINE),
    "operator_api.pipelines.listing": Rule("viewer", Scope.ANYWHERE),
    "operator_api.pipelines.rollback": Rule("editor", Scope.PIPELINE),
    "operator_api.pipelines.show": Rule("viewer", Scope.PIPELINE),
    "operator_api.pipelines.targets": Rule("viewer", Scope.PIPELINE),
    "operator_api.pipelines.undeploy": Rule("editor", Scope.PIPELINE),
    "operator_api.pipelines.update": Rule("editor", Scope.PIPELINE),
    "operator_api.pipelines.validate": Rule("editor", Scope.ANYWHERE),
    "operator_api.pipelines.version": Rule("viewer", Scope.PIPELINE),
    "operator_api.pipelines.versions": Rule("viewer", Scope.PIPELINE),
    "operator_api.samples.ask": Rule("editor", Scope.PIPELINE),
    "operator_api.samples.show": Rule("viewer", Scope.SAMPLES),
    "operator_api.secrets.certificate": Rule("viewer", Scope.ENVIRONMENT),
    "operator_api.secrets.certificates": Rule("viewer", Scope.ENVIRONMENT),
    "operator_api.secrets.delete_certificate": Rule("editor", Scope.ENVIRONMENT),
    "operator_api.secrets.delete_secret": Rule("editor", Scope.ENVIRONMENT),
    "operator_api.secrets.put_certificate": Rule("editor", Scope.ENVIRONMENT),
    "operator_api.secrets.put_secret": Rule("editor", Scope.ENVIRONMENT),
    "operator_api.secrets.secret": Rule("viewer", Scope.ENVIRONMENT),
    "operator_api.secrets.secrets": Rule("viewer", Scope.ENVIRONMENT),
    "operator_api.settings.show": Rule("viewer", Scope.OVERALL),
    "operator_api.settings.update": Rule("admin", Scope.OVERALL),
    "operator_api.taps.events": Rule("editor", Scope.TAP),
    "operator_api.taps.start": Rule("editor", Scope.PIPELINE),
    "operator_api.taps.stop": Rule("editor", Scope.TAP),
    "operator_api.webhooks.create": Rule("admin", Scope.ANYWHERE),
    "operator_api.webhooks.delete": Rule("admin", Scope.WEBHOOK),
    "operator_api.webhooks.deliveries": Rule("admin", Scope.WEBHOOK),
    "operator_api.webhooks.listing": Rule("admin", Scope.ANYWHERE),
    "operator_api.webhooks.resend": Rule("admin", Scope.WEBHOOK),
    "operator_api.webhooks.rotate": Rule("admin", Scope.WEBHOOK),
    "operator_api.webhooks.show": Rule("admin", Scope.WEBHOOK),
    "operator_api.webhooks.test": Rule("admin", Scope.WEBHOOK),
    "operator_api.webhooks.update": Rule("admin", Scope.WEBHOOK),
    "pages.account.change_password": Rule("viewer", Scope.SIGNED_IN),
    "pages.account.end_others": Rule("viewer", Scope.SIGNED_IN),
    "pages.account.end_session": Rule("viewer", Scope.SIGNED_IN),
    "pages.account.index": Rule("viewer", Scope.SIGNED_IN),
    "pages.account_sessions.end_all": Rule("admin", Scope.OVERALL),
    "pages.account_sessions.end_session": Rule("admin", Scope.OVERALL),
    "pages.account_sessions.index": Rule("admin", Scope.OVERALL),
    "pages.accounts.create": Rule("admin", Scope.OVERALL),
    "pages.accounts.delete": Rule("admin", Scope.OVERALL),
    "pages.accounts.enable": Rule("admin", Scope.OVERALL),
    "pages.accounts.index": Rule("admin", Scope.OVERALL),
    "pages.accounts.new_password": Rule("admin", Scope.OVERALL),
    "pages.accounts.save": Rule("admin", Scope.OVERALL),
    "pages.accounts.show": Rule("admin", Scope.OVERALL),
    "pages.actions.ask": Rule("editor", Scope.ENVIRONMENT),
    "pages.actions.events": Rule("viewer", Scope.ACTION_BATCH),
    "pages.actions.of_environment": Rule("viewer", Scope.ENVIRONMENT),
    "pages.actions.restart": Rule("editor", Scope.NODE),
    "pages.actions.retry": Rule("editor", Scope.PIPELINE),
    "pages.actions.rows": Rule("viewer", Scope.ACTION_BATCH),
    "pages.actions.show": Rule("viewer", Scope.ACTION_BATCH),
    "pages.adoption.adopt": Rule("admin", Scope.OVERALL),
    "pages.adoption.index": Rule("admin", Scope.OVERALL),
    "pages.audit.export": Rule("viewer", Scope.ANYWHERE),
    "pages.audit.index": Rule("viewer", Scope.ANYWHERE),
    "pages.editor.check": Rule("editor", Scope.ANYWHERE),
    "pages.editor.completions": Rule("editor", Scope.ANYWHERE),
    "pages.environments.allow_keys": Rule("admin", Scope.ENVIRONMENT),
    "pages.environments.create": Rule("admin", Scope.OVERALL),
    "pages.environments.delete": Rule("admin", Scope.ENVIRONMENT),
    "pages.environments.delete_certificate": Rule("editor", Scope.ENVIRONMENT),
    "pages.environments.delete_secret": Rule("editor", Scope.ENVIRONMENT),
    "pages.environments.end_token": Rule("admin", Scope.ENVIRONMENT),
    "pages.environments.events": Rule("viewer", Scope.ENVIRONMENT),
    "pages.environments.index": Rule("viewer", Scope.ANYWHERE),
    "pages.environments.put_certificate": Rule("editor", Scope.ENVIRONMENT),
    "pages.environments.put_secret": Rule("editor", Scope.ENVIRONMENT),
    "pages.environments.rename": Rule("admin", Scope.ENVIRONMENT),
    "pages.environments.rotate_token": Rule("admin", Scope.ENVIRONMENT),
    "pages.environments.rows": Rule("viewer", Scope.ENVIRONMENT),
    "pages.environments.secrets": Rule("viewer", Scope.ENVIRONMENT),
    "pages.environments.show": Rule("viewer", Scope.ENVIRONMENT),
    "pages.first_steps.events": Rule("viewer", Scope.ANYWHERE),
    "pages.first_steps.hide": Rule("viewer", Scope.SIGNED_IN),
    "pages.first_steps.index": Rule("viewer", Scope.ANYWHERE),
    "pages.first_steps.rows": Rule("viewer", Scope.ANYWHERE),
    "pages.fleet.events": Rule("viewer", Scope.ANYWHERE),
    "pages.fleet.index": Rule("viewer", Scope.ANYWHERE),
    "pages.fleet.rows": Rule("viewer", Scope.ANYWHERE),
    "pages.fleet_batches.perform": Rule("editor", Scope.ANYWHERE),
    "pages.fleet_batches.preview": Rule("editor", Scope.ANYWHERE),
    "pages.nodes.channels": Rule("viewer", Scope.NODE),
    "pages.nodes.delete": Rule("admin", Scope.NODE),
    "pages.nodes.events": Rule("viewer", Scope.NODE),
    "pages.nodes.revoke": Rule("admin", Scope.NODE),
    "pages.nodes.rows": Rule("viewer", Scope.NODE),
    "pages.nodes.save": Rule("editor", Scope.NODE),
    "pages.nodes.show": Rule("viewer", Scope.NODE),
    "pages.pipelines.compare": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.create": Rule("editor", Scope.ANYWHERE),
    "pages.pipelines.delete": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.deploy": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.events": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.export": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.import_file": Rule("editor", Scope.ANYWHERE),
    "pages.pipelines.index": Rule("viewer", Scope.ANYWHERE),
    "pages.pipelines.new": Rule("editor", Scope.ANYWHERE),
    "pages.pipelines.preview": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.review": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.review_deploy": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.review_rollback": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.rollback": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.rows": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.save": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.show": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.targets": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.undeploy": Rule("editor", Scope.PIPELINE),
    "pages.pipelines.version": Rule("viewer", Scope.PIPELINE),
    "pages.pipelines.versions": Rule("viewer", Scope.PIPELINE),
    "pages.samples.ask": Rule("editor", Scope.PIPELINE),
    "pages.samples.events": Rule("viewer", Scope.SAMPLES),
    "pages.samples.index": Rule("viewer", Scope.PIPELINE),
    "pages.samples.rows": Rule("viewer", Scope.SAMPLES),
    "pages.samples.show": Rule("viewer", Scope.SAMPLES),
    "pages.settings.index": Rule("admin", Scope.OVERALL),
    "pages.settings.save": Rule("admin", Scope.OVERALL),
    "pages.tail.events": Rule("editor", Scope.PIPELINE),
    "pages.tail.start": Rule("editor", Scope.PIPELINE),
    "pages.tail.stop": Rule("editor", Scope.PIPELINE),
    "pages.webhooks.create": Rule("admin", Scope.ANYWHERE),
    "pages.webhooks.delete": Rule("admin", Scope.WEBHOOK),
    "pages.webhooks.enable": Rule("admin", Scope.WEBHOOK),
    "pages.webhooks.index": Rule("admin", Scope.ANYWHERE),
    "pages.webhooks.new_secret": Rule("admin", Scope.WEBHOOK),
    "pages.webhooks.resend": Rule("admin", Scope.WEBHOOK),
    "pages.webhooks.send_test": Rule("admin", Scope.WEBHOOK),
    "pages.webhooks.show": Rule("admin", Scope.WEBHOOK),
    "pages.webhooks.update": Rule("admin", Scope.WEBHOOK),
    "recovery.form": PUBLIC,
    "recovery.redeem": PUBLIC,
    "setup.create": PUBLIC,
    "setup.form": PUBLIC,
    "sign_in.form": PUBLIC,
    "sign_in.sign_in": PUBLIC,
    "sign_in.sign_out": PUBLIC,
    "static": PUBLIC,
}
# fmt: on
