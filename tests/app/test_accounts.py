"""Accounts and passwords; API tokens are tested with the routes that they open."""

import threading
from datetime import timedelta

import bcrypt
import pytest
from flask import Flask
from sqlalchemy import select, update

from app import accounts, passwords
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TooManyRequestsError,
    UnauthorizedError,
)
from app.models import Account, ApiToken, AuditEntry

PASSWORD = "correct horse battery"


def test_whoever_knows_the_password_signs_in(app: Flask) -> None:
    """The address in any case; nothing but bcrypt's hash is stored."""
    with app.app_context():
        made = accounts.create_account(" Ada@Example.org ", PASSWORD, "editor", COMMAND_LINE)
        assert (made.email, made.role) == ("ada@example.org", "editor")
        account = passwords.sign_in("ADA@example.org ", PASSWORD, "192.0.2.1")
        assert account.id == made.id
        stored = snapshot(lambda session: session.get_one(Account, made.id))
        assert bcrypt.checkpw(PASSWORD.encode(), stored.password_hash.encode())
        entries = snapshot(lambda session: session.scalars(select(AuditEntry)).all())
        assert {(entry.action, entry.address) for entry in entries} == {("account.create", None)}
        assert PASSWORD not in str([entry.detail for entry in entries])


def test_the_answer_does_not_tell_which_of_the_two_was_wrong(app: Flask) -> None:
    """The same sentence for an unknown address, a wrong password and what is no address at all."""
    with app.app_context():
        accounts.create_account("ada@example.org", PASSWORD, "viewer", COMMAND_LINE)
        sentences = set()
        for email, password in (
            ("ada@example.org", PASSWORD + "!"),
            ("bob@example.org", PASSWORD),
            ("no address\0", "x\0y"),
            ("ada@example.org", ""),
        ):
            with pytest.raises(UnauthorizedError) as caught:
                passwords.sign_in(email, password)
            sentences.add(caught.value.sentence)
        assert len(sentences) == 1


@pytest.mark.parametrize("password", ["short", "é" * 37, "x" * 73, "long enough\0", "long enough \ud800"])
def test_a_password_that_bcrypt_would_cut_or_nobody_could_type_is_refused(app: Flask, password: str) -> None:
    """At least 8 characters, at most 72 bytes."""
    with app.app_context():
        with pytest.raises(InvalidInputError) as caught:
            accounts.create_account("ada@example.org", password, "admin", COMMAND_LINE)
        assert caught.value.details[0]["field"] == "password"
        assert snapshot(lambda session: session.scalars(select(Account)).all()) == []


def test_72_bytes_count_to_the_last(app: Flask) -> None:
    """A password of 72 bytes is no other than itself, and a longer one is refused in a sentence."""
    with app.app_context():
        accounts.create_account("ada@example.org", "é" * 36, "admin", COMMAND_LINE)
        passwords.sign_in("ada@example.org", "é" * 36)
        with pytest.raises(UnauthorizedError):
            passwords.sign_in("ada@example.org", "é" * 35 + "xx")
        with pytest.raises(InvalidInputError, match="72 bytes"):
            passwords.sign_in("ada@example.org", "é" * 36 + "x")


def test_an_address_has_one_account_and_a_role_that_exists(app: Flask) -> None:
    """Addresses are compared without case."""
    with app.app_context():
        accounts.create_account("ada@example.org", PASSWORD, "admin", COMMAND_LINE)
        with pytest.raises(ConflictError):
            accounts.create_account("ADA@EXAMPLE.ORG", PASSWORD, "admin", COMMAND_LINE)
        with pytest.raises(InvalidInputError):
            accounts.create_account("bob@example.org", PASSWORD, "root", COMMAND_LINE)
        for email in ("ada", "ada@", "@example.org", "a b@example.org", "a@b@c", "a" * 65 + "@x"):
            with pytest.raises(InvalidInputError):
                accounts.create_account(email, PASSWORD, "admin", COMMAND_LINE)


def test_an_unknown_address_takes_as_long_as_a_wrong_password(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One hash of the same cost is looked at for each, also for an account that has no password."""
    stored: list[bytes] = []

    def look(_given: bytes, hashed: bytes) -> bool:
        stored.append(hashed)
        return True

    with app.app_context():
        for email in ("ada@example.org", "bob@example.org"):
            accounts.create_account(email, PASSWORD, "viewer", COMMAND_LINE)
        without = update(Account).where(Account.email == "bob@example.org").values(password_hash="")
        transaction(lambda session: session.execute(without))
        monkeypatch.setattr(bcrypt, "checkpw", look)
        for email in ("bob@example.org", "nobody@example.org", "no address"):
            with pytest.raises(UnauthorizedError):
                passwords.sign_in(email, PASSWORD)
        passwords.sign_in("ada@example.org", PASSWORD)
    assert len(stored) == 4
    assert {each.split(b"$")[2] for each in stored} == {bcrypt.gensalt().split(b"$")[2]}


def test_passwords_are_hashed_two_at_a_time_and_a_crowd_is_turned_away(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those over the bound are told to come back; everybody else gets an answer."""
    crowd = passwords.HASHES_AT_ONCE + passwords.HASHES_WAITING + 5
    inside, most, gate = [0], [0], threading.Event()
    lock = threading.Lock()

    def slow_check(_password: bytes, _stored: bytes) -> bool:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        gate.wait(30)
        with lock:
            inside[0] -= 1
        return False

    monkeypatch.setattr(bcrypt, "checkpw", slow_check)
    outcomes: list[type[Exception]] = []

    def try_once(number: int) -> None:
        with app.app_context():
            try:
                passwords.sign_in(f"n{number}@example.org", "wrong password")
            except (UnauthorizedError, TooManyRequestsError) as error:
                outcomes.append(type(error))
                if len(outcomes) == 5:
                    gate.set()  # only those turned away can have ended yet

    threads = [threading.Thread(target=try_once, args=(number,)) for number in range(crowd)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes[:5] == [TooManyRequestsError] * 5
    assert outcomes[5:] == [UnauthorizedError] * (crowd - 5)
    assert most == [passwords.HASHES_AT_ONCE]


def test_an_api_token_is_stored_as_its_digest_only(app: Flask) -> None:
    """With the id inside, so that it is looked up and not searched."""
    with app.app_context():
        minted = accounts.create_api_token("deploys", COMMAND_LINE, role="editor")
        (row,) = snapshot(lambda session: session.scalars(select(ApiToken)).all())
        assert minted.text.startswith(f"sbx_api_{row.id}_")
        assert row.digest == minted.digest
        secret = minted.text.rpartition("_")[2]
        assert secret not in str(vars(row))
        token = accounts.authenticate_api(f"Bearer {minted.text}")
        assert (token.kind, token.name, token.role, token.grants) == ("token", "deploys", "editor", {})


def test_an_api_token_that_could_never_be_used_is_refused(app: Flask) -> None:
    """A role that does not exist, a moment that has passed, an environment that is not there."""
    with app.app_context():
        with pytest.raises(InvalidInputError):
            accounts.create_api_token("t", COMMAND_LINE, role="root")
        with pytest.raises(InvalidInputError):
            accounts.create_api_token("t", COMMAND_LINE, expires_at=utc_now() - timedelta(seconds=1))
        with pytest.raises(NotFoundError):
            accounts.create_api_token("t", COMMAND_LINE, environment_id="nope")
        assert snapshot(lambda session: session.scalars(select(ApiToken)).all()) == []
