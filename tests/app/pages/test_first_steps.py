"""The steps from an empty server to a deploy: ticked off by what there is, put away by whoever does not want them."""

import re

from flask import Flask

from app import enrollment, environments, pipelines
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import YAML, SignIn, Visitor

STEP = re.compile(r'class="step-state">([^<]+)<')


def states(visitor: Visitor, path: str = "/") -> list[str]:
    return STEP.findall(visitor.get(path).text)


def test_each_step_ticks_itself_off(app: Flask, sign_in: SignIn) -> None:
    """The first that is not done is next; with the last one they leave the fleet page, not their own."""
    visitor = sign_in()
    assert states(visitor) == ["next", "to do", "to do", "to do", "to do"]
    assert states(visitor, "/getting-started") == states(visitor)
    with app.app_context():
        environment_id = environments.create("production", COMMAND_LINE).id
        assert states(visitor) == ["done", "next", "to do", "to do", "to do"]
        assert f'href="/environments/{environment_id}">Make a token' in visitor.get("/").text
        token = enrollment.rotate_token(environment_id, COMMAND_LINE).text
        assert states(visitor) == ["done", "done", "next", "to do", "to do"]
        # The others in another order than they stand in.
        pipeline_id = pipelines.create(
            COMMAND_LINE, environment_id=environment_id, name="access-log", config_yaml=YAML
        ).id
        assert states(visitor) == ["done", "done", "next", "done", "to do"]
        enrollment.enroll(token, "edge-01")
    assert states(visitor) == ["done", "done", "done", "done", "next"]
    assert f'href="/pipelines/{pipeline_id}">Open the pipeline' in visitor.get("/").text
    visitor.post(f"/pipelines/{pipeline_id}/deploy", "/environments", config_yaml=YAML, node_selector="")
    assert states(visitor) == []
    assert '<section id="steps" hidden>' in visitor.get("/").text
    assert states(visitor, "/getting-started") == ["done"] * 5
    assert "All set" in visitor.get("/getting-started").text


def test_who_hides_them_sees_them_only_on_an_empty_fleet(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """In that browser; an empty fleet has no other way on."""
    visitor, other = sign_in(), sign_in()
    assert "Hide these steps" not in visitor.get("/").text
    with app.app_context():
        enrollment.enroll(enrollment.rotate_token(environment_id, COMMAND_LINE).text, "edge-01")
    assert "Hide these steps" in visitor.get("/").text
    assert visitor.post("/getting-started/hide", "/").location == "/"
    assert states(visitor) == []
    assert len(states(other)) == 5
    assert len(states(visitor, "/getting-started")) == 5


def test_a_viewer_is_told_who_can_do_them(sign_in: SignIn) -> None:
    """And offered nothing that would be refused."""
    text = sign_in("viewer").get("/").text
    assert "Somebody with the role admin can do this." in text
    assert 'class="button small primary"' not in text


def test_they_do_not_stand_above_a_filtered_fleet(sign_in: SignIn, environment_id: str) -> None:
    assert states(sign_in(), f"/?environment={environment_id}") == []
