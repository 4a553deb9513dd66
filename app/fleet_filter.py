"""Which nodes of the fleet are meant, in which order: a filter, judged by the database as far as it can be.

Presence stands in Redis and what nodes should run in the environments' plans, so being connected, healthy,
unreachable or behind is judged here, over few columns and in pieces of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, exists, func, literal, or_, select, tuple_

from app import node_status, presence, server_settings
from app.clock import utc_now
from app.database import snapshot
from app.errors import InvalidInputError
from app.models import Environment, Node, NodePipeline
from app.models.columns import UtcDateTime
from app.node_status import FAILED_STATUSES, Clock, NodeStatus, Plans
from app.paging import decode_cursor, encode_cursor
from app.selectors import Operator, Requirement, Selector
from app.standings import STANDING

Query = Select[*tuple[Any, ...]]

BEHIND = "BEHIND"
FAILED = "FAILED"
MAINTENANCE = "MAINTENANCE"
REVOKED = "REVOKED"
STATUSES = (*NodeStatus, BEHIND, FAILED, MAINTENANCE, REVOKED)
"""What nodes can be listed by; a revoked one is listed by nothing but that."""

SCAN_ROWS = 2000
"""How many nodes are looked at together where the database cannot judge a filter."""
NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)

_KEYS: Final[dict[str, tuple[ColumnElement[Any], ...]]] = {
    "name": (Node.name.expression,),
    "environment": (Environment.name.expression, Node.name.expression),
    "agent": (func.coalesce(Node.agent_version, ""),),
    "vector": (func.coalesce(Node.vector_version, ""),),
    "seen": (func.coalesce(Node.last_seen_at, literal(NEVER, UtcDateTime)),),
}
ORDERS = tuple(_KEYS)
"""What nodes can be sorted by."""


@dataclass(frozen=True, slots=True)
class FleetFilter:
    """Which nodes are meant; a field that is ``None`` leaves none out."""

    environment_id: str | None = None
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

    @property
    def keys(self) -> tuple[ColumnElement[Any], ...]:
        """The columns, each of which has a value in every row."""
        return (*_KEYS[self.by], Node.id.expression)

    def place(self, cursor: str) -> list[Any]:
        """The values of the row that *cursor* names.

        :raises InvalidInputError: it is no cursor of a list in this order.
        """
        parts: list[Any] = list(decode_cursor(cursor, len(self.keys)))
        if self.by == "seen":
            try:
                parts[0] = datetime.fromisoformat(parts[0]).astimezone(UTC)
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
) -> Found:
    """The first *most* nodes that pass, or those after a place, or the last ones before a place.

    :raises InvalidInputError: an unknown status.
    """
    backwards = before is not None
    judge = _Judge.of(wanted.checked())
    found: list[Any] = []
    for piece in _pieces(wanted, judge, order, most, before if backwards else after, backwards):
        found += judge.passing(piece)
        if len(found) >= most:
            break
    del found[most:]
    if backwards:
        found.reverse()
    return Found([row.id for row in found], [list(row)[: len(order.keys)] for row in found])


def all_ids(wanted: FleetFilter, most: int) -> list[str]:
    """The ids of all nodes that pass, by name; at most *most* of them."""
    return find(wanted, Order(), most).ids


def _pieces(
    wanted: FleetFilter, judge: _Judge, order: Order, most: int, place: list[Any] | None, backwards: bool
) -> Iterator[Sequence[Any]]:
    size = SCAN_ROWS if judge.leaves_out else most
    keys = order.keys
    falls = order.descending is not backwards
    query = (
        select(*keys, *judge.columns)
        .join(Environment, Environment.id == Node.environment_id)
        .where(*conditions(wanted, judge.clock, judge.connected_ids))
        .order_by(*(key.desc() if falls else key for key in keys))
        .limit(size)
    )
    while True:
        if place is not None:
            here = tuple_(*(literal(part, key.type) for part, key in zip(place, keys, strict=True)))
            piece = query.where(tuple_(*keys) < here if falls else tuple_(*keys) > here)
        else:
            piece = query
        read = read_all(piece)
        yield read
        if len(read) < size:
            return
        place = list(read[-1])[: len(keys)]


def conditions(
    wanted: FleetFilter, clock: Clock, connected_ids: set[str] | None
) -> Iterator[ColumnElement[bool]]:
    """What of a filter the database judges."""
    if wanted.environment_id is not None:
        yield Node.environment_id == wanted.environment_id
    if wanted.q:
        part = wanted.q.lower()
        yield or_(*(func.lower(text).contains(part, autoescape=True) for text in (Node.name, Node.host)))
    if wanted.agent_version is not None:
        yield Node.agent_version == wanted.agent_version
    if wanted.vector_version is not None:
        yield Node.vector_version == wanted.vector_version
    if wanted.label is not None:
        yield from (_meets(requirement) for requirement in wanted.label.requirements)
    match wanted.status:
        case NodeStatus.UNKNOWN:
            yield and_(Node.last_heartbeat_at.is_(None), Node.revoked_at.is_(None))
        case "REVOKED":
            yield Node.revoked_at.is_not(None)
        case "FAILED":
            yield has_failed()
        case "MAINTENANCE":
            yield is_in_maintenance()
        case NodeStatus.UNREACHABLE:
            yield is_silent(clock, connected_ids)


def has_failed() -> ColumnElement[bool]:
    """Whether one of the node's pipelines has died, or could not be brought to its wanted version."""
    return and_(
        Node.revoked_at.is_(None),
        exists().where(
            NodePipeline.node_id == Node.id,
            or_(NodePipeline.status.in_(FAILED_STATUSES), NodePipeline.failed_version.is_not(None)),
        ),
    )


def is_in_maintenance() -> ColumnElement[bool]:
    """Whether the node was told to run nothing for a while."""
    return and_(Node.revoked_at.is_(None), Node.maintenance_mode.is_(True))


def is_silent(clock: Clock, connected_ids: set[str] | None) -> ColumnElement[bool]:
    """Not heard from for so long that the node is unreachable, unless it is connected."""
    silent_before = clock.silent_before(None if connected_ids is None else False)
    return and_(
        Node.revoked_at.is_(None),
        Node.last_heartbeat_at.is_not(None),
        or_(Node.last_seen_at.is_(None), Node.last_seen_at < silent_before),
    )


def behind(nodes: Sequence[Any]) -> list[Any]:
    """Those of *nodes* (rows with the columns of ``STANDING``) that have yet to do what they were told."""
    plans, versions = Plans(nodes), node_status.reported_versions(nodes)
    return [node for node in nodes if plans.is_behind(node, versions.get(node.id, {}))]


def read_all(query: Query) -> Sequence[Any]:
    """Every row of *query*."""
    return snapshot(lambda session: session.execute(query).all())


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


@dataclass(frozen=True, slots=True)
class _Judge:
    """What of a filter the database cannot judge: presence and plans."""

    status: str | None
    connected: bool | None
    connected_ids: set[str] | None
    clock: Clock

    @classmethod
    def of(cls, wanted: FleetFilter) -> _Judge:
        asks_presence = wanted.connected is not None or wanted.status in (
            NodeStatus.HEALTHY,
            NodeStatus.UNREACHABLE,
        )
        clock = Clock(server_settings.intervals(), utc_now())
        connected_ids = presence.connected_ids(clock) if asks_presence else None
        return cls(wanted.status, wanted.connected, connected_ids, clock)

    @property
    def leaves_out(self) -> bool:
        """Whether any node that the database lets pass can fail to."""
        here = (BEHIND, NodeStatus.HEALTHY, NodeStatus.UNREACHABLE)
        return self.connected is not None or self.status in here

    @property
    def columns(self) -> tuple[Any, ...]:
        """What has to be read for it, beside the id."""
        if self.status == BEHIND:
            return STANDING
        if self.leaves_out:
            return (Node.revoked_at, Node.last_seen_at, Node.last_heartbeat_at)
        return ()

    def passing(self, nodes: Sequence[Any]) -> list[Any]:
        """Those of *nodes* that pass."""
        if self.connected is not None:
            nodes = [node for node in nodes if self._is_connected(node) is self.connected]
        if self.status in (NodeStatus.HEALTHY, NodeStatus.UNREACHABLE):
            nodes = [
                node
                for node in nodes
                if node.revoked_at is None
                and self.clock.status(node, self._is_connected(node)) == self.status
            ]
        if self.status == BEHIND:
            nodes = behind(nodes)
        return list(nodes)

    def _is_connected(self, node: Any) -> bool | None:
        return None if self.connected_ids is None else node.id in self.connected_ids
