"""The fleet as people look at it: nodes with what they run and should run, whether they are connected, counts.

The database says what nodes reported, the environments' plans what they should run, Redis who is connected.
Each is asked once a page, whatever the page's size, and no database connection is held while Redis is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, not_, or_, select

from app import fleet_filter, presence, server_settings
from app.assembly import selectable_labels
from app.clock import utc_now
from app.database import snapshot
from app.errors import NotFoundError
from app.fleet_filter import FleetFilter, Order, Query, read_all
from app.ids import is_id
from app.models import Environment, Node, NodePipeline, Pipeline
from app.models.columns import JsonColumn
from app.node_pipelines import PipelineState, pipeline_states
from app.node_status import Clock, NodeStatus, Plans
from app.paging import DEFAULT_LIMIT, Page
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


def nodes(
    *,
    environment_id: str | None = None,
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
    wanted = FleetFilter(environment_id, status, connected, label, q)
    return page(wanted, Order(), limit=limit, cursor=cursor)


def page(
    wanted: FleetFilter,
    order: Order,
    *,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
    before: str | None = None,
) -> NodePage:
    """The nodes that *wanted* means, in *order*: the first, those after *cursor*, or the last ones *before* one.

    :raises InvalidInputError: an unknown status, or the cursor is not one of this list.
    """
    places = [order.place(each) if each is not None else None for each in (cursor, before)]
    found = fleet_filter.find(wanted, order, limit + 1, after=places[0], before=places[1])
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


def counts(environment_id: str | None = None) -> FleetCounts:
    """The counts of the whole fleet or of one environment."""
    inside: list[ColumnElement[bool]] = [Node.environment_id == environment_id] if environment_id else []
    clock = Clock(server_settings.intervals(), utc_now())
    connected = presence.connected_ids(clock)
    silent = select(Node.id).where(fleet_filter.is_silent(clock, connected), *inside)
    failed = select(func.count()).select_from(Node).where(fleet_filter.has_failed(), *inside)
    paused = select(func.count()).select_from(Node).where(fleet_filter.is_in_maintenance(), *inside)
    alike, others = _by_likeness(inside)
    # On one view of the database: a node that reports meanwhile would else be counted as it was and as it is.
    ids, silent_ids, failures, pauses, classes, singles = snapshot(
        lambda session: (
            session.scalars(select(Node.id).where(*inside)).all(),
            session.scalars(silent).all(),
            session.scalar(failed) or 0,
            session.scalar(paused) or 0,
            session.execute(alike).all(),
            session.execute(others).all(),
        )
    )
    return FleetCounts(
        nodes=len(ids),
        connected=None if connected is None else len(connected.intersection(ids)),
        behind=sum(int(each.size) for each in fleet_filter.behind(classes))
        + len(fleet_filter.behind(singles)),
        failed=failures,
        unreachable=sum(1 for node_id in silent_ids if connected is None or node_id not in connected),
        maintenance=pauses,
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


def _query() -> Query:
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


def _by_likeness(inside: Sequence[ColumnElement[bool]]) -> tuple[Query, Query]:
    """Who may be behind: classes of nodes alike in all that matters, to be judged as one, and all other nodes.

    So counting those that are behind stays cheap.
    """
    query = _query().where(Node.revoked_at.is_(None), *inside)
    reports = or_(Node.running_revision.is_not(None), Node.tried_revision.is_not(None))
    is_plain = Environment.selectable_agent_labels == []
    alike = (
        Node.environment_id,
        Environment.nonce,
        Environment.selectable_agent_labels,
        Node.operator_labels,
        Node.maintenance_mode,
        Node.revoked_at,
        Node.running_revision,
        Node.tried_revision,
    )
    # No selector looks at agents' labels there, and those differ from node to node.
    no_labels = literal({}, JsonColumn).label("agent_labels")
    classes = (
        query.where(reports, is_plain)
        .with_only_columns(func.min(Node.id).label("id"), *alike, no_labels, func.count().label("size"))
        .group_by(*alike)
    )
    return classes, query.where(not_(and_(reports, is_plain)))


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
    for state, name in read_all(query):
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
