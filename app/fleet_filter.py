"""Which nodes of the fleet are meant, in which order: a filter, judged by the database.

Presence stands in Redis and what nodes should run in the environments' plans, so being connected, healthy,
unreachable or behind is asked there first (``States``), and the database is told the answer with the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from app.database import snapshot
from app.errors import InvalidInputError
from app.fleet_states import URGENCIES, States, has_failed, is_in_maintenance, is_unknown
from app.id_table import planned_joins
from app.models import Environment, Node
from app.models.columns import UtcDateTime
from app.node_status import NodeStatus
from app.paging import decode_cursor, encode_cursor
from app.principal import Within
from app.selectors import Operator, Requirement, Selector

Query = Select[*tuple[Any, ...]]

BEHIND = "BEHIND"
FAILED = "FAILED"
MAINTENANCE = "MAINTENANCE"
REVOKED = "REVOKED"
STATUSES = (*NodeStatus, BEHIND, FAILED, MAINTENANCE, REVOKED)
"""What nodes can be listed by; a revoked one is listed by nothing but that."""

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

_KEYS: Final[dict[str, tuple[ColumnElement[Any], ...]]] = {
    "name": (Node.name.expression,),
    "environment": (Environment.name.expression, Node.name.expression),
    "agent": (func.coalesce(Node.agent_version, ""),),
    "vector": (func.coalesce(Node.vector_version, ""),),
    "seen": (func.coalesce(Node.last_seen_at, literal(NEVER, UtcDateTime)),),
}
STATUS = "status"
ORDERS = (*_KEYS, STATUS)
"""What nodes can be sorted by; by status the worst come first."""


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """Which nodes are meant; a field that is ``None`` leaves none out."""

    environment_id: str | None = None
    within: Within = None
    """Nodes of these environments; ``None``: of all."""
    status: str | None = None
    """One of ``STATUSES``."""
    connected: bool | None = None
    """While Redis is away no node is known to be either."""
    label: Selector | None = None
    """Looks at the agent's labels under the operator's."""
    q: str | None = None
    """A part of the name or the host name."""
    agent_version: str | None = None
    vector_version: str | None = None

    def checked(self) -> FleetFilter:
        """Itself.

        :raises InvalidInputError: an unknown status.
        """
        if self.status is not None and self.status not in STATUSES:
            message = f"it is one of {', '.join(STATUSES)}"
            raise InvalidInputError(
                f"Nodes cannot be listed by that status: {message}.",
                [{"field": "status", "message": message}],
            )
        return self


@dataclass(frozen=True, slots=True)
class Order:
    """By what nodes are sorted; nodes that are equal in it by their ids."""

    by: str = "name"
    descending: bool = False

    def keys(self, states: States) -> tuple[ColumnElement[Any], ...]:
        """The columns, each of which has a value in every row."""
        if self.by == STATUS:
            return (states.urgency(), Node.name.expression, Node.id.expression)
        return (*_KEYS[self.by], Node.id.expression)

    @property
    def _number_of_keys(self) -> int:
        return 3 if self.by == STATUS else len(_KEYS[self.by]) + 1

    def place(self, cursor: str) -> list[Any]:
        """The values of the row that *cursor* names.

        :raises InvalidInputError: it is no cursor of a list in this order.
        """
        parts: list[Any] = list(decode_cursor(cursor, self._number_of_keys))
        try:
            if self.by == "seen":
                parts[0] = datetime.fromisoformat(parts[0]).astimezone(UTC)
            if self.by == STATUS:
                parts[0] = URGENCIES.index(int(parts[0]))
        except (ValueError, OverflowError):
            raise InvalidInputError(
                "The cursor is not one of this list.",
                [{"field": "cursor", "message": "not a cursor of this list"}],
            ) from None
        return parts

    def cursor(self, place: Sequence[Any]) -> str:
        """The cursor of the row with these values."""
        return encode_cursor(
            *(part.isoformat() if isinstance(part, datetime) else str(part) for part in place)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Nodes that pass, each with its place in the order."""

    ids: list[str]
    places: list[list[Any]]


def find(
    wanted: FleetFilter,
    order: Order,
    most: int,
    *,
    after: list[Any] | None = None,
    before: list[Any] | None = None,
    states: States | None = None,
) -> Found:
    """The first *most* nodes that pass, or those after a place, or the last ones before a place.

    :raises InvalidInputError: an unknown status.
    """
    backwards = before is not None
    place = before if backwards else after
    states = states or States(wanted.environment_id)
    keys = order.keys(states)
    falls = order.descending is not backwards
    query = (
        select(*keys)
        .select_from(Node)
        .join(Environment, Environment.id == Node.environment_id)
        .where(*_conditions(wanted.checked(), states))
        .order_by(*(key.desc() if falls else key for key in keys))
        .limit(most)
    )
    if place is not None:
        here = tuple_(*(literal(part, key.type) for part, key in zip(place, keys, strict=True)))
        query = query.where(tuple_(*keys) < here if falls else tuple_(*keys) > here)
    found = [list(row) for row in _read(query, states)]
    if backwards:
        found.reverse()
    return Found([place[-1] for place in found], found)


def all_ids(wanted: FleetFilter, most: int) -> list[str]:
    """The ids of all nodes that pass, by name; at most *most* of them."""
    return find(wanted, Order(), most).ids


def _read(query: Query, states: States) -> Sequence[Any]:
    joined = states.joined(query)

    def read(session: Session) -> Sequence[Any]:
        with planned_joins(session) if joined is not query else nullcontext():
            return session.execute(joined).all()

    return snapshot(read)


def _conditions(wanted: FleetFilter, states: States) -> Iterator[ColumnElement[bool]]:
    if wanted.environment_id is not None:
        yield Node.environment_id == wanted.environment_id
    if wanted.within is not None:
        yield Node.environment_id.in_(wanted.within)
    if wanted.q:
        part = wanted.q.lower()
        yield or_(*(func.lower(text).contains(part, autoescape=True) for text in (Node.name, Node.host)))
    if wanted.agent_version is not None:
        yield Node.agent_version == wanted.agent_version
    if wanted.vector_version is not None:
        yield Node.vector_version == wanted.vector_version
    if wanted.label is not None:
        yield from (_meets(requirement) for requirement in wanted.label.requirements)
    if wanted.connected is not None:
        yield states.is_connected() if wanted.connected else states.is_not_connected()
    match wanted.status:
        case NodeStatus.UNKNOWN:
            yield is_unknown()
        case NodeStatus.HEALTHY:
            yield states.is_healthy()
        case NodeStatus.UNREACHABLE:
            yield states.is_unreachable()
        case "BEHIND":
            yield states.is_behind()
        case "REVOKED":
            yield Node.revoked_at.is_not(None)
        case "FAILED":
            yield has_failed()
        case "MAINTENANCE":
            yield is_in_maintenance()


def _meets(requirement: Requirement) -> ColumnElement[bool]:
    """What ``Requirement.matches`` says of the agent's labels under the operator's, in SQL."""
    key = requirement.key
    value = func.coalesce(Node.operator_labels[key].as_string(), Node.agent_labels[key].as_string())
    match requirement.operator:
        case Operator.IN:
            return value.in_(sorted(requirement.values))
        case Operator.NOT_IN:
            return or_(value.is_(None), value.not_in(sorted(requirement.values)))
        case Operator.EXISTS:
            return value.is_not(None)
        case Operator.ABSENT:
            return value.is_(None)
