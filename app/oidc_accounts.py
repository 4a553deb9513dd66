"""Whom the provider vouches for gets an account here: bound to issuer and subject, with the roles of their groups.

Groups decide at each sign-in: what they give is given, what they give no longer is taken away. An account with the
same e-mail address becomes theirs only if the provider says that it has verified the address, and nobody else of the
provider has the account.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import account_roles, audit, passwords, sessions
from app.audit import Actor
from app.clock import utc_now
from app.database import transaction
from app.errors import ForbiddenError
from app.ids import new_id
from app.models import Account, AccountIdentity, Environment
from app.oidc import Identity
from app.oidc_settings import GroupRole
from app.principal import ROLES, Role, is_role

log = logging.getLogger("signalbox.oidc")

MOST_SUBJECT_CHARACTERS = 255


class NoRoleError(ForbiddenError):
    """They are who they say, and may do nothing here."""

    title = "No access"


@dataclass(frozen=True, slots=True)
class Roles:
    """What somebody's groups give."""

    overall: Role | None = None
    grants: Mapping[str, Role] = field(default_factory=dict)
    """By the environment's id."""

    def in_words(self) -> dict[str, str | None]:
        """For the audit log."""
        return {
            "role": self.overall,
            **{f"role in {each}": role for each, role in sorted(self.grants.items())},
        }


def admit(identity: Identity, mapping: Mapping[str, tuple[GroupRole, ...]], address: str | None) -> Account:
    """The account of *identity*, with the roles of its groups by *mapping*; made where there is none.

    :raises NoRoleError: none of the groups gives a role. Roles from before are gone, and sessions ended.
    :raises ForbiddenError: the account is disabled, or its address is another's; the sentence says what to do.
    """
    subject = identity.subject
    if not subject or len(subject) > MOST_SUBJECT_CHARACTERS or "\0" in subject:
        raise ForbiddenError("The provider names you in a way that cannot be kept.")

    def work(session: Session) -> Account | None:
        actor = Actor(identity.email or f"subject {subject}"[:100], address)
        wanted = _roles_of(session, identity.groups, mapping)
        account = _known(session, identity)
        if wanted is None:
            if account is not None:
                _give(session, account, Roles(), actor)
                sessions.remove(session, account.id)
            return None
        if account is None:
            account = _joined(session, identity, actor)
        else:
            _rename(session, account, identity, actor)
        if account.disabled_at is not None:
            raise ForbiddenError("This account is disabled. An admin can enable it.")
        _give(session, account, wanted, actor)
        return account

    try:
        account = transaction(work)
    except IntegrityError:  # the same person, or address, came twice at once
        account = transaction(work)
    if account is None:
        raise NoRoleError(
            f"You are {identity.email or subject}, and none of your groups gives you a role here."
            " Whoever runs Signalbox or your directory can change that; then sign in again."
        )
    return account


def _roles_of(
    session: Session, groups: frozenset[str], mapping: Mapping[str, tuple[GroupRole, ...]]
) -> Roles | None:
    """The highest role of all groups, overall and in each environment; ``None``: none."""
    given = [each for group in sorted(groups) for each in mapping.get(group, ())]
    names = {each.environment for each in given if each.environment is not None}
    ids = dict(
        iter(session.execute(select(Environment.name, Environment.id).where(Environment.name.in_(names))))
    )
    overall: Role | None = None
    grants: dict[str, Role] = {}
    for each in given:
        if each.environment is None:
            overall = _higher(overall, each.role)
        elif each.environment in ids:
            grants[ids[each.environment]] = _higher(grants.get(ids[each.environment]), each.role)
        else:
            log.warning("a group's role is in an environment that does not exist name=%s", each.environment)
    return Roles(overall, grants) if overall is not None or grants else None


def _higher(one: Role | None, other: Role) -> Role:
    return other if one is None or ROLES.index(other) > ROLES.index(one) else one


def _known(session: Session, identity: Identity) -> Account | None:
    return session.scalar(
        select(Account)
        .join(AccountIdentity, AccountIdentity.account_id == Account.id)
        .where(AccountIdentity.issuer == identity.issuer, AccountIdentity.subject == identity.subject)
    )


def _joined(session: Session, identity: Identity, actor: Actor) -> Account:
    """The account of somebody who comes for the first time: that of their verified address, or a new one."""
    if identity.email is None or not passwords.EMAIL.fullmatch(identity.email):
        raise ForbiddenError(
            "The provider does not tell your e-mail address, without which there is no account here. Whoever runs"
            " Signalbox can ask it for more (SIGNALBOX_OIDC_SCOPES)."
        )
    account = session.scalar(select(Account).where(Account.email == identity.email))
    if account is not None:
        if not identity.is_email_verified:
            raise ForbiddenError(
                f"There is an account for {identity.email} already, and the provider does not say that it has"
                " verified that the address is yours (email_verified)."
            )
        taken = select(AccountIdentity.subject).where(
            AccountIdentity.account_id == account.id, AccountIdentity.issuer == identity.issuer
        )
        if session.scalar(taken) is not None:
            raise ForbiddenError(
                f"The account for {identity.email} belongs to somebody else at the provider, who had this address"
                " before you. An admin can delete it or change its address."
            )
        audit.record(session, actor, "account.link", subject_id=account.id, issuer=identity.issuer)
    else:
        account = Account(
            id=new_id(),
            email=identity.email,
            password_hash="",
            role=None,
            session_key=secrets.token_hex(16),
            created_at=utc_now(),
        )
        session.add(account)
        audit.record(
            session,
            actor,
            "account.create",
            subject_id=account.id,
            email=identity.email,
            role=None,
            issuer=identity.issuer,
        )
    session.flush()
    session.add(
        AccountIdentity(
            issuer=identity.issuer, subject=identity.subject, account_id=account.id, created_at=utc_now()
        )
    )
    return account


def _rename(session: Session, account: Account, identity: Identity, actor: Actor) -> None:
    """Follow a new address, where the provider has verified it and nobody has it here."""
    new = identity.email
    if new is None or new == account.email or not identity.is_email_verified:
        return
    is_free = session.scalar(select(Account.id).where(Account.email == new)) is None
    if is_free and passwords.EMAIL.fullmatch(new):
        before, account.email = {"email": account.email}, new
        audit.record(
            session, actor, "account.update", subject_id=account.id, before=before, after={"email": new}
        )


def _give(session: Session, account: Account, wanted: Roles, actor: Actor) -> None:
    """Let the account have these roles and no others; audited where it had others."""
    before = Roles(
        account.role, {each.environment_id: each.role for each in account.grants if is_role(each.role)}
    )
    if before == wanted:
        return
    account.role = wanted.overall
    account_roles.set_grants(session, account, wanted.grants)
    was, is_now = before.in_words(), wanted.in_words()
    audit.record(
        session,
        actor,
        "account.roles",
        subject_id=account.id,
        before={name: was.get(name) for name in was | is_now},
        after={name: is_now.get(name) for name in was | is_now},
    )
