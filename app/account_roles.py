"""The roles of an account as somebody wants them: checked, and written."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import InvalidInputError
from app.models import Account, AccountGrant, Environment
from app.principal import ROLES, Role, is_role


def checked(role: str, field: str = "role") -> Role:
    """The role.

    :raises InvalidInputError: there is none of that name; ``details`` name *field*.
    """
    if is_role(role):
        return role
    message = f"it is one of {', '.join(ROLES)}"
    raise InvalidInputError(f"The role cannot be used: {message}.", [{"field": field, "message": message}])


def set_grants(session: Session, account: Account, grants: Mapping[str, str]) -> None:
    """Let the account have exactly these roles in single environments, by the environment's id.

    :raises InvalidInputError: a role or an environment that there is not.
    """
    wanted = {key: checked(role, "grants") for key, role in grants.items()}
    known = set(session.scalars(select(Environment.id).where(Environment.id.in_(wanted))))
    if wanted.keys() - known:
        message = "there is no such environment"
        raise InvalidInputError(
            f"The roles in environments cannot be used: {message}.",
            [{"field": "grants", "message": message}],
        )
    have = {grant.environment_id: grant for grant in account.grants}
    account.grants = [have[key] for key in have if key in wanted]
    for environment_id, role in sorted(wanted.items()):
        if environment_id in have:
            have[environment_id].role = role
        else:
            account.grants.append(AccountGrant(environment_id=environment_id, role=role))
