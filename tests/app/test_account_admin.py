"""Accounts by the operator API: roles overall and in environments, a last admin that stays, the audit log."""

import threading
from typing import Any

import pytest
from flask import Flask

from app import account_admin, accounts, audit_log, environments, passwords
from app.account_admin import LAST_ADMIN, Wanted
from app.audit import COMMAND_LINE
from app.errors import ConflictError, NotFoundError, UnauthorizedError
from tests.app.conftest import Script, refused, succeeded
from tests.support.people import make_account

PASSWORD = "correct horse battery"


@pytest.fixture
def boss(app: Flask) -> str:
    """The id of the only admin's account."""
    make_account(app, "boss@example.org", PASSWORD, "admin")
    with app.app_context():
        return account_admin.find("boss@example.org").id


def test_an_account_from_its_making_to_its_end(
    app: Flask, script: Script, boss: str, environment_id: str
) -> None:
    """Each change is in the audit log with before and after, and nothing of a password is anywhere."""
    grants = [{"environmentId": environment_id, "role": "editor"}]
    made = script.post("/accounts", {"email": "Ann@Example.org", "role": None, "grants": grants})
    password = made.pop("password")
    assert [made[each] for each in ("email", "role", "grants", "disabled", "provider")] == [
        "ann@example.org",
        None,
        grants,
        False,
        None,
    ]
    path = f"/accounts/{made['id']}"
    assert script.get(path) == made
    assert [row["email"] for row in script.get("/accounts")["items"]] == [
        "ann@example.org",
        "boss@example.org",
    ]
    with app.app_context():
        known = accounts.principal_of(passwords.sign_in("ann@example.org", password))
    assert (known.role, known.grants) == (None, {environment_id: "editor"})

    changed = script.call("PATCH", path, {"role": "viewer", "grants": []})
    assert (succeeded(changed, 200)["role"], changed.get_json()["grants"]) == ("viewer", [])
    assert succeeded(script.call("PATCH", path, {"disabled": True}), 200)["disabled"] is True
    with app.app_context(), pytest.raises(UnauthorizedError):
        passwords.sign_in("ann@example.org", password)
    succeeded(script.call("PATCH", path, {"disabled": False}), 200)
    assert "password" not in succeeded(script.call("POST", f"{path}/password", {"password": PASSWORD}), 200)
    with app.app_context():
        passwords.sign_in("ann@example.org", PASSWORD)
    assert script.call("DELETE", path).status_code == 204
    refused(script.call("DELETE", path), 404)
    refused(script.call("GET", path), 404)

    log = [
        each for each in script.get("/audit", subject=made["id"])["items"] if each["actor"] == "token tests"
    ]
    assert [each["action"] for each in reversed(log)] == [
        "account.create", "account.update", "account.update", "account.update", "account.password",
        "account.delete",
    ]  # fmt: skip
    assert log[4]["detail"]["before"] == {"grants": {environment_id: "editor"}, "role": None}
    assert log[4]["detail"]["after"] == {"grants": {}, "role": "viewer"}
    assert log[3]["detail"]["after"] == {"disabled": True}
    assert password not in str(log)


def test_the_last_admin_stays(app: Flask, script: Script, boss: str) -> None:
    """Neither demoted, disabled nor deleted: 409 with a sentence, until somebody else is one."""
    path = f"/accounts/{boss}"
    wishes: list[tuple[str, Any]] = [
        ("PATCH", {"role": "editor"}), ("PATCH", {"role": None}), ("PATCH", {"disabled": True}), ("DELETE", None)
    ]  # fmt: skip
    for method, body in wishes:
        assert refused(script.call(method, path, body), 409) == LAST_ADMIN
    assert script.get(path)["role"] == "admin"
    make_account(app, "idle@example.org", PASSWORD, "admin")
    with app.app_context():
        idle = account_admin.find("idle@example.org").id
    succeeded(script.call("PATCH", f"/accounts/{idle}", {"disabled": True}), 200)
    refused(script.call("DELETE", path), 409)  # one that is disabled counts for nothing
    succeeded(script.call("PATCH", f"/accounts/{idle}", {"disabled": False}), 200)
    assert script.call("DELETE", path).status_code == 204


def test_of_two_admins_that_demote_each_other_at_once_one_stays(
    app: Flask, script: Script, boss: str
) -> None:
    """Whichever comes second is refused, on both kinds of database."""
    make_account(app, "other@example.org", PASSWORD, "admin")
    with app.app_context():
        ids = [boss, account_admin.find("other@example.org").id]
    start, refusals = threading.Barrier(2), []

    def demote(account_id: str) -> None:
        with app.app_context():
            start.wait(10)
            try:
                account_admin.update(account_id, Wanted(role="viewer"), COMMAND_LINE)
            except ConflictError as error:
                refusals.append(error.sentence)

    threads = [threading.Thread(target=demote, args=(each,)) for each in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert refusals == [LAST_ADMIN]


def test_what_cannot_be_used_is_refused_and_nothing_is_made(script: Script, boss: str) -> None:
    """With the field that is wrong."""
    ann = {"email": "ann@example.org"}
    unknown = [{"environmentId": "0" * 32, "role": "viewer"}]
    refused(script.call("POST", "/accounts", {"email": "nobody"}), 400, "email")
    refused(script.call("POST", "/accounts", {**ann, "role": "root"}), 400, "role")
    refused(script.call("POST", "/accounts", {**ann, "password": "short"}), 400, "password")
    refused(script.call("POST", "/accounts", {**ann, "grants": unknown}), 400, "grants")
    refused(script.call("POST", "/accounts", {"email": "boss@example.org"}), 409)
    refused(script.call("PATCH", f"/accounts/{boss}", {"grants": unknown}), 400, "grants")
    refused(script.call("PATCH", f"/accounts/{boss}", {"role": "root"}), 400, "role")
    assert [row["email"] for row in script.get("/accounts")["items"]] == ["boss@example.org"]


def test_a_role_in_an_environment_ends_with_it(
    app: Flask, script: Script, boss: str, environment_id: str
) -> None:
    """Nothing is left that another environment could come to have."""
    with app.app_context():
        account_admin.update(boss, Wanted(grants={environment_id: "viewer"}), COMMAND_LINE)
        environments.delete(environment_id, COMMAND_LINE)
        assert account_admin.get(boss).grants == {}
        assert audit_log.listing(limit=1).items[0].action == "environment.delete"


def test_an_account_by_command(app: Flask, boss: str, environment_id: str) -> None:
    """By address; environments by name."""
    runner = app.test_cli_runner()

    def run(*arguments: str, typed: str = "", code: int = 0) -> str:
        done = runner.invoke(args=["account", *arguments], input=typed)
        assert done.exit_code == code, done.output
        return str(done.output)

    run("create", "ann@example.org", "--grant", "production=editor", typed=f"{PASSWORD}\n")
    assert "ann@example.org\tnone\tproduction=editor\tenabled" in run("list")
    run("role", "ann@example.org", "viewer")
    run("role", "ann@example.org", "none", "--environment", "production")
    run("disable", "ann@example.org")
    assert "ann@example.org\tviewer\t-\tdisabled since" in run("list")
    run("enable", "ann@example.org")
    run("delete", "ann@example.org")
    with app.app_context(), pytest.raises(NotFoundError):
        account_admin.find("ann@example.org")
    assert LAST_ADMIN in run("role", "boss@example.org", "editor", code=1)
    assert "Error:" in run("disable", "nobody@example.org", code=1)
    assert "--grant" in run("create", "x@example.org", "--grant", "production", typed=f"{PASSWORD}\n", code=2)
