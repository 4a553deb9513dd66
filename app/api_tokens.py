"""API tokens as people manage them: who has made which, what each may do, when it was used last, and its end.

Nobody makes a token that may do more than they may themselves. That a request is looked at with the token as it is in
the database at that moment is ``accounts.authenticate_api``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app import accounts, audit, tokens
from app.audit import Actor
from app.clock import rfc3339, utc_now
from app.database import snapshot, transaction
from app.errors import ForbiddenError, InvalidInputError, NotFoundError
from app.ids import is_id
from app.models import ApiToken, Environment
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Principal, Within, is_role

State = Literal["active", "expired", "revoked"]

EXPIRES_SOON = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token as admins see it: all but its text, which only the answer that makes it has."""

    id: str
    name: str
    role: str
    environment_id: str | None
    environment_name: str | None
    may_approve: bool
    created_by: str | None
    """``None``: made before that was noted."""
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    state: State
    expires_soon: bool
    """It is good now and will not be in a week."""


def create(
    name: str,
    maker: Principal,
    actor: Actor,
    *,
    role: str,
    environment_id: str | None = None,
    expires_at: datetime | None = None,
    may_approve: bool = False,
) -> tuple[TokenRow, str]:
    """Make a token; with its text, which is in this answer only.

    Where two people are needed it counts as *maker*, or as whom that counts as.

    :raises InvalidInputError: the name, the role or the moment cannot be used.
    :raises NotFoundError: there is no such environment, or *maker* is not told of it.
    :raises ForbiddenError: it could do more than *maker*, or for longer.
    """
    if environment_id is None:
        maker.require_overall("admin")
    else:
        maker.require("admin", environment_id)
    if not is_role(role):
        message = "it is one of viewer, editor, admin"
        raise InvalidInputError(
            f"The role cannot be used: {message}.", [{"field": "role", "message": message}]
        )
    if not maker.may(role, environment_id):
        raise maker.refusal(role, environment_id)
    if may_approve and not maker.may_approve:
        raise ForbiddenError("This token may not approve, so it cannot make one that may.")
    if maker.expires_at is not None and (expires_at is None or expires_at > maker.expires_at):
        raise ForbiddenError(
            f"This token expires on {rfc3339(maker.expires_at)}, so it cannot make one that is good for longer."
        )
    minted = accounts.create_api_token(
        name,
        actor,
        role=role,
        environment_id=environment_id,
        expires_at=expires_at,
        counts_as=maker.identity,
        may_approve=may_approve,
    )
    return get(str(tokens.owner_of(minted.text, "api"))), minted.text


def get(token_id: str) -> TokenRow:
    """One of them.

    :raises NotFoundError: there is no such token.
    """
    rows = _read(_query().where(ApiToken.id == token_id)) if is_id(token_id) else []
    if not rows:
        raise _unknown()
    return rows[0]


def listing(
    within: Within = None,
    *,
    environment_id: str | None = None,
    is_revoked: bool | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[TokenRow]:
    """A page of the tokens that are limited to environments *within* (``None``: of all tokens), newest first.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = _query().limit(limit + 1)
    if within is not None:
        query = query.where(ApiToken.environment_id.in_(within))
    if environment_id is not None:
        query = query.where(ApiToken.environment_id == environment_id)
    if is_revoked is not None:
        query = query.where(ApiToken.revoked_at.is_not(None) if is_revoked else ApiToken.revoked_at.is_(None))
    if cursor is not None:
        query = query.where(ApiToken.id < decode_cursor(cursor, 1)[0])
    rows = _read(query)
    return first_of(rows, limit, lambda row: [row.id])


def count_expiring(within: Within = None) -> int:
    """How many of them are good now and will not be in a week."""
    now = utc_now()
    query = _query().where(
        ApiToken.revoked_at.is_(None), ApiToken.expires_at > now, ApiToken.expires_at <= now + EXPIRES_SOON
    )
    if within is not None:
        query = query.where(ApiToken.environment_id.in_(within))
    return len(_read(query.limit(1000)))


def revoke(token_id: str, actor: Actor) -> TokenRow:
    """End it: its next request, at whichever worker, is refused. One that has ended stays as it is.

    :raises NotFoundError: there is no such token.
    """

    def work(session: Session) -> None:
        token = session.get(ApiToken, token_id, with_for_update=True) if is_id(token_id) else None
        if token is None:
            raise _unknown()
        if token.revoked_at is None:
            token.revoked_at = utc_now()
            audit.record(
                session,
                actor,
                "api-token.revoke",
                environment_id=token.environment_id,
                subject_id=token_id,
                token=token.name,
                before={"revokedAt": None},
                after={"revokedAt": rfc3339(token.revoked_at)},
            )

    transaction(work)
    return get(token_id)


def _query() -> Select[ApiToken, str | None]:
    return (
        select(ApiToken, Environment.name)
        .outerjoin(Environment, Environment.id == ApiToken.environment_id)
        .order_by(ApiToken.id.desc())
    )


def _read(query: Select[ApiToken, str | None]) -> list[TokenRow]:
    now = utc_now()
    return [_row(token, name, now) for token, name in snapshot(lambda session: session.execute(query).all())]


def _row(token: ApiToken, environment_name: str | None, now: datetime) -> TokenRow:
    state: State = "active"
    if token.revoked_at is not None:
        state = "revoked"
    elif token.expires_at is not None and token.expires_at <= now:
        state = "expired"
    return TokenRow(
        id=token.id,
        name=token.name,
        role=token.role,
        environment_id=token.environment_id,
        environment_name=environment_name,
        may_approve=token.may_approve,
        created_by=token.created_by,
        created_at=token.created_at,
        expires_at=token.expires_at,
        last_used_at=token.last_used_at,
        revoked_at=token.revoked_at,
        state=state,
        expires_soon=state == "active"
        and token.expires_at is not None
        and token.expires_at <= now + EXPIRES_SOON,
    )


def _unknown() -> NotFoundError:
    return NotFoundError("There is no such API token.")
