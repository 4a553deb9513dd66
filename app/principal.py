"""Who acts, and what they may do: a role overall, and roles in single environments.

A viewer sees, an editor deploys, an admin does everything. The overall role is a floor for every environment; a grant
may give more in one. Whoever has no overall role sees the environments of the grants and nothing else: all that lies
outside is answered as if it did not exist. Nothing here knows a request (that is ``app/access.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, TypeGuard

from app.errors import ForbiddenError, NotFoundError

Role = Literal["viewer", "editor", "admin"]

ROLES: Final[tuple[Role, ...]] = ("viewer", "editor", "admin")
"""Each may do what those before it may."""

Within = frozenset[str] | None
"""Ids of the environments that a list is of; ``None``: of all, and of what lies outside of every environment."""


@dataclass(frozen=True, slots=True)
class Principal:
    """An account or an API token, as the database had it at the beginning of the request."""

    kind: Literal["account", "token"]
    id: str
    name: str
    """An account's e-mail address, or a token's name, which others may have too."""
    role: Role | None
    """In every environment, and outside of them; ``None``: in none but those of the grants."""
    grants: Mapping[str, Role] = field(default_factory=dict)
    """The role in single environments, by the environment's id."""
    counts_as: str | None = None
    """Whose a token is where two people are needed, as ``identity`` says it; ``None``: its own."""
    may_approve: bool = True
    """Whether they may approve what others ask for where two are needed; a token only if it was given the right."""
    expires_at: datetime | None = None
    """When a token ends; ``None``: never."""

    @property
    def identity(self) -> str:
        """Who this is where two people are needed: ``account:<id>`` or ``token:<id>``."""
        return self.counts_as or f"{self.kind}:{self.id}"

    def role_in(self, environment_id: str | None) -> Role | None:
        """The role in one environment, or (``None``) outside of all."""
        granted = self.grants.get(environment_id) if environment_id is not None else None
        return max((self.role, granted), key=_rank)

    def may(self, role: Role, environment_id: str | None = None) -> bool:
        """Whether they may do what *role* may, in one environment, or (``None``) everywhere and outside of all."""
        return _rank(self.role_in(environment_id)) >= _rank(role)

    def may_somewhere(self, role: Role) -> bool:
        """Whether they may do what *role* may in at least one environment."""
        return any(_rank(own) >= _rank(role) for own in (self.role, *self.grants.values()))

    def where(self, role: Role) -> Within:
        """The environments in which they may do what *role* may."""
        if self.may(role):
            return None
        return frozenset(each for each in self.grants if self.may(role, each))

    @property
    def visible(self) -> Within:
        """The environments of which they are told anything; ``None``: all, and what lies outside."""
        return self.where("viewer")

    def sees(self, environment_id: str | None) -> bool:
        """Whether they are told of what lies in an environment, or (``None``) outside of all."""
        return self.may("viewer", environment_id)

    def require(self, role: Role, environment_id: str | None, kind: str = "environment") -> None:
        """Refuse what lies in an environment (``None``: outside of all), a *kind* of thing, unless *role* may.

        :raises NotFoundError: they may not even see it.
        :raises ForbiddenError: they may see it; with a sentence.
        """
        if not self.sees(environment_id):
            raise NotFoundError(f"There is no such {kind}.")
        if not self.may(role, environment_id):
            raise self.refusal(role, environment_id)

    def require_overall(self, role: Role) -> None:
        """Refuse what lies outside of every environment.

        :raises ForbiddenError: with a sentence.
        """
        if not self.may(role):
            raise self.refusal(role)

    def require_somewhere(self, role: Role) -> None:
        """Refuse whoever may do it nowhere; the caller looks at the environment itself.

        :raises ForbiddenError: with a sentence.
        """
        if not self.may_somewhere(role):
            best: Role | None = max((self.role, *self.grants.values()), key=_rank)
            raise ForbiddenError(self._sentence(best, role))

    def refusal(self, role: Role, environment_id: str | None = None) -> ForbiddenError:
        """The error that says which role they have there, and which it takes."""
        return ForbiddenError(self._sentence(self.role_in(environment_id), role))

    def _sentence(self, own: Role | None, needed: Role) -> str:
        who = "This token" if self.kind == "token" else "Your account"
        if own is not None:
            has = f"has the role {own}" if self.kind == "token" else f"is {_ARTICLES[own]} {own}"
        elif self.grants:
            has = "has roles in single environments only, and this lies outside of them"
        else:
            has = "has no role yet"
        return f"{who} {has}; this needs the role {needed}."


def is_role(text: object) -> TypeGuard[Role]:
    """Whether *text* is the name of a role."""
    return text in ROLES


_ARTICLES: Final[dict[Role, str]] = {"viewer": "a", "editor": "an", "admin": "an"}


def _rank(role: Role | None) -> int:
    """Higher may more; what is none of ours (a later release's) may nothing."""
    return ROLES.index(role) if role in ROLES else -1
