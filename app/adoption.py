"""Making a node of an agent that still presents another system's token."""

from __future__ import annotations

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agent.protocol import MAX_HOSTNAME_CHARACTERS
from app import audit, names
from app.audit import Actor
from app.clock import utc_now
from app.database import transaction
from app.errors import ConflictError, NotFoundError, UnavailableError
from app.failure_limits import FailureLimits
from app.ids import is_id, new_id
from app.models import Environment, Node
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, encode_cursor
from app.push.redis_gate import RedisAwayError
from app.refused_tokens import RefusedToken, RefusedTokens
from app.switchboard_process import switchboard


def listing() -> list[RefusedToken]:
    """The tokens of other systems that were refused within the hour, the one seen last first; at most 200.

    :raises UnavailableError: Redis, which knows them, is away.
    """
    try:
        return _refused().listing()
    except RedisAwayError as error:
        raise UnavailableError(
            f"{error} Which agents were refused is known only to Redis.", retry_after=2
        ) from error


def page(limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[RefusedToken]:
    """A page of the same by fingerprint, which, unlike when it was seen, does not change while somebody reads on.

    :raises InvalidInputError: the cursor is not one of this list.
    :raises UnavailableError: Redis is away.
    """
    last = decode_cursor(cursor, 1)[0] if cursor is not None else ""
    left = sorted((each for each in listing() if each.fingerprint > last), key=lambda each: each.fingerprint)
    more = encode_cursor(left[limit - 1].fingerprint) if len(left) > limit else None
    return Page(left[:limit], more)


def find(fingerprint: str) -> RefusedToken:
    """The refused token with this *fingerprint*.

    :raises NotFoundError: none was refused within the hour.
    :raises UnavailableError: Redis is away.
    """
    token = next((each for each in listing() if each.fingerprint == fingerprint), None)
    if token is None:
        raise NotFoundError("No token with this fingerprint was refused within the last hour.")
    return token


def adopt(fingerprint: str, environment_id: str, name: str | None, actor: Actor) -> str:
    """Make a node of the agent behind *fingerprint*, whose token is good from now on; the node's id.

    Without a *name* the node is called by its address: an agent says its host name only when it enrolls.

    :raises NotFoundError: no such token was refused within the hour, or there is no such environment.
    :raises ConflictError: the token is a node's already.
    :raises UnavailableError: Redis is away.
    """
    token = find(fingerprint)
    node_id = new_id()
    checked = names.checked(name or token.address or "adopted", MAX_HOSTNAME_CHARACTERS)

    def work(session: Session) -> None:
        environment = (
            session.get(Environment, environment_id, with_for_update=True) if is_id(environment_id) else None
        )
        if environment is None:
            raise NotFoundError("There is no such environment.")
        if session.scalar(select(Node.id).where(Node.token_digest == token.digest)) is not None:
            raise ConflictError("This token is a node's already.")
        session.add(
            Node(
                id=node_id,
                environment_id=environment.id,
                name=checked,
                host=token.address or checked,
                token_digest=token.digest,
                enrolled_at=utc_now(),
                authenticated_at=utc_now(),  # it has shown its token, or nobody could adopt it: no ghost
                agent_labels={},
                operator_labels={},
                maintenance_mode=False,
            )
        )
        audit.record(
            session,
            actor,
            "node.adopt",
            environment_id=environment.id,
            subject_id=node_id,
            fingerprint=token.fingerprint,
            address=token.address,
            node=checked,
        )

    try:
        transaction(work)
    except IntegrityError:
        raise ConflictError("This token is a node's already.") from None
    limits: FailureLimits = current_app.extensions["failure_limits"]
    limits.vouch(token.digest)
    _refused().forget(token.digest)
    switchboard().publish_fleet_changed(environment_id, [node_id])
    return node_id


def _refused() -> RefusedTokens:
    refused: RefusedTokens = current_app.extensions["refused_tokens"]
    return refused
