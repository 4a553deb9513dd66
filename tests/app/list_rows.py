"""How rows of each list of the operator API are made and removed, for whoever walks them (test_lists.py)."""

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from sqlalchemy import delete

from app import channel_history, node_actions, webhook_events
from app.action_wishes import Wish
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.ids import new_id
from app.models import (
    Account,
    AccountSession,
    Alert,
    ApiToken,
    ChannelSpan,
    DeploymentNode,
    DeployRequest,
    NodeAction,
    NodePipeline,
    WebhookDelivery,
)
from app.push.standing import Span
from tests.app.conftest import YAML, Script, enroll, firing, node_id, succeeded
from tests.app.test_secrets import PEM

FILL = 7
"""Rows before the walk begins: four pages."""


@dataclass
class Rows:
    """The rows of one list."""

    path: str
    add: Callable[[int], object]
    """One more, which is different for each number."""
    remove: Callable[[str], object] | None = None
    """The row with this key; ``None``: rows of this list stay for good."""
    key: str = "id"
    """The field that tells rows apart."""
    inside: str | None = None
    """The field of the answer that holds the page; ``None``: it is the answer."""
    query: dict[str, str] = field(default_factory=dict)


def named(number: int) -> str:
    """Names around the cursor: by turns before and behind those that are there."""
    return f"{'m' if number < FILL else 'az'[number % 2]}{number:02}"


class Maker:
    """Makes what lists have rows of, each list in an environment of its own."""

    def __init__(self, app: Flask, script: Script) -> None:
        self.app, self.script = app, script

    def home(self) -> str:
        return str(self.script.post("/environments", {"name": f"home {secrets.token_hex(4)}"})["id"])

    def node(self, home: str, name: str = "n") -> str:
        return node_id(enroll(self.script, home, name)[0])

    def pipeline(self, home: str, name: str = "p") -> str:
        body = {"environmentId": home, "name": name, "configYaml": YAML}
        return str(self.script.post("/pipelines", body)["id"])

    def written(self, row: Any) -> None:
        with self.app.app_context():
            transaction(lambda session: session.add(row))

    def call(self, work: Callable[..., object], *arguments: Any) -> None:
        with self.app.app_context():
            work(*arguments)

    def gone(self, model: Any, column: Any = None) -> Callable[[str], None]:
        """Removes rows as whatever clears up does it, where no route does."""

        def remove(key: str) -> None:
            statement = delete(model).where((model.id if column is None else column) == key)
            with self.app.app_context():
                transaction(lambda session: session.execute(statement) and None)

        return remove

    def deleted(self, path: str) -> Callable[[str], None]:
        def remove(key: str) -> None:
            answer = self.script.call("DELETE", f"{path}/{key}")
            assert answer.status_code in (200, 204), answer.text

        return remove


def account(number: int) -> Account:
    return Account(
        id=new_id(), email=f"{secrets.token_hex(8)}@example.org", password_hash="", role="viewer",
        session_key=secrets.token_hex(16), created_at=utc_now(),
    )  # fmt: skip


def _account_sessions(make: Maker, home: str) -> Rows:
    owner = account(0)
    owner_id = owner.id
    make.written(owner)

    def add(number: int) -> None:
        now = utc_now()
        make.written(
            AccountSession(
                id=new_id(), account_id=owner_id, digest=secrets.token_hex(32), method="oidc", created_at=now,
                last_seen_at=now,
            )
        )  # fmt: skip

    path = f"/accounts/{owner_id}/sessions"
    return Rows(path, add, make.deleted(path))


def _accounts(make: Maker, home: str) -> Rows:
    return Rows("/accounts", lambda number: make.written(account(number)), make.deleted("/accounts"))


def _actions_of_node(make: Maker, home: str) -> Rows:
    node = make.node(home)

    def add(number: int) -> None:
        make.written(node_actions.make(node, Wish("restart"), COMMAND_LINE, utc_now()))

    return Rows(f"/nodes/{node}/actions", add, make.gone(NodeAction))


def _actions_of_batch(make: Maker, home: str) -> Rows:
    node = make.node(home)
    asked = {"action": "restart", "selector": ""}
    batch = make.script.post(f"/environments/{home}/actions", asked, 202)["batchId"]

    def add(number: int) -> None:
        make.written(node_actions.make(node, Wish("restart"), COMMAND_LINE, utc_now(), batch))

    return Rows(f"/action-batches/{batch}/actions", add, make.gone(NodeAction), query={"status": "pending"})


def _refused_tokens(make: Maker, home: str) -> Rows:
    board = make.app.extensions["refused_tokens"]
    rest = "0" * 48

    def add(number: int) -> None:
        prefix = named(number).translate(str.maketrans("amz", "05f"))
        make.call(board.note, f"{prefix:0<16}{rest}", "192.0.2.1")

    return Rows("/refused-tokens", add, lambda key: make.call(board.forget, key + rest), key="fingerprint")


def _alert_rules(make: Maker, home: str) -> Rows:
    rule = {"kind": "pipeline_failed", "environmentId": home}
    return Rows(
        "/alert-rules",
        lambda number: make.script.post("/alert-rules", {**rule, "name": named(number)}),
        make.deleted("/alert-rules"),
    )


def _alerts(make: Maker, home: str) -> Rows:
    return Rows(
        "/alerts",
        lambda number: firing(make.app, home, named(number)),
        make.gone(Alert),
        query={"state": "FIRING"},
    )


def _api_tokens(make: Maker, home: str) -> Rows:
    token = {"role": "viewer", "environmentId": home}
    return Rows(
        "/api-tokens",
        lambda number: make.script.post("/api-tokens", {**token, "name": named(number)}),
        make.gone(ApiToken),
    )


def _audit(make: Maker, home: str) -> Rows:
    pipeline = make.pipeline(home)

    def add(number: int) -> None:
        changes = {"name": named(number)}
        succeeded(make.script.call("PUT", f"/pipelines/{pipeline}", changes), 200)

    return Rows("/audit", add, query={"action": "pipeline.*"})


def _deploy_requests(make: Maker, home: str) -> Rows:
    pipeline = make.pipeline(home)
    succeeded(make.script.call("PATCH", f"/environments/{home}", {"protected": True}), 200)
    path = f"/pipelines/{pipeline}/deploy"
    return Rows(
        "/deploy-requests",
        lambda number: make.script.post(path, {"changelog": named(number)}, 202),
        make.gone(DeployRequest),
        query={"state": "open"},
    )


def _deployment(make: Maker, home: str) -> Rows:
    deployment = make.script.post(f"/pipelines/{make.pipeline(home)}/deploy", status=200)["deploymentId"]

    def add(number: int) -> None:
        make.written(DeploymentNode(deployment_id=deployment, node_id=make.node(home, named(number))))

    return Rows(f"/deployments/{deployment}", add, make.deleted("/nodes"), key="nodeId", inside="nodes")


def _environments(make: Maker, home: str) -> Rows:
    return Rows("/environments", lambda number: make.home(), make.deleted("/environments"))


def _channels(make: Maker, home: str) -> Rows:
    node = make.node(home)

    def add(number: int) -> None:
        now = utc_now()
        span = Span(node, "ws", now, now, named(number), "host:1", "192.0.2.1")
        make.call(channel_history.record, [span])

    return Rows(f"/nodes/{node}/channels", add, make.gone(ChannelSpan, ChannelSpan.reason), key="reason")


def _logs(make: Maker, home: str) -> Rows:
    node = make.node(home)

    def add(number: int) -> None:
        pipeline = make.pipeline(home, named(number))
        now = utc_now()
        make.written(NodePipeline(node_id=node, pipeline_id=pipeline, status="RUNNING", reported_at=now))

    return Rows(f"/nodes/{node}/logs", add, make.deleted("/pipelines"), key="pipelineId")


def _nodes(make: Maker, home: str) -> Rows:
    # A host name is what the machine says, whatever that is; names that people give are checked.
    return Rows(
        "/nodes",
        lambda number: make.node(home, f"{named(number)}\u00a0edge\u200d\t"),
        make.deleted("/nodes"),
        query={"q": "EDGE"},
    )


def _pipelines(make: Maker, home: str) -> Rows:
    return Rows("/pipelines", lambda number: make.pipeline(home, named(number)), make.deleted("/pipelines"))


def _targets(make: Maker, home: str) -> Rows:
    return Rows(
        f"/pipelines/{make.pipeline(home)}/targets",
        lambda number: make.node(home, f"{named(number)}\u00a0edge"),
        make.deleted("/nodes"),
        query={"change": "gained"},
    )


def _versions(make: Maker, home: str) -> Rows:
    pipeline = make.pipeline(home)
    deploy = f"/pipelines/{pipeline}/deploy"
    return Rows(
        f"/pipelines/{pipeline}/versions", lambda number: make.script.post(deploy, status=200), key="version"
    )


def _secrets(make: Maker, home: str) -> Rows:
    path = f"/environments/{home}/secrets"

    def add(number: int) -> None:
        succeeded(make.script.call("PUT", f"{path}/{named(number)}", {"value": "v"}), 200)

    return Rows(path, add, make.deleted(path), key="name")


def _certificates(make: Maker, home: str) -> Rows:
    path = f"/environments/{home}/certificates"

    def add(number: int) -> None:
        body = {"filename": f"{number}.pem", "data": base64.b64encode(PEM).decode()}
        succeeded(make.script.call("PUT", f"{path}/{named(number)}", body), 200)

    return Rows(path, add, make.deleted(path), key="name")


def _hook(make: Maker, home: str, name: str) -> str:
    body = {"name": name, "url": "https://hooks.example/", "events": ["node.back"], "environmentId": home}
    return str(make.script.post("/webhooks", body)["id"])


def _webhooks(make: Maker, home: str) -> Rows:
    return Rows("/webhooks", lambda number: _hook(make, home, named(number)), make.deleted("/webhooks"))


def _deliveries(make: Maker, home: str) -> Rows:
    webhook = _hook(make, home, "h")

    def add(number: int) -> None:
        now = utc_now()
        payload = {"type": "test", "timestamp": "", "data": {}}
        with make.app.app_context():
            transaction(lambda session: webhook_events.queue(session, webhook, payload, now))

    path = f"/webhooks/{webhook}/deliveries"
    return Rows(path, add, make.gone(WebhookDelivery), query={"status": "PENDING"})


LISTS: dict[str, Callable[[Maker, str], Rows]] = {
    "account_sessions.listing": _account_sessions,
    "accounts.listing": _accounts,
    "actions.of_batch": _actions_of_batch,
    "actions.of_node": _actions_of_node,
    "adoption.listing": _refused_tokens,
    "alert_rules.listing": _alert_rules,
    "alerts.listing": _alerts,
    "api_tokens.listing": _api_tokens,
    "audit.listing": _audit,
    "deploy_requests.listing": _deploy_requests,
    "deployments.show": _deployment,
    "environments.listing": _environments,
    "history.channels": _channels,
    "history.logs": _logs,
    "nodes.listing": _nodes,
    "pipelines.listing": _pipelines,
    "pipelines.targets": _targets,
    "pipelines.versions": _versions,
    "secrets.certificates": _certificates,
    "secrets.secrets": _secrets,
    "webhooks.deliveries": _deliveries,
    "webhooks.listing": _webhooks,
}
"""By endpoint, how rows are made. A new list needs a line here."""
