"""The fleet as people look at it: nodes with what they run and should run, whether they are connected, counts.

The database says what nodes reported, the environments' plans what they should run, Redis who is connected.
Each is asked once a page, whatever the page's size. A page's own view of the database (``database.one_view``, of
which there are few) is held while Redis is asked; nothing else is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session

from app import fleet_behind, fleet_filter, fleet_states, presence, server_settings
from app.assembly import selectable_labels
from app.clock import utc_now
from app.database import snapshot
from app.errors import NotFoundError
from app.fleet_behind import Alike
from app.fleet_filter import FleetFilter, Order
from app.fleet_states import States
from app.id_table import planned_joins
from app.ids import is_id
from app.models import Environment, Node, NodePipeline, Pipeline
from app.node_pipelines import PipelineState, pipeline_states
from app.node_status import Clock, NodeStatus, Plans
from app.paging import DEFAULT_LIMIT, Page
from app.principal import Within
from app.push.presence import Presence
from app.selectors import Selector


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node as pages and the operator API show it."""

    id: str
    name: str
    host: str
    os: str | None
    environment_id: str
    environment_name: str
    status: NodeStatus
    push: Presence
    labels: dict[str, str]
    """The operator's over the agent's."""
    agent_labels: dict[str, str]
    operator_labels: dict[str, str]
    selectable_labels: dict[str, str]
    """Those that selectors of pipelines look at: the operator's, and what its environment allows of the agent's."""
    agent_version: str | None
    vector_version: str | None
    deployment_mode: str | None
    last_seen_at: datetime | None
    enrolled_at: datetime
    revoked_at: datetime | None
    """Since when its token is dead: how the node is nobody knows, and it counts as nothing but a node."""
    maintenance_mode: bool
    behind: bool
    pipelines: list[PipelineState]

    @property
    def is_unreachable(self) -> bool:
        """Whether it is missed: of a revoked node nothing is expected."""
        return self.revoked_at is None and self.status == NodeStatus.UNREACHABLE

    @property
    def is_stale(self) -> bool:
        """Whether what it reported last may no longer be taken for what is."""
        return self.revoked_at is not None or self.status == NodeStatus.UNREACHABLE

    @property
    def has_failed(self) -> bool:
        """Whether one of its pipelines has died, or could not be brought to its wanted version."""
        return self.revoked_at is None and any(run.has_failed for run in self.pipelines)


NodePage = Page[NodeRow]


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """The numbers that matter; ``connected`` is ``None`` while Redis is away."""

    nodes: int
    connected: int | None
    behind: int
    failed: int
    unreachable: int
    maintenance: int

    def __add__(self, other: FleetCounts) -> FleetCounts:
        """Of the nodes of both, which have none in common."""
        is_known = self.connected is not None and other.connected is not None
        return FleetCounts(
            nodes=self.nodes + other.nodes,
            connected=(self.connected or 0) + (other.connected or 0) if is_known else None,
            behind=self.behind + other.behind,
            failed=self.failed + other.failed,
            unreachable=self.unreachable + other.unreachable,
            maintenance=self.maintenance + other.maintenance,
        )


def nodes(
    *,
    environment_id: str | None = None,
    within: Within = None,
    status: str | None = None,
    connected: bool | None = None,
    label: Selector | None = None,
    q: str | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> NodePage:
    """A page of nodes by name, of those that a ``FleetFilter`` of these fields means.

    :raises InvalidInputError: an unknown status, or the cursor is not one of this list.
    """
    wanted = FleetFilter(environment_id, within, status, connected, label, q)
    return page(wanted, Order(), limit=limit, cursor=cursor)


def page(
    wanted: FleetFilter,
    order: Order,
    *,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    before: str | None = None,
    states: States | None = None,
) -> NodePage:
    """The nodes that *wanted* means, in *order*: the first, those after *cursor*, or the last ones *before* one.

    *states* are those of the same environment, where they are known.

    :raises InvalidInputError: an unknown status, or the cursor is not one of this list.
    """
    places = [order.place(each) if each is not None else None for each in (cursor, before)]
    found = fleet_filter.find(wanted, order, limit + 1, after=places[0], before=places[1], states=states)
    more = len(found.ids) > limit
    if before is not None:
        ids, places_found = found.ids[-limit:], found.places[-limit:]
        has_next, has_previous = bool(ids), more
    else:
        ids, places_found = found.ids[:limit], found.places[:limit]
        has_next, has_previous = more, cursor is not None and bool(ids)
    by_id = {node.id: node for node in rows(ids)}
    return Page(
        [by_id[node_id] for node_id in ids if node_id in by_id],  # one may have gone between the two looks
        order.cursor(places_found[-1]) if has_next else None,
        order.cursor(places_found[0]) if has_previous else None,
    )


def node(node_id: str) -> NodeRow:
    """One node.

    :raises NotFoundError: there is none of that id.
    """
    found = rows([node_id]) if is_id(node_id) else []
    if not found:
        raise NotFoundError("There is no such node.")
    return found[0]


def rows(node_ids: Sequence[str]) -> list[NodeRow]:
    """The nodes of these ids, by name; an unknown id is left out."""
    query = _query().where(Node.id.in_(node_ids)).order_by(Node.name, Node.id)
    return _rows(snapshot(lambda session: session.execute(query).all())) if node_ids else []


def counts(environment_id: str | None = None, states: States | None = None) -> FleetCounts:
    """The counts of the whole fleet or of one environment, by *states* (of the same nodes) where they are known.

    The database counts. What it is sent for that is the ids of all connected nodes, as one value.
    """
    states = states or States(environment_id)
    numbers = (
        func.count(),
        *(
            func.coalesce(func.sum(case((condition, 1), else_=0)), 0)
            for condition in (
                states.is_connected(),
                fleet_states.has_failed(),
                states.is_unreachable(),
                fleet_states.is_in_maintenance(),
            )
        ),
    )
    totals = states.joined(select(*numbers).select_from(Node))
    if environment_id is not None:
        totals = totals.where(Node.environment_id == environment_id)

    def read(session: Session) -> tuple[Any, Alike]:
        alike = fleet_behind.read(session, environment_id)
        with planned_joins(session):
            return session.execute(totals).one(), alike

    # On one view of the database: a node that reports meanwhile would else be counted as it was and as it is.
    (number, connected, failed, unreachable, paused), alike = snapshot(read)
    return FleetCounts(
        nodes=number,
        connected=None if states.connected_ids is None else connected,
        behind=alike.number_behind(),
        failed=failed,
        unreachable=unreachable,
        maintenance=paused,
    )


def counts_of(nodes: Sequence[NodeRow]) -> FleetCounts:
    """The counts of these *nodes*, by the same rules as ``counts``."""
    is_known = all(node.push.connected is not None for node in nodes)
    return FleetCounts(
        nodes=len(nodes),
        connected=sum(1 for node in nodes if node.push.connected) if is_known else None,
        behind=sum(1 for node in nodes if node.behind),
        failed=sum(1 for node in nodes if node.has_failed),
        unreachable=sum(1 for node in nodes if node.is_unreachable),
        maintenance=sum(1 for node in nodes if node.maintenance_mode and node.revoked_at is None),
    )


def _query() -> Select[*tuple[Any, ...]]:
    """Everything that a row shows or is judged by, except for its pipelines."""
    return select(
        Node.id,
        Node.name,
        Node.host,
        Node.os,
        Node.environment_id,
        Environment.name.label("environment_name"),
        Environment.nonce,
        Environment.selectable_agent_labels,
        Node.operator_labels,
        Node.agent_labels,
        Node.agent_version,
        Node.vector_version,
        Node.deployment_mode,
        Node.maintenance_mode,
        Node.revoked_at,
        Node.running_revision,
        Node.tried_revision,
        Node.last_seen_at,
        Node.last_heartbeat_at,
        Node.enrolled_at,
    ).join(Environment, Environment.id == Node.environment_id)


def _rows(nodes: Sequence[Any]) -> list[NodeRow]:
    """The rows of *nodes* (of ``_query``), in the same order."""
    ids = [node.id for node in nodes]
    reported: dict[str, dict[str, NodePipeline]] = {node_id: {} for node_id in ids}
    query = (
        select(NodePipeline, Pipeline.name)
        .join(Pipeline, Pipeline.id == NodePipeline.pipeline_id)
        .where(NodePipeline.node_id.in_(ids))
    )
    names = {}
    for state, name in snapshot(lambda session: session.execute(query).all()):
        reported[state.node_id][state.pipeline_id] = state
        names[state.pipeline_id] = name
    plans = Plans(nodes)
    clock = Clock(server_settings.intervals(), utc_now())
    push = presence.of(nodes, clock)
    return [
        NodeRow(
            id=node.id,
            name=node.name,
            host=node.host,
            os=node.os,
            environment_id=node.environment_id,
            environment_name=node.environment_name,
            status=clock.status(node, push[node.id].connected),
            push=push[node.id],
            labels={**node.agent_labels, **node.operator_labels},
            agent_labels=node.agent_labels,
            operator_labels=node.operator_labels,
            selectable_labels=selectable_labels(
                node.operator_labels, node.agent_labels, node.selectable_agent_labels
            ),
            agent_version=node.agent_version,
            vector_version=node.vector_version,
            deployment_mode=node.deployment_mode,
            last_seen_at=node.last_seen_at,
            enrolled_at=node.enrolled_at,
            revoked_at=node.revoked_at,
            maintenance_mode=node.maintenance_mode,
            behind=plans.is_behind(node, {key: state.version for key, state in reported[node.id].items()}),
            pipelines=pipeline_states(plans.of(node), reported[node.id], names),
        )
        for node in nodes
    ]
