"""The page of secrets and certificates: forms that only write, for those who may."""

import io
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.app.conftest import Script
from tests.app.test_secrets import NAMING, PEM, Vault, deploy, make_pipeline, pem
from tests.support.people import admit, make_account

PASSWORD = "a long enough password"


class Person:
    """Somebody who has signed in."""

    def __init__(self, app: Flask, role: str) -> None:
        email = f"{role}@example.org"
        self.client: FlaskClient = app.test_client()
        make_account(app, email, PASSWORD, role)
        admit(app, self.client, email, lambda: self.send("/sign-in", email=email, password=PASSWORD))

    def send(self, path: str, page: str = "/sign-in", **fields: object) -> TestResponse:
        """A form of `page`, sent to `path`; the page that this leads to."""
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', self.client.get(page).text)
        assert found is not None
        return self.client.post(path, data={"csrf_token": found[1], **fields}, follow_redirects=True)


@pytest.fixture
def page(environment_id: str) -> str:
    return f"/environments/{environment_id}/secrets"


def test_an_editor_puts_replaces_and_removes(
    app: Flask, script: Script, environment_id: str, page: str
) -> None:
    """Nothing that was typed is on any page afterwards, also where it was refused."""
    editor = Person(app, "editor")
    vault = Vault(script, environment_id)
    answers = [
        editor.send(page, page, name="password", value="hunter2\r\nsecond line"),
        editor.send(page, page, name="db-user", value="hunter2"),
        editor.send(page, page, name="DB_user", value="hunter2"),
        editor.send(page, page, name="password", value="hunter2"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 409, 409]
    assert "already a secret of that name" in answers[3].text
    upload = {"name": "ca", "file": (io.BytesIO(PEM), "ca.pem")}
    answers.append(editor.send(page.replace("secrets", "certificates"), page, **upload))
    assert "Kept the certificate ca." in answers[-1].text
    deploy(script, make_pipeline(script, environment_id, NAMING))
    answers.append(editor.send(page, page, name="password", value="hunter2 new", replace="yes"))
    assert "Kept the secret password." in answers[-1].text
    upload = {"name": "ca", "replace": "yes", "file": (io.BytesIO(pem()), "new.pem")}
    answers.append(editor.send(page.replace("secrets", "certificates"), page, **upload))
    answers.append(editor.send(f"{page}/password/delete", page))
    assert answers[-1].status_code == 409
    assert "&#34;naming&#34;" in answers[-1].text
    assert vault.put("unnamed", "x").status_code == 200
    answers.append(editor.send(f"{page}/unnamed/delete", page))
    assert "Removed the secret unnamed." in answers[-1].text
    seen = "".join(answer.text for answer in answers)
    assert "hunter2" not in seen
    assert "PRIVATE KEY" not in seen
    assert "naming</a>" in seen
    for wrong in ({}, {"file": (io.BytesIO(b"no pem"), "x.pem")}, {"file": (io.BytesIO(PEM), "ü?.pem")}):
        assert (
            editor.send(page.replace("secrets", "certificates"), page, name="c", **wrong).status_code == 400
        )


def test_a_viewer_sees_names_and_no_forms(app: Flask, script: Script, environment_id: str, page: str) -> None:
    """And may not send them either; without the form's token nobody may."""
    viewer = Person(app, "viewer")
    assert "No secrets yet" in viewer.client.get(page).text
    Vault(script, environment_id).fill()
    text = viewer.client.get(page).text
    assert "db-user" in text
    assert "ca.pem" in text
    assert "<textarea" not in text
    for path in (page, f"{page}/unnamed/delete", page.replace("secrets", "certificates")):
        assert viewer.send(path, page, name="a", value="b").status_code == 403
    editor = Person(app, "editor")
    assert editor.client.post(page, data={"name": "a", "value": "b"}).status_code == 400
    assert editor.client.get("/environments/nowhere/secrets").status_code == 404
