"""The first account, on both databases: who may make it, and that of many at once exactly one does."""

import threading

import pytest
from flask import Flask
from sqlalchemy import select

from app import accounts, first_account, passwords
from app.audit import COMMAND_LINE
from app.database import db
from app.errors import ConflictError, InvalidInputError, SignalboxError, TooManyRequestsError
from app.failure_limits import FAILURES_A_WINDOW
from app.models import Account, AuditEntry

PASSWORD = "correct horse battery"
AT_ONCE = 4


def test_whoever_has_the_code_makes_it_and_is_an_admin(app: Flask) -> None:
    """And the audit log says from where."""
    with app.app_context():
        assert first_account.is_needed()
        first_account.create("Ada@example.org", PASSWORD, first_account.current_code(), "192.0.2.7")
        assert not first_account.is_needed()
        account = passwords.sign_in("ada@example.org", PASSWORD)
        entry = db.session.scalars(select(AuditEntry).where(AuditEntry.action == "account.create")).one()
        assert account.role == "admin"
        assert (entry.actor, entry.address) == ("setup page", "192.0.2.7")


def test_a_wrong_code_is_refused_before_anything_is_hashed(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And before the address or the password is looked at."""
    monkeypatch.setattr(passwords, "in_turn", lambda _function: pytest.fail("it was hashed"))
    with app.app_context():
        with pytest.raises(InvalidInputError) as refused:
            first_account.create("nobody", "short", "aaaa-bbbb-cccc-dddd", "192.0.2.7")
        assert [detail["field"] for detail in refused.value.details] == ["code"]
        assert first_account.is_needed()


def test_a_guesser_is_slowed_down_and_a_neighbour_is_not(app: Flask) -> None:
    """By address, as agents' bad tokens are; a code that the log shows does not help at that address for a while."""
    with app.app_context():
        for number in range(FAILURES_A_WINDOW):
            with pytest.raises(InvalidInputError):
                first_account.create("ada@example.org", PASSWORD, f"guess {number}", "192.0.2.7")
        with pytest.raises(TooManyRequestsError) as refused:
            first_account.create("ada@example.org", PASSWORD, first_account.current_code(), "192.0.2.7")
        assert 0 < (refused.value.retry_after or 0) <= 60
        first_account.create("ada@example.org", PASSWORD, first_account.current_code(), "192.0.2.8")


def test_the_password_has_the_rules_of_every_account(app: Flask) -> None:
    with app.app_context():
        for password in ("short", "x" * 73):
            with pytest.raises(InvalidInputError) as refused:
                first_account.create("ada@example.org", password, first_account.current_code(), None)
            assert [detail["field"] for detail in refused.value.details] == ["password"]
        assert first_account.is_needed()


def test_there_is_no_second_one(app: Flask) -> None:
    """Also after an account was made by the command; it makes more of them as before."""
    with app.app_context():
        accounts.create_account("ada@example.org", PASSWORD, "viewer", COMMAND_LINE)
        with pytest.raises(ConflictError):
            first_account.create("bob@example.org", PASSWORD, first_account.current_code(), None)
        accounts.create_account("carol@example.org", PASSWORD, "admin", COMMAND_LINE)


def test_of_many_at_once_one_makes_it(app: Flask) -> None:
    """The others are told that somebody else did. All of them have passed the first look before one writes."""
    ready = threading.Barrier(AT_ONCE)
    outcomes: list[str] = []

    def together() -> bool:
        ready.wait(20)
        return True

    def make(number: int) -> None:
        with app.app_context():
            try:
                first_account.create(f"n{number}@example.org", PASSWORD, code, None)
                outcomes.append("made")
            except SignalboxError as error:
                outcomes.append(type(error).__name__)

    with app.app_context(), pytest.MonkeyPatch.context() as patch:
        code = first_account.current_code()
        patch.setattr(first_account, "is_needed", together)
        threads = [threading.Thread(target=make, args=(number,)) for number in range(AT_ONCE)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["ConflictError"] * (AT_ONCE - 1) + ["made"]
        assert len(db.session.scalars(select(Account)).all()) == 1
