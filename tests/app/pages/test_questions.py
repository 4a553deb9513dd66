"""Whatever stops or removes something says before it is done what, to how many, and asks."""

import re
from datetime import timedelta

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from app import (
    account_admin,
    accounts,
    alert_drafts,
    alert_rules,
    audit_log,
    certificate_store,
    deploy_or_ask,
    deploys,
    environments,
    nodes,
    pipelines,
    secret_store,
    server_settings,
    webhooks,
)
from app.approvals import Party
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.deploy_requests import RequestRow
from app.ids import first_id_at
from app.models import Deployment, Node
from tests.app.pages.conftest import YAML, SignIn, Visitor, enroll
from tests.app.pages.test_settings import form_of
from tests.app.test_secrets import pem


def asked(visitor: Visitor, path: str, page: str, **fields: str) -> tuple[str, dict[str, str]]:
    """The question that comes of a form: its text, and its own form's fields."""
    answer = visitor.post(path, page, **fields)
    assert answer.status_code == 200
    assert "Nothing has been done yet." in answer.text
    kept = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', answer.text))
    assert kept["confirmed"] == "yes"
    assert fields.items() <= kept.items()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)), kept


def last_act(app: Flask) -> str:
    with app.app_context():
        return audit_log.listing(limit=1).items[0].action


def test_a_change_of_a_node_that_stops_something_is_asked(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Maintenance, and labels that match no longer; what stops nothing is saved at once."""
    visitor = sign_in("editor")
    node_id = enroll(app, environment_id, "edge-01")
    path = f"/nodes/{node_id}"
    with app.app_context():
        nodes.update(node_id, COMMAND_LINE, labels={"zone": "a"})
        pipelines.update(pipeline_id, COMMAND_LINE, node_selector="zone=a")
        deploys.deploy(pipeline_id, COMMAND_LINE)
    for fields in ({"labels": "zone=b"}, {"labels": "zone=a", "maintenance_mode": "yes"}):
        text, kept = asked(visitor, path, path, name="edge-01", **fields)
        assert "stops 1 pipeline on 1 node, edge-01." in text
        assert "access-log" in text
        assert last_act(app) == "pipeline.deploy"
    assert visitor.client.post(path, data=kept).location == path
    assert last_act(app) == "node.update"
    assert visitor.post(path, path, name="edge", labels="zone=b", maintenance_mode="yes").location == path
    assert "Saved." in visitor.get(path).text


def test_keys_that_change_what_nodes_run_are_asked(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """With how many; keys that matter to no pipeline are not."""
    visitor = sign_in()
    path = f"/environments/{environment_id}/selectable-keys"
    for number in range(2):
        node_id = enroll(app, environment_id, f"edge-{number}")

        def report(session: object, node_id: str = node_id) -> None:
            session.execute(update(Node).where(Node.id == node_id).values(agent_labels={"zone": "a"}))  # type: ignore[attr-defined]

        with app.app_context():
            transaction(report)
    with app.app_context():
        pipelines.update(pipeline_id, COMMAND_LINE, node_selector="zone=a")
        deploys.deploy(pipeline_id, COMMAND_LINE)
    assert visitor.post(path, keys="rack").status_code == 302
    text, kept = asked(visitor, path, "/environments", keys="zone")
    assert "2 nodes of " in text
    with app.app_context():
        assert environments.get(environment_id).selectable_agent_labels == ["rack"]
    assert visitor.client.post(path, data=kept).status_code == 302
    with app.app_context():
        assert environments.get(environment_id).selectable_agent_labels == ["zone"]


def test_an_action_of_many_nodes_names_them_first(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """How many, which, and who is left out."""
    visitor = sign_in("editor")
    ids = [enroll(app, environment_id, f"edge-{number}") for number in range(3)]
    path = f"/environments/{environment_id}/actions"
    visitor.post(f"/nodes/{ids[0]}/restart", path)
    text, kept = asked(visitor, path, path, what="restart", selector="", nodes="", max_failures="0")
    assert "Restart the agent of 2 nodes?" in text
    assert "Left out, since they cannot be asked: 1 node." in text
    assert "edge-1 edge-2" in text
    assert "edge-0" not in text
    assert last_act(app) == "node.restart"
    assert "/actions/" in visitor.client.post(path, data=kept).location


def test_a_new_value_says_on_how_many_nodes_it_restarts_something(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """Those that match a deployed pipeline that names it."""
    config = YAML.replace("format: json", "format: json\n    key: SECRET[key]\n    ca: CERT[ca]")
    for number in range(2):
        enroll(app, environment_id, f"edge-{number}")
    with app.app_context():
        for name in ("key", "other"):
            secret_store.put(environment_id, name, "hunter2", COMMAND_LINE)
        certificate_store.put(environment_id, "ca", "ca.pem", pem(), COMMAND_LINE)
        made = pipelines.create(COMMAND_LINE, environment_id=environment_id, name="uses", config_yaml=config)
        deploys.deploy(made.id, COMMAND_LINE)
    page = sign_in().get(f"/environments/{environment_id}/secrets").text
    assert page.count("Restarts 1 pipeline on 2 nodes.") == 2
    assert page.count("No deployed pipeline uses it; nothing restarts.") == 1
    assert "No node is concerned: no deployed pipeline names it." in page


def test_settings_that_keep_less_say_what_goes(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Rows and nodes, counted and bounded; what keeps more or is no matter of keeping is saved at once."""
    visitor = sign_in()
    with app.app_context():
        for _ in range(3):
            deploys.deploy(pipeline_id, COMMAND_LINE)
    silent, _ = (enroll(app, environment_id, name) for name in ("edge-01", "edge-02"))
    with app.app_context():
        long_ago = utc_now() - timedelta(days=100)

        def age(session: object) -> None:
            run = session.execute  # type: ignore[attr-defined]
            run(update(Node).where(Node.id == silent).values(last_seen_at=long_ago))
            for number, row in enumerate(session.query(Deployment).all()):  # type: ignore[attr-defined]
                row.id = first_id_at(long_ago + timedelta(seconds=number))

        transaction(age)
    form = form_of(visitor)
    lower = {"deploymentDays": "30", "versionsKept": "2", "unseenNodeDays": "60", "sampleDays": "1"}
    text, kept = asked(visitor, "/settings", "/settings", **{**form, **lower})
    assert "Deployments, 30 days: removes 2 deployments" in text
    assert "Versions of a pipeline, 2 versions: removes 1 version." in text
    assert "Remove nodes not seen, 60 days: removes 1 node" in text
    assert "Samples," not in text
    with app.app_context():
        assert server_settings.values()["deploymentDays"] == 180
    assert visitor.client.post("/settings", data=kept).status_code == 302
    with app.app_context():
        assert server_settings.values()["deploymentDays"] == 30
    more = {**form_of(visitor), "deploymentDays": "90", "unseenNodeDays": "0", "pollIntervalMs": "9000"}
    assert visitor.post("/settings", "/settings", **more).status_code == 302


def test_counts_of_what_goes_are_bounded_and_may_be_unknown(
    app: Flask, sign_in: SignIn, environment_id: str, monkeypatch: object
) -> None:
    """Of more than can be counted it says so; of nodes while Redis is away, that nobody knows."""
    patch = monkeypatch.setattr  # type: ignore[attr-defined]
    patch("app.retention_preview.MOST_COUNTED", 1)
    visitor = sign_in()
    with app.app_context():
        for number in range(3):
            nodes_id = enroll(app, environment_id, f"edge-{number}")
            when = utc_now() - timedelta(days=9)

            def age(session: object, node_id: str = nodes_id, when: object = when) -> None:
                session.execute(update(Node).where(Node.id == node_id).values(last_seen_at=when))  # type: ignore[attr-defined]

            transaction(age)
    fields = {**form_of(visitor), "unseenNodeDays": "5"}
    text, _ = asked(visitor, "/settings", "/settings", **fields)
    assert "removes more than 1 node" in text


DESTRUCTIVE = {
    "pages.pipelines.undeploy", "pages.pipelines.delete", "pages.nodes.revoke", "pages.nodes.delete",
    "pages.environments.end_token", "pages.environments.delete", "pages.environments.delete_secret",
    "pages.environments.delete_certificate", "pages.environments.rotate_token",
    "pages.webhooks.delete", "pages.webhooks.new_secret", "pages.tokens.revoke", "pages.approval.cancel",
    "pages.alert_rules.delete",
}  # fmt: skip
"""Forms that stand behind a question on their own page."""
ASKED = {
    "pages.settings.save", "pages.nodes.save", "pages.environments.allow_keys", "pages.actions.ask",
    "pages.fleet_batches.perform", "pages.pipelines.deploy", "pages.pipelines.rollback",
    "pages.environments.put_secret", "pages.environments.put_certificate", "pages.account.end_others",
    "pages.account_sessions.end_all", "pages.accounts.enable", "pages.accounts.new_password", "pages.accounts.delete",
    "pages.environments.protect", "pages.approval.approve", "pages.approval.reject",
}  # fmt: skip
"""Forms whose effect is said on a page before, or beside them."""
HARMLESS = {
    "recovery.redeem", "pages.account.change_password", "pages.account.end_session",
    "pages.account_sessions.end_session",
    "pages.alert_rules.create", "pages.alert_rules.enable", "pages.alert_rules.preview",
    "pages.alert_rules.preview_changes", "pages.alert_rules.save", "pages.alert_rules.start",
    "pages.alerts.acknowledge",
    "pages.webhooks.create", "pages.webhooks.enable", "pages.webhooks.resend", "pages.webhooks.send_test",
    "pages.webhooks.update", "pages.accounts.create", "pages.accounts.save", "pages.tokens.create",
    "pages.actions.restart", "pages.actions.retry", "pages.adoption.adopt", "pages.editor.check",
    "pages.environments.create", "pages.environments.rename", "pages.first_steps.hide", "pages.pipelines.create",
    "pages.pipelines.import_file", "pages.pipelines.preview", "pages.pipelines.review", "pages.pipelines.save",
    "pages.samples.ask", "pages.tail.start", "pages.tail.stop", "sign_in.sign_in", "sign_in.sign_out", "setup.create",
}  # fmt: skip
"""Forms that stop and remove nothing; a restart of one node's agent or pipeline is over within seconds."""


def test_every_form_is_known_to_ask_or_to_be_harmless(app: Flask) -> None:
    """A new one belongs to one of the three."""
    found = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if "POST" in (rule.methods or ())
        and rule.endpoint.startswith(("pages.", "sign_in.", "setup.", "recovery.", "oidc."))
    }
    assert found == DESTRUCTIVE | ASKED | HARMLESS


def test_forms_that_end_something_stand_behind_a_question(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Closed until somebody opens it, with a sentence on how many nodes are concerned."""
    visitor = sign_in()
    node_id = enroll(app, environment_id, "edge-01")
    with app.app_context():
        secret_store.put(environment_id, "key", "hunter2", COMMAND_LINE)
        certificate_store.put(environment_id, "ca", "ca.pem", pem(), COMMAND_LINE)
        empty = environments.create("empty", COMMAND_LINE).id
        other = pipelines.create(COMMAND_LINE, environment_id=environment_id, name="o", config_yaml=YAML).id
        deploys.deploy(other, COMMAND_LINE)
        rule = alert_rules.create(alert_drafts.STARTERS["failed"], COMMAND_LINE)
        hook, _ = webhooks.create("h", "https://hooks.example/", ["node.back"], COMMAND_LINE)
        accounts.create_api_token("t", COMMAND_LINE)
        environments.update(environment_id, COMMAND_LINE, protected=True)
        asked_for = deploy_or_ask.undeploy(other, Party(COMMAND_LINE, "token:t"))
        assert isinstance(asked_for, RequestRow)
        environments.update(environment_id, COMMAND_LINE, protected=False)
    seen = set()
    for page in (
        f"/pipelines/{pipeline_id}", f"/pipelines/{other}", f"/nodes/{node_id}", f"/environments/{environment_id}",
        f"/environments/{empty}", f"/environments/{environment_id}/secrets", "/environments",
        f"/webhooks/{hook.id}", f"/alerts/rules/{rule.id}",
        "/tokens", f"/approvals/{asked_for.request.id}",
    ):  # fmt: skip
        for endpoint, before in destructive_forms(app, visitor.client, page):
            seen.add(endpoint)
            assert before.startswith('<details class="ask"'), (page, endpoint)
            assert re.search(r"\bnodes?\b|socket", before, re.IGNORECASE), (page, endpoint)
    assert seen == DESTRUCTIVE


def destructive_forms(app: Flask, client: FlaskClient, page: str) -> list[tuple[str, str]]:
    """The endpoint of each, and the innermost `details` that it stands in, to its end."""
    html, found = client.get(page).text, []
    addresses = app.url_map.bind("localhost")
    for form in re.finditer(r'<form[^>]*method="post"[^>]*action="([^"?]+)[^"]*"', html):
        endpoint, _ = addresses.match(form[1], method="POST")
        if endpoint in DESTRUCTIVE and 'instead_of" value=""' not in html[form.start() : form.end() + 400]:
            start = html.rfind("<details", 0, form.start())
            found.append((endpoint, html[start : html.find("</details>", form.start())]))
    return found


def test_what_ends_an_account_or_its_sessions_is_asked(app: Flask, sign_in: SignIn) -> None:
    """Disabling, a new password and deleting; to enable takes nothing away."""
    visitor = sign_in()
    with app.app_context():
        row, _ = account_admin.create("ann@example.org", None, COMMAND_LINE, role="viewer")
    page = f"/accounts/{row.id}"
    for path, fields, act in (
        (f"{page}/enable", {"enabled": "no"}, "account.update"),
        (f"{page}/password", {}, "account.password"),
        (f"{page}/delete", {}, "account.delete"),
    ):
        text, kept = asked(visitor, path, page, **fields)
        assert "ann@example.org" in text
        assert "No node is touched." in text
        assert last_act(app) != act
        visitor.client.post(path, data=kept)
        assert last_act(app) == act
