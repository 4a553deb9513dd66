"""The pipelines' pages: beginnings, reviews before an act, comparisons and files."""

import io

import pytest
from flask import Flask

from app import deploys, environments, pipeline_yaml, pipelines
from app.audit import COMMAND_LINE
from app.starter_pipelines import STARTERS, Starter
from tests.app.pages.conftest import YAML, SignIn, enroll


@pytest.mark.parametrize("starter", STARTERS, ids=lambda starter: starter.key)
def test_each_starter_is_what_a_deploy_takes(starter: Starter) -> None:
    """Nothing is wrong with it, and what is to be made first is said."""
    parsed = pipeline_yaml.parse(starter.config_yaml)
    assert parsed.problems == []
    for reference in pipeline_yaml.references(parsed.tree):
        assert f"SECRET[{reference.name}]" in starter.needs
        assert reference.name in starter.config_yaml.split("sources:")[0], "the file's head names it"


def test_the_gallery_stands_where_a_pipeline_begins(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """In the empty list and in the form, which each of them fills."""
    visitor = sign_in()
    for path in ("/pipelines", "/pipelines/new"):
        page = visitor.get(path).text
        assert all(f"starter={starter.key}" in page for starter in STARTERS)
    assert "host_metrics" in visitor.get("/pipelines/new?starter=host-metrics-to-prometheus").text
    assert visitor.get("/pipelines/new?starter=none").status_code == 404


def test_the_list_is_that_of_an_environment_if_asked(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The environment's page leads to it; in another environment there is none yet."""
    with app.app_context():
        other_id = environments.create("another", COMMAND_LINE).id
    visitor = sign_in()
    mine, other = (f"/pipelines?environment={each}" for each in (environment_id, other_id))
    assert f'href="{mine}"' in visitor.get(f"/environments/{environment_id}").text
    assert f'href="/pipelines/{pipeline_id}"' in visitor.get(mine).text
    empty = visitor.get(other).text
    assert f'href="/pipelines/{pipeline_id}"' not in empty
    assert "No pipelines in this environment yet" in empty
    assert "Show all pipelines" in empty
    assert f'href="/pipelines/new?environment={other_id}"' in empty
    form = visitor.get(f"/pipelines/new?environment={other_id}").text
    assert f'<option value="{other_id}" selected>' in form
    assert f"/pipelines/new?starter={STARTERS[1].key}&amp;environment={other_id}" in form
    sent = {"name": "another", "environment_id": other_id, "config_yaml": YAML, "node_selector": ""}
    made = visitor.post("/pipelines/new", "/pipelines/new", **sent).location
    assert made is not None
    assert "Next: deploy it." in visitor.get(made).text


def test_a_file_is_imported_into_the_form(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """Or what was pasted; what was left out is said, and nothing is saved."""
    visitor = sign_in()
    sent = (io.BytesIO(b"data_dir: /x\n" + YAML.encode()), "vector.yaml")
    page = visitor.post("/pipelines/import", file=sent)  # type: ignore[arg-type]
    assert page.status_code == 200
    assert "data_dir (line 1) was left out" in page.text
    assert "data_dir: /x" not in page.text
    assert "Nothing was left out" in visitor.post("/pipelines/import", config_yaml=YAML).text
    for bad in ("", "- no\n"):
        assert visitor.post("/pipelines/import", config_yaml=bad).status_code == 400
    with app.app_context():
        assert pipelines.listing().items == []


def test_what_a_deploy_would_do_is_shown_before(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The difference, the nodes by name a page at a time; a draft that changed meanwhile is not deployed unseen."""
    visitor = sign_in()
    path = f"/pipelines/{pipeline_id}"
    for number in range(51):
        enroll(app, environment_id, f"edge-{number:02}")
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
    edited = YAML.replace("json", "syslog")
    answer = visitor.post(f"{path}/review", path, config_yaml=edited, node_selector="")
    assert answer.location == f"{path}/review"
    page = visitor.get(f"{path}/review").text
    assert "Deploy on 51 nodes" in page
    assert 'class="removed"' in page
    assert ("edge-49" in page, "edge-50" in page) == (True, False)
    assert "edge-50" in visitor.get(f"{path}/review?page=2").text
    for odd in ("0", "x", "999999", "9" * 40):
        assert visitor.get(f"{path}/review?page={odd}").status_code == 200
    with app.app_context():
        seen = deploys.draft_revision(pipelines.get(pipeline_id))
        pipelines.update(pipeline_id, COMMAND_LINE, config_yaml=YAML + "# theirs\n")
    refused = visitor.post(f"{path}/deploy", path, revision=seen, changelog="Mine")
    assert (refused.status_code, "changed since you looked" in refused.text) == (409, True)
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version == 1
        seen = deploys.draft_revision(pipelines.get(pipeline_id))
    assert visitor.post(f"{path}/deploy", path, revision=seen, changelog="Both").status_code == 302
    with app.app_context():
        assert pipelines.version(pipeline_id, 2).changelog == "Both"


def test_a_roll_back_says_first_how_many_nodes_it_reaches(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """By that version's own selector, not the draft's; and what it cannot do it says before."""
    visitor = sign_in()
    enroll(app, environment_id, "edge-01")
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
        pipelines.update(pipeline_id, COMMAND_LINE, node_selector="zone=a", config_yaml=YAML + "# 2\n")
        deploys.deploy(pipeline_id, COMMAND_LINE)
    page = visitor.get(f"/pipelines/{pipeline_id}/rollback/1").text
    assert "Roll back on 1 node" in page
    assert "# 2" in page
    assert "0 nodes" in visitor.get(f"/pipelines/{pipeline_id}/rollback/2").text
    assert visitor.get(f"/pipelines/{pipeline_id}/rollback/9").status_code == 404
    assert sign_in("viewer").get(f"/pipelines/{pipeline_id}/rollback/1").status_code == 403


def test_any_two_versions_are_compared_and_each_is_a_file(
    app: Flask, sign_in: SignIn, pipeline_id: str
) -> None:
    """The draft, too; by viewers, too."""
    with app.app_context():
        deploys.deploy(pipeline_id, COMMAND_LINE)
        pipelines.update(pipeline_id, COMMAND_LINE, config_yaml=YAML + "# later\n", name="Access log: all")
    visitor = sign_in("viewer")
    path = f"/pipelines/{pipeline_id}"
    assert "# later" in visitor.get(f"{path}/compare").text
    assert "are the same" in visitor.get(f"{path}/compare?from=1&to=1").text
    assert [visitor.get(f"{path}/compare?from={odd}").status_code for odd in ("x", "7", "9" * 30)] == [
        400,
        404,
        400,
    ]
    for which, text, name in (("draft", "# later", "draft"), ("1", "requests", "v1")):
        answer = visitor.get(f"{path}/export/{which}")
        assert text in answer.text
        assert answer.headers["Content-Disposition"] == f'attachment; filename="Access-log-all-{name}.yaml"'
