"""Whom a deploy would reach, before it is made: who would gain the pipeline by it, and who would lose it.

The database counts and finds them: of ten thousand nodes only those are read that are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import ColumnElement, Select, and_, case, false, func, not_, select, tuple_
from sqlalchemy.orm import Session

from app import selectors
from app.database import snapshot
from app.errors import NotFoundError
from app.matching import Target, condition, deployed_selector
from app.models import Environment, Node, Pipeline
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.selectors import Selector

Change = Literal["gained", "kept", "lost"]
CHANGES: tuple[Change, ...] = get_args(Change)
NAMED = 10
"""Nodes of each change that a preview names."""


@dataclass(frozen=True, slots=True)
class Preview:
    """How many nodes match, and how many match what is deployed now, with the first of those for whom it changes.

    Nodes in maintenance among them, which run it only afterwards; what a node really runs just now is not asked.
    """

    environment: Environment
    before: Selector | None
    """Of the deployed version; ``None``: none is deployed."""
    after: Selector
    targets: int
    gained: int
    kept: int
    lost: int
    first_gained: list[Target]
    """By name, as the others."""
    first_lost: list[Target]


def preview(pipeline_id: str, selector: str | None = None, *, field: str = "nodeSelector") -> Preview:
    """What a deploy of the draft would do, with *selector* in place of its own where one is given.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: the selector cannot be understood; ``details`` call it *field*.
    """
    given = selectors.parse(selector, field) if selector is not None else None

    def work(session: Session) -> Preview:
        pipeline = session.get(Pipeline, pipeline_id)
        if pipeline is None:
            raise NotFoundError("There is no such pipeline.")
        environment = session.get_one(Environment, pipeline.environment_id)
        before = deployed_selector(session, pipeline)
        after = given if given is not None else selectors.parse(pipeline.node_selector)
        every: tuple[Change | None, ...] = (None, *CHANGES)
        counts = session.execute(
            select(*(func.count().filter(_holds(environment, before, after, each)) for each in every)).where(
                Node.environment_id == environment.id, Node.revoked_at.is_(None)
            )
        ).one()

        def first(change: Change, count: int) -> list[Target]:
            query = _query(environment, before, after, change).limit(NAMED)
            return [Target(*row) for row in session.execute(query)] if count else []

        targets, gained, kept, lost = (int(count) for count in counts)
        return Preview(
            environment,
            before,
            after,
            targets,
            gained,
            kept,
            lost,
            first("gained", gained),
            first("lost", lost),
        )

    return snapshot(work)


def page(
    found: Preview, change: Change | None, cursor: str | None, limit: int = DEFAULT_LIMIT
) -> Page[Target]:
    """A page of the nodes of one *change*, by name; of none: of all that the deploy would reach.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = _query(found.environment, found.before, found.after, change)
    if cursor is not None:
        query = query.where(tuple_(Node.name, Node.id) > tuple_(*decode_cursor(cursor, 2)))
    rows = snapshot(lambda session: [Target(*row) for row in session.execute(query.limit(limit + 1))])
    return first_of(rows, limit, lambda row: row)


def part(found: Preview, number: int, size: int) -> list[Target]:
    """Of all that the deploy would reach, by name, those of one numbered part, from 1."""
    query = _query(found.environment, found.before, found.after, None).limit(size).offset((number - 1) * size)
    return snapshot(lambda session: [Target(*row) for row in session.execute(query)])


def _query(
    environment: Environment, before: Selector | None, after: Selector, change: Change | None
) -> Select[str, str]:
    return (
        select(Node.name, Node.id)
        .where(
            Node.environment_id == environment.id,
            Node.revoked_at.is_(None),
            _holds(environment, before, after, change),
        )
        .order_by(Node.name, Node.id)
    )


def _holds(
    environment: Environment, before: Selector | None, after: Selector, change: Change | None
) -> ColumnElement[bool]:
    is_now, will_be = _matches(environment, before), _matches(environment, after)
    by_change = {
        None: will_be,
        "gained": and_(will_be, not_(is_now)),
        "kept": and_(will_be, is_now),
        "lost": and_(is_now, not_(will_be)),
    }
    return by_change[change]


def _matches(environment: Environment, selector: Selector | None) -> ColumnElement[bool]:
    """Never NULL, of which NOT would be NULL again: a node without a label says neither yes nor no of it."""
    if selector is None:
        return false()
    holds = condition(selector.requirements, environment.selectable_agent_labels)
    return case((holds, 1), else_=0) == 1
