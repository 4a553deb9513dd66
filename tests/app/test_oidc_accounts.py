"""Whose account somebody from the provider gets, on both databases."""

from collections.abc import Iterator

import pytest
from flask import Flask
from sqlalchemy import select

from app import audit_log, environments, oidc_accounts, recovery, sessions
from app.audit import COMMAND_LINE
from app.audit_log import AuditFilter
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from app.models import Account, AccountIdentity, RecoveryCode
from app.oidc import Identity
from app.oidc_accounts import NoRoleError
from app.oidc_settings import GroupRole
from app.sessions import Origin
from tests.support.people import account_id_of, make_account

MAPPING = {
    "sre": (GroupRole("admin", None),),
    "staff": (GroupRole("viewer", None), GroupRole("editor", "lab")),
    "team": (GroupRole("admin", "lab"), GroupRole("viewer", "nowhere")),
}


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


def someone(
    subject: str = "s-1",
    email: str | None = "ada@example.org",
    *groups: str,
    verified: bool = True,
    issuer: str = "https://id.example.org",
) -> Identity:
    return Identity(issuer, subject, email, verified, frozenset(groups))


def admit(identity: Identity) -> Account:
    return oidc_accounts.admit(identity, MAPPING, "192.0.2.1")


def accounts() -> list[Account]:
    return list(snapshot(lambda session: session.scalars(select(Account)).all()))


def test_the_highest_role_of_all_groups_counts_overall_and_in_each_environment() -> None:
    """What is mapped to an environment that does not exist gives nothing; the change is audited once."""
    lab = environments.create("lab", COMMAND_LINE).id
    account = admit(someone("s-1", "ada@example.org", "staff", "team"))
    assert (account.role, {each.environment_id: each.role for each in account.grants}) == (
        "viewer",
        {lab: "admin"},
    )
    admit(someone("s-1", "ada@example.org", "staff", "team"))
    (entry,) = audit_log.listing(AuditFilter(action="account.roles")).items
    assert entry.detail["after"] == {"role": "viewer", f"role in {lab}": "admin"}
    assert (entry.actor, entry.address) == ("ada@example.org", "192.0.2.1")
    (created,) = audit_log.listing(AuditFilter(action="account.create")).items
    assert created.detail["issuer"] == "https://id.example.org"


def test_an_account_is_issuer_and_subject_not_an_address() -> None:
    """The same subject elsewhere is somebody else; an address that changes at the provider changes here."""
    first = admit(someone("s-1", "ada@example.org", "sre"))
    assert admit(someone("s-1", "ada@example.org", "sre")).id == first.id
    other = admit(someone("s-1", "other@example.org", "sre", issuer="https://elsewhere.example"))
    assert other.id != first.id
    renamed = admit(someone("s-1", "ada.l@example.org", "sre"))
    assert (renamed.id, renamed.email) == (first.id, "ada.l@example.org")
    assert admit(someone("s-1", "other@example.org", "sre")).email == "ada.l@example.org", "that is taken"
    assert admit(someone("s-1", "x@example.org", "sre", verified=False)).email == "ada.l@example.org"


def test_a_local_account_is_taken_over_by_a_verified_address_alone(app: Flask) -> None:
    """Once, and by nobody else of the same provider who later has the address."""
    make_account(app, "ada@example.org", "correct horse battery", "viewer")
    with pytest.raises(ForbiddenError, match="email_verified"):
        admit(someone("s-1", "ada@example.org", "sre", verified=False))
    assert snapshot(lambda session: session.scalars(select(AccountIdentity)).all()) == []
    assert [each.role for each in accounts()] == ["viewer"]
    account = admit(someone("s-1", "ada@example.org", "sre"))
    assert (account.id, account.role) == (account_id_of("ada@example.org"), "admin")
    with pytest.raises(ForbiddenError, match="belongs to somebody else"):
        admit(someone("s-2", "ada@example.org", "sre"))
    (entry,) = audit_log.listing(AuditFilter(action="account.link")).items
    assert entry.subject_id == account.id


@pytest.mark.parametrize("email", [None, "no address", "a b@example.org"])
def test_without_an_address_there_is_no_account(email: str | None) -> None:
    """The sentence says what to set."""
    with pytest.raises(ForbiddenError, match="SIGNALBOX_OIDC_SCOPES"):
        admit(someone("s-1", email, "sre"))
    assert accounts() == []


def test_whoever_loses_all_roles_is_out_everywhere() -> None:
    """Roles and sessions are gone, though the sign-in itself is refused."""
    account = admit(someone("s-1", "ada@example.org", "sre"))
    token = sessions.begin(account, "oidc", Origin("192.0.2.1"))
    with pytest.raises(NoRoleError):
        admit(someone("s-1", "ada@example.org", "others"))
    assert sessions.find(token, Origin("192.0.2.1")) is None
    assert [(each.role, each.grants) for each in accounts()] == [(None, [])]
    assert admit(someone("s-1", "ada@example.org", "sre")).role == "admin"


def test_a_disabled_account_stays_out() -> None:
    """Whatever the groups say."""
    account = admit(someone("s-1", "ada@example.org", "sre"))

    def disable(session: object) -> None:
        session.get_one(Account, account.id).disabled_at = utc_now()  # type: ignore[attr-defined]

    transaction(disable)
    with pytest.raises(ForbiddenError, match="disabled"):
        admit(someone("s-1", "ada@example.org", "sre"))


def test_a_code_of_the_command_line_lets_an_admin_in_once(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest alone, for ten minutes; only its hash is stored; no other role has a way back in."""
    for role in ("admin", "editor"):
        make_account(app, f"{role}@example.org", "correct horse battery", role)
    with pytest.raises(NotFoundError, match="admin create"):
        recovery.issue("nobody@example.org", COMMAND_LINE)
    with pytest.raises(ConflictError, match="no admin"):
        recovery.issue("editor@example.org", COMMAND_LINE)
    first = recovery.issue("admin@example.org", COMMAND_LINE).code
    code = recovery.issue("Admin@example.org", COMMAND_LINE).code
    (row,) = snapshot(lambda session: session.scalars(select(RecoveryCode)).all())
    assert code.rpartition("_")[2] not in str(vars(row))
    for wrong in (first, "", "nonsense", code[:-1] + ("0" if code[-1] != "0" else "1")):
        with pytest.raises(UnauthorizedError):
            recovery.redeem(wrong)
    assert recovery.redeem(code).email == "admin@example.org"
    with pytest.raises(UnauthorizedError):
        recovery.redeem(code)
    late = recovery.issue("admin@example.org", COMMAND_LINE).code
    monkeypatch.setattr(recovery, "utc_now", lambda: utc_now() + recovery.GOOD_FOR)
    with pytest.raises(UnauthorizedError):
        recovery.redeem(late)
    assert len(audit_log.listing(AuditFilter(action="account.recovery-code")).items) == 3
