"""Whom a deploy would reach, before it is made: who would gain the pipeline by it, and who would lose it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy.orm import Session

from app import selectors
from app.database import snapshot
from app.errors import NotFoundError
from app.matching import Target, deployed_selector, matching
from app.models import Environment, Pipeline
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of

Change = Literal["gained", "kept", "lost"]
CHANGES: tuple[Change, ...] = get_args(Change)


@dataclass(frozen=True, slots=True)
class Preview:
    """The nodes that match, and those that match what is deployed now; each list by name.

    Nodes in maintenance among them, which run it only afterwards; what a node really runs just now is not asked.
    """

    targets: list[Target]
    gained: list[Target]
    kept: list[Target]
    lost: list[Target]

    def of(self, change: Change | None) -> list[Target]:
        """Those of one *change*; of none: all that the deploy would reach."""
        by_change = {None: self.targets, "gained": self.gained, "kept": self.kept, "lost": self.lost}
        return by_change[change]


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
        after = given if given is not None else selectors.parse(pipeline.node_selector)
        now, then = matching(session, environment, [deployed_selector(session, pipeline), after])
        before, wanted = set(now), set(then)
        return Preview(
            targets=sorted(then),
            gained=sorted(wanted - before),
            kept=sorted(wanted & before),
            lost=sorted(before - wanted),
        )

    return snapshot(work)


def page(
    found: Preview, change: Change | None, cursor: str | None, limit: int = DEFAULT_LIMIT
) -> Page[Target]:
    """A page of ``found.of(change)``.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    name, node_id = decode_cursor(cursor, 2) if cursor is not None else ("", "")
    left = [target for target in found.of(change) if target > (name, node_id)]
    return first_of(left, limit, lambda row: row)
