"""Who may do what on the pages."""

from flask import Flask

from app import environments, pipelines
from tests.app.pages.conftest import YAML, SignIn, enroll


def test_a_viewer_sees_everything_and_changes_nothing(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Deploying and all other acts are refused with 403, whatever the page offers; nothing has changed."""
    visitor = sign_in("viewer")
    node_id = enroll(app, environment_id, "edge-01")
    page = visitor.get(f"/pipelines/{pipeline_id}")
    assert page.status_code == 200
    assert "Deploy…</button>" not in page.text
    acts = [
        f"/pipelines/{pipeline_id}",
        f"/pipelines/{pipeline_id}/preview",
        f"/pipelines/{pipeline_id}/review",
        f"/pipelines/{pipeline_id}/deploy",
        f"/pipelines/{pipeline_id}/undeploy",
        f"/pipelines/{pipeline_id}/rollback/1",
        f"/pipelines/{pipeline_id}/delete",
        "/pipelines/new",
        "/pipelines/import",
        "/environments",
        f"/environments/{environment_id}",
        f"/environments/{environment_id}/enrollment-token",
        f"/environments/{environment_id}/enrollment-token/end",
        f"/environments/{environment_id}/delete",
        f"/environments/{environment_id}/selectable-keys",
        f"/nodes/{node_id}",
        f"/nodes/{node_id}/revoke",
        f"/nodes/{node_id}/delete",
        f"/nodes/{node_id}/restart",
        f"/pipelines/{pipeline_id}/retry",
        f"/environments/{environment_id}/actions",
        "/alerts/rules",
        "/alerts/rules/starters",
        "/alerts/rules/preview",
        f"/alerts/rules/{node_id}",
        f"/alerts/{node_id}/acknowledge",
    ]
    for path in acts:
        answer = visitor.post(path, "/", name="x", config_yaml=YAML)
        assert answer.status_code == 403, path
        assert "viewer" in answer.text
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version is None
        assert len(environments.listing().items) == 1


def test_an_editor_deploys_but_makes_no_environment(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """Environments, enrollment tokens and the end of nodes are an admin's."""
    visitor = sign_in("editor")
    answer = visitor.post(f"/pipelines/{pipeline_id}/deploy", "/", config_yaml=YAML, node_selector="")
    assert answer.status_code == 302
    assert visitor.post("/environments", "/", name="staging").status_code == 403
    keys = f"/environments/{environment_id}/selectable-keys"
    assert visitor.post(keys, "/", keys="role").status_code == 403
    with app.app_context():
        assert pipelines.get(pipeline_id).wanted_version == 1


def test_a_live_tail_is_an_editor_s(app: Flask, sign_in: SignIn, pipeline_id: str) -> None:
    """Events may hold anything: a viewer neither starts, reads nor stops one; an editor is told why there is none."""
    viewer, editor = sign_in("viewer"), sign_in("editor")
    path = f"/pipelines/{pipeline_id}/tail"
    for answer in (
        viewer.post(path, "/"),
        viewer.get(f"{path}/x/events"),
        viewer.post(f"{path}/x/stop", "/"),
    ):
        assert answer.status_code == 403
    assert "Live tail" not in viewer.get(f"/pipelines/{pipeline_id}").text
    assert "Live tail" in editor.get(f"/pipelines/{pipeline_id}").text
    editor.post(f"/pipelines/{pipeline_id}/deploy", "/pipelines/new", config_yaml=YAML, node_selector="")
    answer = editor.post(path, "/pipelines/new", component_id="requests")
    assert (answer.status_code, "no connected node" in answer.get_json()["error"]) == (409, True)
    assert editor.post(path, "/pipelines/new", component_id="out").status_code == 400
    assert editor.get(f"{path}/nothere/events").status_code == 404
