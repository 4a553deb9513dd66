"""What people do on the pages, and what the pages say of it."""

import re

from flask import Flask

from app import deploys, enrollment, pipelines, progress, targets
from app.audit import COMMAND_LINE
from app.pages.nodes import parse_labels
from tests.app.pages.conftest import YAML, SignIn, enroll


def test_the_enrollment_token_is_shown_once_inside_the_command(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """The answer to the act shows it; no cookie, no address and no later page does."""
    visitor = sign_in()
    answer = visitor.post(f"/environments/{environment_id}/enrollment-token")
    command = re.search(
        r"SIGNALBOX_URL=(\S+) SIGNALBOX_TOKEN=(\S+) SIGNALBOX_DATA_DIR=\S+ python3 -m agent", answer.text
    )
    assert command is not None
    assert command[1] == "http://localhost"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "Location" not in answer.headers
    assert "sbx_enroll" not in str(answer.headers)
    for page in ("/environments", f"/environments/{environment_id}"):
        assert "sbx_enroll" not in visitor.get(page).text
    with app.app_context():
        assert enrollment.enroll(command[2], "edge-01").environment_id == environment_id


def test_a_reload_does_not_make_the_token_again(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """The token that was just copied keeps working; a browser sends the form again exactly as it was."""
    visitor = sign_in()
    path = f"/environments/{environment_id}/enrollment-token"
    for _ in range(2):
        form = re.search(r'name="instead_of" value="([^"]*)"', visitor.get("/environments").text)
        assert form is not None
        token = re.search(r"sbx_enroll_\w+", visitor.post(path, instead_of=form[1]).text)
        assert token is not None
        again = visitor.post(path, instead_of=form[1])
        assert again.location == f"/environments/{environment_id}"
        assert "Nothing was changed" in visitor.get("/environments").text
        with app.app_context():
            assert enrollment.enroll(token[0], "edge-01").environment_id == environment_id


def test_a_deploy_saves_what_stands_in_the_form_and_says_how_far_it_came(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Browsers send CRLF; what is deployed has the lines as they were typed, the selector and the changelog."""
    visitor = sign_in()
    enroll(app, environment_id, "edge-01")
    path = f"/pipelines/{pipeline_id}"
    edited = YAML + "# one more line\n"
    answer = visitor.post(
        f"{path}/deploy", path, config_yaml=edited.replace("\n", "\r\n"), node_selector="", changelog="More"
    )
    assert (answer.status_code, answer.location) == (302, path)
    page = visitor.get(path).text
    assert "Deployed version 1 for 1 node, 0 of them told at once" in page
    with app.app_context():
        version = pipelines.version(pipeline_id, 1)
        assert (version.config_yaml, version.changelog) == (edited, "More")
        latest = progress.latest(pipeline_id)
        assert latest is not None
        assert (latest.version, latest.targets, latest.counts) == (1, 1, {"PENDING": 1})
        assert [node.name for node in latest.nodes] == ["edge-01"]


def test_a_refused_deploy_names_component_and_line_and_keeps_what_was_typed(
    app: Flask, sign_in: SignIn, pipeline_id: str
) -> None:
    """Nothing is deployed, and nobody has to type it again."""
    visitor = sign_in()
    path = f"/pipelines/{pipeline_id}"
    broken = YAML.replace("[requests]", "[reqests]")
    answer = visitor.post(f"{path}/deploy", path, config_yaml=broken, node_selector="", changelog="Typo")
    assert answer.status_code == 400
    assert "component out, line 8" in answer.text
    assert "[reqests]" in answer.text
    assert 'value="Typo"' in answer.text
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version is None
    answer = visitor.post(f"{path}/deploy", path, config_yaml=YAML, node_selector="")
    assert answer.status_code == 302, "the mended draft was judged by what stood there before"


def test_roll_back_undeploy_and_delete_go_through_the_page(
    app: Flask, sign_in: SignIn, pipeline_id: str
) -> None:
    """Each does its act once; what is deployed cannot be deleted."""
    visitor = sign_in()
    path = f"/pipelines/{pipeline_id}"
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
        deploys.deploy(pipeline_id, COMMAND_LINE)
    assert visitor.post(f"{path}/delete", path).status_code == 409
    assert visitor.post(f"{path}/rollback/1", path).status_code == 302
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version == 3
    for number in (99, 2**31, 99999999999999999999):
        refused = visitor.post(f"{path}/rollback/{number}", path)
        assert (refused.status_code, "no version" in refused.text) == (404, True)
    assert visitor.get(f"{path}/versions/99999999999999999999").status_code == 404
    assert visitor.post(f"{path}/undeploy", path).status_code == 302
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version is None
    assert visitor.post(f"{path}/delete", path).location == "/pipelines"
    assert visitor.get(path).status_code == 404


def test_labels_are_one_a_line_and_reach_the_selectors(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """What an operator types on the node's page decides what a deploy reaches; a bad line changes nothing."""
    visitor = sign_in()
    node_id = enroll(app, environment_id, "edge-01")
    path = f"/nodes/{node_id}"
    assert visitor.post(path, path, name="edge-01", labels="zone=a\r\n\r\ngpu\r\n").status_code == 302
    refused = visitor.post(path, path, name="edge-01", labels="zone=b\nzone=c\n")
    assert refused.status_code == 400
    assert "Line 2 of the labels" in refused.text
    with app.app_context():
        pipelines.update(pipeline_id, COMMAND_LINE, node_selector="zone=a,gpu")
        assert [node.node_id for node in targets.preview(pipeline_id).first_gained] == [node_id]
    assert parse_labels(" a = b=c \n") == {"a": "b=c"}


def test_the_address_of_a_form_leads_back_to_its_page(
    sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """After a refused form it stands in the address line; an address that is none of ours stays one."""
    visitor = sign_in()
    path = f"/pipelines/{pipeline_id}"
    for form in ("deploy", "undeploy", "delete"):
        assert (visitor.get(f"{path}/{form}").location, form) == (path, form)
    environment = f"/environments/{environment_id}"
    for form in ("enrollment-token", "delete"):
        assert visitor.get(f"{environment}/{form}").location == environment
    assert visitor.client.put(f"{path}/deploy").status_code in (400, 405)
    assert visitor.get(f"{path}/nothing").status_code == 404


def test_a_draft_that_somebody_else_saved_meanwhile_is_not_overwritten(
    app: Flask, sign_in: SignIn, pipeline_id: str
) -> None:
    """The second of two tabs is told who changed it and keeps what was typed; sent again, it replaces that."""
    first, second = sign_in("editor"), sign_in()
    path = f"/pipelines/{pipeline_id}"

    def revision(text: str) -> str:
        found = re.search(r'name="revision" value="([^"]+)"', text)
        assert found is not None
        return found[1]

    opened = revision(second.get(path).text)
    theirs, mine = YAML + "# theirs\n", YAML + "# mine\n"
    fields = {"node_selector": "", "revision": opened}
    assert first.post(path, path, config_yaml=theirs, **fields).status_code == 302
    for address in (path, f"{path}/deploy"):
        refused = second.post(address, path, config_yaml=mine, **fields)
        assert refused.status_code == 409
        assert "changed meanwhile, by editor@example.org on 20" in refused.text
        assert "# mine" in refused.text
        assert "# theirs" in refused.text
    with app.app_context():
        assert pipelines.get(pipeline_id).config_yaml == theirs
        assert pipelines.get(pipeline_id).wanted_version is None
    again = {**fields, "revision": revision(refused.text)}
    assert second.post(path, path, config_yaml=mine, **again).status_code == 302
    broken = second.post(path, path, config_yaml=mine, node_selector="a=b=c", revision=again["revision"])
    assert (broken.status_code, revision(broken.text)) == (400, again["revision"])
    same = second.post(path, path, config_yaml=mine, node_selector="", revision=opened)
    assert same.status_code == 302, "nothing is lost where both want the same"


def test_versions_and_what_can_be_ended_are_parts_of_the_live_page(
    app: Flask, sign_in: SignIn, pipeline_id: str
) -> None:
    """So a deploy by somebody else moves the wanted mark; and each version's YAML can be seen."""
    visitor = sign_in()
    path = f"/pipelines/{pipeline_id}"

    def parts() -> dict[str, str]:
        rows = visitor.get(f"{path}/rows").json
        assert rows is not None
        assert set(rows["lists"]["versions"]) == {
            name for name in rows["parts"] if name.startswith("version-")
        }
        html: dict[str, str] = rows["parts"]
        return html

    assert "Delete…" in parts()["end"]
    with app.app_context():
        for _ in range(2):
            deploys.deploy(pipeline_id, COMMAND_LINE)
    assert "Undeploy…" in parts()["end"]
    assert ("deployed" in parts()["version-2"], "deployed" in parts()["version-1"]) == (True, False)
    assert "differs" not in parts()["difference"]
    with app.app_context():
        pipelines.update(pipeline_id, COMMAND_LINE, config_yaml=YAML + "# later\n")
    assert "differs from v2" in parts()["difference"]
    page = visitor.get(path).text
    assert "differs from v2" in page
    assert f'href="{path}/versions/1"' in page
    seen = visitor.get(f"{path}/versions/1").text
    assert "demo_logs" in seen
    assert "# later" not in seen
    assert visitor.get(f"{path}/versions").text.count("<tr id=") == 2
    with app.app_context():
        deploys.undeploy(pipeline_id, COMMAND_LINE)
    assert "No node had to be told" in parts()["progress"]
    assert "deployed" not in parts()["version-2"]
    assert "Delete…" in parts()["end"]
    assert "Delete…" not in sign_in("viewer").get(path).text
