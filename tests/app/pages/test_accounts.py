"""The accounts' pages: a password that is shown once, roles in environments, questions before what ends something."""

import re

from flask import Flask

from app import account_admin
from app.account_admin import LAST_ADMIN
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import SignIn
from tests.support.people import sign_in_as

PASSWORD = re.compile(r'id="password"[^>]*>([\w-]{16})<')


def test_an_account_from_its_making_to_its_end(app: Flask, sign_in: SignIn, environment_id: str) -> None:
    """Its password is on the page that answers and on no other; its roles are as they were chosen."""
    visitor = sign_in()
    form = {
        "email": "ann@example.org",
        "role": "",
        "environment": environment_id,
        "environment_role": "editor",
    }
    made = visitor.post("/accounts", "/accounts", **form)
    assert PASSWORD.search(made.text)
    listed = visitor.get("/accounts").text
    assert "editor in production</span>" in listed
    address = re.search(r'href="(/accounts/[0-9a-f]{32})">ann', listed)
    assert address is not None
    page = address[1]
    assert not PASSWORD.search(visitor.get(page).text)

    field = f"grant-{environment_id}"
    assert visitor.post(page, page, role="viewer", **{field: "admin"}).status_code == 302
    text = visitor.get(page).text
    assert "Saved; it holds from the next request" in text
    assert '<option value="viewer" selected>' in text
    assert '<option value="admin" selected>' in text
    visitor.post(page, page, role="viewer", **{field: ""})
    with app.app_context():
        assert account_admin.find("ann@example.org").grants == {}

    first = PASSWORD.search(visitor.post(f"{page}/password", page, confirmed="yes").text)
    assert first is not None
    visitor.post(f"{page}/enable", page, enabled="no", confirmed="yes")
    assert "disabled" in visitor.get(page).text
    visitor.post(f"{page}/enable", page, enabled="yes")
    assert visitor.post(f"{page}/delete", page, confirmed="yes").location.endswith("/accounts")
    assert "Deleted the account ann@example.org." in visitor.get("/accounts").text
    assert visitor.get(page).status_code == 404


def test_what_cannot_be_used_is_said_and_kept(app: Flask, sign_in: SignIn) -> None:
    """The last admin's end too, in the sentence of the operator API."""
    visitor = sign_in()
    refused = visitor.post("/accounts", "/accounts", email="nobody", role="editor")
    assert (refused.status_code, 'value="nobody"' in refused.text) == (400, True)
    assert '<option value="editor" selected>' in refused.text
    with app.app_context():
        page = f"/accounts/{account_admin.find('admin@example.org').id}"
    for path, fields in (
        (page, {"role": "viewer"}),
        (f"{page}/enable", {"enabled": "no", "confirmed": "yes"}),
        (f"{page}/delete", {"confirmed": "yes"}),
    ):
        answer = visitor.post(path, page, **fields)
        assert (answer.status_code, LAST_ADMIN in answer.text) == (409, True), path


def test_whoever_has_roles_in_single_environments_is_shown_those_alone(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """Pages offer what can be done: here an editor's acts, none of what lies outside."""
    with app.app_context():
        row, _ = account_admin.create(
            "ann@example.org", None, COMMAND_LINE, grants={environment_id: "editor"}
        )
    client = app.test_client()
    sign_in_as(app, client, row.id)
    page = client.get("/").text
    for shown in ("Fleet", "Pipelines", "Environments", "Audit log"):
        assert f">{shown}</a>" in page
    for hidden in ("Adoption", "Webhooks", "Settings", "Accounts"):
        assert f">{hidden}</a>" not in page
    assert "Make the environment" not in client.get("/environments").text
    assert "Make the first pipeline" in client.get("/pipelines").text
    assert client.get("/accounts").status_code == 403


def test_an_account_without_any_role_is_told_so(app: Flask, sign_in: SignIn) -> None:
    """Its way leads nowhere, and out."""
    with app.app_context():
        row, _ = account_admin.create("ann@example.org", None, COMMAND_LINE)
    client = app.test_client()
    sign_in_as(app, client, row.id)
    answer = client.get("/")
    assert (answer.status_code, "has no role yet" in answer.text, "Sign out" in answer.text) == (
        403,
        True,
        True,
    )
    assert ">Fleet</a>" not in answer.text
