"""How nodes are, for the database to judge: Redis and the plans are asked first, at most once for one look."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, false, not_, or_

from app import fleet_behind, presence, server_settings
from app.clock import utc_now
from app.database import snapshot
from app.id_table import IdTable
from app.models import Node, NodePipeline
from app.node_status import FAILED_STATUSES, Clock

Query = Select[*tuple[Any, ...]]

URGENCIES = range(7)
"""See ``States.urgency``."""


class States:
    """What is true of a node, as conditions; each query that uses them has to be ``joined``.

    All that is asked through one of these is of one moment.
    """

    def __init__(self, environment_id: str | None = None) -> None:
        """Of nodes of the whole fleet, or of one environment: then of others nothing may be asked."""
        self.environment_id = environment_id
        self.clock = Clock(server_settings.intervals(), utc_now())
        self._tables: dict[str, IdTable] = {}

    @cached_property
    def connected_ids(self) -> set[str] | None:
        """Every connected node, of other environments too; ``None`` while Redis is away."""
        return presence.connected_ids(self.clock)

    @cached_property
    def behind_ids(self) -> list[str]:
        """Every node that has yet to do what it was told."""
        return snapshot(
            lambda session: fleet_behind.read(session, self.environment_id, with_ids=True)
        ).ids_behind()

    def joined(self, query: Query) -> Query:
        """*query*, which selects from nodes, with what the conditions need that were asked for since the last one.

        It runs inside of ``planned_joins``.
        """
        for table in self._tables.values():
            query = table.joined(query, Node.id.expression)
        self._tables = {}
        return query

    def is_connected(self) -> ColumnElement[bool]:
        """Has a channel; of no node while nobody knows."""
        if self.connected_ids is None:
            return false()
        return self._is_among("connected", self.connected_ids)

    def is_not_connected(self) -> ColumnElement[bool]:
        """Has none; of no node while nobody knows."""
        if self.connected_ids is None:
            return false()
        return not_(self._is_among("connected", self.connected_ids))

    def is_unreachable(self) -> ColumnElement[bool]:
        """Neither connected nor heard from for three heartbeats (see ``Clock``)."""
        silent_before = self.clock.silent_before(None if self.connected_ids is None else False)
        is_silent = or_(Node.last_seen_at.is_(None), Node.last_seen_at < silent_before)
        if self.connected_ids is not None:
            is_silent = and_(is_silent, self.is_not_connected())
        return and_(Node.revoked_at.is_(None), Node.last_heartbeat_at.is_not(None), is_silent)

    def is_healthy(self) -> ColumnElement[bool]:
        """Answers."""
        silent_before = self.clock.silent_before(None if self.connected_ids is None else False)
        is_alive: ColumnElement[bool] = Node.last_seen_at >= silent_before
        if self.connected_ids is not None:
            is_alive = or_(is_alive, self.is_connected())
        return and_(Node.revoked_at.is_(None), Node.last_heartbeat_at.is_not(None), is_alive)

    def is_behind(self) -> ColumnElement[bool]:
        """Has yet to do what it was told."""
        return self._is_among("behind", self.behind_ids)

    def urgency(self) -> ColumnElement[int]:
        """A number that is the less the sooner somebody should look at the node."""
        failed, unreachable, behind, paused, unknown, healthy, revoked = URGENCIES
        return case(
            (Node.revoked_at.is_not(None), revoked),
            (has_failed(), failed),
            (self.is_unreachable(), unreachable),
            (self.is_behind(), behind),
            (is_in_maintenance(), paused),
            (is_unknown(), unknown),
            else_=healthy,
        )

    def _is_among(self, name: str, ids: Iterable[str]) -> ColumnElement[bool]:
        if name not in self._tables:
            self._tables[name] = IdTable(ids, name)
        return self._tables[name].has(Node.id.expression)


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


def is_unknown() -> ColumnElement[bool]:
    """Whether it has not sent a heartbeat yet."""
    return and_(Node.last_heartbeat_at.is_(None), Node.revoked_at.is_(None))
