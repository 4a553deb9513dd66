"""One environment's page: its token inside a command, its name, and its end."""

import html
import json
import re
import shlex
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask

from app import enrollment, environments, secret_store
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.errors import UnauthorizedError
from app.ids import new_id
from app.pages import environment
from app.pages.enrollment_commands import commands
from tests.app.pages.conftest import Make, SignIn, Visitor, enroll
from tests.support.agent_file import AgentFile

TOKEN = "sbx_enroll_1_" + "0" * 64


def test_every_command_is_one_line_that_a_shell_reads_as_meant() -> None:
    """Also where the address is odd; the service gets the token through a pipe, not as an argument."""
    odd = "https://signalbox.example/it's"
    made = commands(odd, TOKEN, has_file=True)
    assert made.here is not None
    assert made.service is not None
    for command in (made.here, made.service, made.module):
        assert "\n" not in command
    words = shlex.split(made.here)
    assert f"{odd}/agent/signalbox-agent.pyz" in words
    assert f"SIGNALBOX_URL={odd}" in words
    assert f"SIGNALBOX_TOKEN={TOKEN}" in words
    assert words[-2:] == ["python3", "signalbox-agent.pyz"]
    assert TOKEN not in made.service.partition("| sudo")[2]
    assert not made.is_local
    assert commands("http://127.0.0.1:8000", TOKEN, has_file=False).is_local
    assert commands(odd, TOKEN, has_file=False).here is None


def test_the_command_fetches_the_agent_where_there_is_one(make_app: Make, tmp_path: Path) -> None:
    """The first one does, and the others stand below it; without a file it is the module's."""
    file = AgentFile(tmp_path, "9.9.9")
    file.path.rename(tmp_path / "signalbox-agent.pyz")
    (tmp_path / "signalbox-agent.json").write_text(json.dumps(file.description))
    app = make_app(SIGNALBOX_AGENT_FILE=str(tmp_path / "signalbox-agent.pyz"))
    assert "curl -fsSL" in command_of(app)
    assert "python3 -m agent" in command_of(make_app(SIGNALBOX_AGENT_FILE=str(tmp_path / "none.pyz")))


def command_of(app: Flask) -> str:
    with app.app_context():
        environment_id = environments.create(new_id(), COMMAND_LINE).id
    with app.test_request_context(f"/environments/{environment_id}"), app.app_context():
        shown = commands(
            environment.server_url(), TOKEN, has_file=environment.agent_file.current() is not None
        )
    return shown.here or shown.module


def test_the_line_waits_for_a_node_of_the_new_token(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """One that was there before does not turn it green; one that joins later does, by name."""
    enroll(app, environment_id, "was-there")
    visitor = sign_in()
    path = f"/environments/{environment_id}"
    answer = visitor.post(f"{path}/enrollment-token", path, instead_of=hint(visitor, path))
    assert 'data-state="waiting"' in answer.text
    rows = re.search(r'data-rows="([^"]+after=[^"]+)"', answer.text)
    token = re.search(r"sbx_enroll_\w+", answer.text)
    assert rows is not None
    assert token is not None
    address = html.unescape(rows[1])
    assert 'data-state="waiting"' in visitor.get(address).get_json()["parts"]["joined"]
    with app.app_context():
        enrollment.enroll(token[0], "joins-now")
    joined = visitor.get(address).get_json()["parts"]["joined"]
    assert 'data-state="joined"' in joined
    assert "joins-now" in joined
    assert "was-there" not in joined
    assert f'href="/pipelines/new?environment={environment_id}"' in joined
    assert visitor.get(f"{path}/rows?after=%00").status_code == 400


def test_a_token_that_was_ended_enrolls_nothing(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """The page says that there is none; ending it twice is no error, and audited once."""
    with app.app_context():
        token = enrollment.rotate_token(environment_id, COMMAND_LINE).text
    visitor, path = sign_in(), f"/environments/{environment_id}"
    for _ in range(2):
        assert visitor.post(f"{path}/enrollment-token/end", path).location == path
    page = visitor.get(path).text
    assert "no node can join" in page
    assert "Make a token" in page
    with app.app_context(), pytest.raises(UnauthorizedError):
        enrollment.enroll(token, "late")
    assert visitor.get("/audit?action=environment.enrollment-token.end").text.count("<tr>") == 2


def test_a_name_that_is_taken_is_said_at_the_field(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """What was typed stays; a good one is kept."""
    with app.app_context():
        environments.create("staging", COMMAND_LINE)
    visitor, path = sign_in(), f"/environments/{environment_id}"
    refused = visitor.post(path, path, name="staging")
    assert refused.status_code == 409
    assert 'value="staging"' in refused.text
    assert 'id="name-problem"' in refused.text
    assert visitor.post(path, path, name="live").status_code == 302
    assert "<h1>live</h1>" in visitor.get(path).text


def test_deleting_says_what_goes_and_takes_the_name_typed(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """What stands in the way is said by name, also to a form that was open before."""
    visitor, path = sign_in(), f"/environments/{environment_id}"
    with app.app_context():
        secret_store.put(environment_id, "key", "value", COMMAND_LINE)
        name = environments.get(environment_id).name
    assert "1 secret, 0 certificates" in visitor.get(path).text
    wrong = visitor.post(f"{path}/delete", path, confirm="x")
    assert wrong.status_code == 400
    assert 'id="confirm-problem"' in wrong.text
    node_id = enroll(app, environment_id, "edge-01")
    in_the_way = visitor.post(f"{path}/delete", path, confirm=name)
    assert in_the_way.status_code == 409
    assert "it has 1 node (&#34;edge-01&#34;)" in in_the_way.text
    assert visitor.post(f"/nodes/{node_id}/delete", path).status_code == 302
    assert visitor.post(f"{path}/delete", path, confirm=name).location == "/environments"
    assert visitor.get(path).status_code == 404


def test_a_certificate_that_expires_is_said_in_words(app: Flask) -> None:
    """Not by colour alone, and by days while there are some."""
    now = utc_now()
    with app.test_request_context():
        macro = app.jinja_env.get_template("environments/expiry.html").module.expiry  # type: ignore[attr-defined]
        for left, words in (
            (timedelta(days=-1), "expired"),
            (timedelta(hours=5), "expires within a day"),
            (timedelta(days=1, hours=1), "expires in 1 day<"),
            (timedelta(days=20, hours=1), "expires in 20 days"),
        ):
            assert words in macro(now + left, now, now + timedelta(days=30))
        assert "expire" not in macro(now + timedelta(days=31), now, now + timedelta(days=30))


def hint(visitor: Visitor, path: str) -> str:
    """Which token the page's form is to replace."""
    found = re.search(r'name="instead_of" value="([^"]*)"', visitor.get(path).text)
    assert found is not None
    return found[1]
