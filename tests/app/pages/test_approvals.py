"""The pages of approvals: asked on the pipeline's page, decided on the request's by somebody else."""

import re

from flask import Flask

from app import audit_log, deploy_requests, deploys, environments, pipelines
from app.audit import COMMAND_LINE
from app.shared_counts import SharedCounts
from tests.app.pages.conftest import YAML, SignIn, Visitor, enroll
from tests.app.pages.test_questions import asked

OTHER_YAML = YAML.replace("json", "syslog")


def protect(app: Flask, environment_id: str, protected: bool = True) -> None:
    with app.app_context():
        environments.update(environment_id, COMMAND_LINE, protected=protected)


def ask(visitor: Visitor, pipeline_id: str, act: str = "deploy", **fields: str) -> str:
    """The page of the request that came of an act."""
    answer = visitor.post(f"/pipelines/{pipeline_id}/{act}", "/environments", **fields)
    assert answer.status_code == 302, answer.text
    page = str(answer.location)
    assert re.search(r"/approvals/[0-9a-f]{32}$", page)
    return page


def checksum_of(visitor: Visitor, page: str) -> str:
    found = re.search(r'name="checksum" value="([0-9a-f]{64})"', visitor.get(page).text)
    assert found is not None
    return found[1]


def number_in_navigation(visitor: Visitor) -> str:
    found = re.search(r'<span id="open-approvals" class="number"( hidden)?>(\d+)', visitor.get("/").text)
    assert found is not None
    return found[2]


def test_one_asks_and_another_approves(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The asker sees that it waits and can cancel; who approves sees the difference, the nodes and by whom."""
    enroll(app, environment_id, "edge-01")
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
        pipelines.update(pipeline_id, COMMAND_LINE, config_yaml=OTHER_YAML)
    protect(app, environment_id)
    asker, approver = sign_in("editor"), sign_in("admin")
    assert "Ask for approval</button>" in asker.get(f"/pipelines/{pipeline_id}/review").text
    page = ask(asker, pipeline_id, changelog="to syslog")
    own = asker.get(page).text
    assert "Nothing was changed yet" in own
    assert "You have asked for this; somebody else must approve it." in own
    assert "Approve and deploy" not in own
    assert "Cancel the request" in own
    assert "1 request waits" in asker.get(f"/pipelines/{pipeline_id}").text
    with app.app_context():
        pipelines.update(pipeline_id, COMMAND_LINE, config_yaml=YAML + "# later\n")

    text = approver.get(page).text
    for said in ("Difference to v1, which is deployed", "editor@example.org", "to syslog", "edge-01"):
        assert said in text, said
    assert "Approve and deploy on 1 node" in text
    answer = approver.post(f"{page}/approve", page, comment="seen", checksum=checksum_of(approver, page))
    assert answer.location.endswith(f"/pipelines/{pipeline_id}")
    assert "Approved, and deployed version 2 for 1 node" in approver.get(answer.location).text
    with app.app_context():
        assert pipelines.version(pipeline_id, 2).config_yaml == OTHER_YAML
    ended = asker.get(page).text
    assert "Approved by admin@example.org" in ended
    assert "seen" in ended
    assert 'action="' + page + "/cancel" not in ended


def test_a_request_is_listed_counted_and_rejected(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Open ones first; the number in the navigation is of those alone, and live."""
    app.extensions["open-approvals"] = SharedCounts(deploy_requests.open_counts, seconds=0)
    protect(app, environment_id)
    asker, approver = sign_in("editor"), sign_in("admin")
    assert "Nothing waits for approval" in asker.get("/approvals").text
    assert number_in_navigation(asker) == "0"
    page = ask(asker, pipeline_id)
    assert number_in_navigation(approver) == "1"
    rows = approver.get("/approvals/rows").get_json()
    assert rows["lists"] == {"waiting": [f"request-{page.rpartition('/')[2]}"], "decided": []}
    assert ">1<" in rows["parts"]["open-approvals"]
    assert approver.post(f"{page}/reject", page, comment="not on a Friday").location.endswith(page)
    text = asker.get(page).text
    assert "Rejected by admin@example.org" in text
    assert "not on a Friday" in text
    lists = approver.get("/approvals/rows").get_json()["lists"]
    assert lists == {"waiting": [], "decided": [f"request-{page.rpartition('/')[2]}"]}
    assert number_in_navigation(approver) == "0"
    again = approver.post(f"{page}/approve", "/environments", comment="after all")
    assert again.status_code == 409
    assert "not open any more: it was rejected" in again.text


def test_other_nodes_have_to_be_ticked(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The page names who joined; without the tick nothing is deployed, and the comment is kept."""
    protect(app, environment_id)
    asker, approver = sign_in("editor"), sign_in("admin")
    page = ask(asker, pipeline_id)
    enroll(app, environment_id, "edge-07")
    text = approver.get(page).text
    assert "Not those of when it was asked for" in text
    assert "edge-07" in text
    refused = approver.post(f"{page}/approve", page, comment="kept comment")
    assert refused.status_code == 409
    assert "Nothing was deployed." in refused.text
    assert ">kept comment</textarea>" in refused.text
    ticked = re.search(r'name="targets_checksum" value="([0-9a-f]{64})"', text)
    assert ticked is not None
    done = approver.post(f"{page}/approve", page, targets_checksum=ticked[1])
    assert done.status_code == 302


def test_undeploying_is_asked_for_and_an_emergency_is_an_admins(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The form says so; the other form is offered to admins alone and wants a reason."""
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    protect(app, environment_id)
    editor, admin = sign_in("editor"), sign_in("admin")
    address = f"/pipelines/{pipeline_id}"
    assert "Ask to undeploy" in editor.get(address).text
    assert "in an emergency" not in editor.get(address).text
    assert editor.post(f"{address}/undeploy", address, emergency="fire").status_code == 403
    page = ask(editor, pipeline_id, "undeploy")
    assert "What stops" in admin.get(page).text
    assert admin.post(f"{address}/undeploy", address, emergency="").status_code == 400
    assert admin.post(f"{address}/undeploy", address, emergency="fire").location.endswith(address)
    assert "Overtaken" in editor.get(page).text
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version is None


def test_an_environment_is_protected_at_once_and_unprotected_after_a_question(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """By an admin, and the audit log has it with before and after."""
    path = f"/environments/{environment_id}"
    editor, admin = sign_in("editor"), sign_in("admin")
    assert editor.post(f"{path}/protection", "/environments", protected="no").status_code == 403
    assert "Protect it</button>" in admin.get(path).text
    assert admin.post(f"{path}/protection", path, protected="yes").status_code == 302
    text, kept = asked(admin, f"{path}/protection", path, protected="no")
    assert "without anybody else" in text
    with app.app_context():
        assert environments.is_protected(environment_id)
    admin.post(f"{path}/protection", path, **kept)
    with app.app_context():
        assert not environments.is_protected(environment_id)
        entry = audit_log.listing(limit=1).items[0]
    assert (entry.action, entry.detail["after"]) == ("environment.update", {"protected": False})
