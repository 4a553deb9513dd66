"""Which nodes have yet to do what they were told: judged by the plans, one judgement for all nodes that are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, literal, not_, null, or_, select
from sqlalchemy.orm import Session

from app import node_status
from app.models import Environment, Node
from app.models.columns import JsonColumn
from app.node_status import Plans
from app.standings import STANDING

Query = Select[*tuple[Any, ...]]

_LIKENESS = (
    Node.environment_id,
    Node.operator_labels,
    Node.maintenance_mode,
    Node.running_revision,
    Node.tried_revision,
)


@dataclass(frozen=True, slots=True)
class Alike:
    """Nodes that can only be behind together, as they were read; ``judged`` says whether they are."""

    rows: Sequence[Any]
    """With the columns of ``STANDING``, the least id as ``id``, ``size`` and, where asked for, all ``ids``."""

    def behind(self) -> list[Any]:
        """Those rows that have yet to do what they were told."""
        plans, versions = Plans(self.rows), node_status.reported_versions(self.rows)
        return [row for row in self.rows if plans.is_behind(row, versions.get(row.id, {}))]

    def number_behind(self) -> int:
        """How many nodes are behind."""
        return sum(int(row.size) for row in self.behind())

    def ids_behind(self) -> list[str]:
        """Their ids; they must have been read."""
        return [node_id for row in self.behind() for node_id in row.ids.split(",")]


def read(session: Session, environment_id: str | None, *, with_ids: bool = False) -> Alike:
    """All nodes that can be behind, of the whole fleet or one environment; two queries."""
    inside = [Node.environment_id == environment_id] if environment_id else []
    classes, singles = _queries(inside, with_ids=with_ids)
    return Alike([*session.execute(classes), *session.execute(singles)])


def _queries(inside: Sequence[ColumnElement[bool]], *, with_ids: bool) -> tuple[Query, Query]:
    """Classes of nodes alike in all that matters, and all other nodes, each a class of its own."""
    of_class = func.aggregate_strings(Node.id, ",") if with_ids else literal("")
    # Grouped before the environments are joined: what is the same in all of a class need not be sorted.
    found = (
        select(
            func.min(Node.id).label("id"),
            *_LIKENESS,
            func.count().label("size"),
            of_class.label("ids"),
        )
        .where(Node.revoked_at.is_(None), _reports_revision(), *inside)
        .group_by(*_LIKENESS)
        .subquery()
    )
    is_plain = Environment.selectable_agent_labels == []
    # No selector looks at agents' labels there, and those differ from node to node.
    classes = (
        select(
            *found.c,
            literal({}, JsonColumn).label("agent_labels"),
            null().label("revoked_at"),
            Environment.nonce,
            Environment.selectable_agent_labels,
        )
        .join(Environment, Environment.id == found.c.environment_id)
        .where(is_plain)
    )
    singles = (
        select(Node.id, *STANDING, literal(1).label("size"), Node.id.label("ids"))
        .join(Environment, Environment.id == Node.environment_id)
        .where(Node.revoked_at.is_(None), not_(and_(_reports_revision(), is_plain)), *inside)
    )
    return classes, singles


def _reports_revision() -> ColumnElement[bool]:
    return or_(Node.running_revision.is_not(None), Node.tried_revision.is_not(None))
