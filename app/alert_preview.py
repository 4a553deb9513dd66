"""What a rule would find just now, saved or not: counted, with some names, and without writing anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app import alert_kinds, alert_queries, presence, server_settings
from app.alert_drafts import Draft, checked, placed
from app.alert_kinds import KINDS, NODE_UNREACHABLE
from app.alert_queries import Look, Seen
from app.clock import utc_now
from app.database import snapshot
from app.node_status import Clock

MOST_NAMED = 10
MOST_ASKED = 2000
"""Silent nodes of which it is asked whether they are connected; of more it is said that there are more."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a rule would find."""

    subject: str
    """What it counts: ``node``, ``pipeline`` or ``certificate``."""
    subjects: int
    """That it is about, without nodes in maintenance."""
    bad: int
    """That would fire, once they have been so for as long as the rule says."""
    unknown: int
    """Of which nobody can say now: no metrics yet, not heard of lately, or Redis is away."""
    names: tuple[str, ...]
    """Of some that are bad, in a sentence each."""
    is_more: bool = False
    """Whether more are bad than were counted."""


def preview(draft: Draft) -> Preview:
    """What *draft* would find now.

    :raises InvalidInputError: something of it cannot be used.
    :raises NotFoundError: there is no such environment or pipeline.
    """
    draft = checked(draft)
    clock = Clock(server_settings.intervals(), utc_now())
    is_of_nodes = draft.kind == NODE_UNREACHABLE

    def read(session: Session) -> tuple[Any, list[Any]]:
        look = Look.at(session, placed(session, draft), clock)
        query = alert_queries.bad_ones(look, MOST_ASKED + 1 if is_of_nodes else MOST_NAMED)
        return session.execute(alert_queries.counts(look)).one(), list(session.execute(query).all())

    (subjects, bad, unknown), rows = snapshot(read)
    is_more = False
    if is_of_nodes and rows:
        is_more = len(rows) > MOST_ASKED
        found = presence.of([Seen(row.node_id, row.moment) for row in rows[:MOST_ASKED]], clock)
        unknown += sum(each.connected is None for each in found.values())
        rows = [row for row in rows[:MOST_ASKED] if found[row.node_id].connected is False]
        bad = len(rows)
    names = tuple(
        alert_kinds.sentence(draft.kind, row, draft.threshold, clock.now) for row in rows[:MOST_NAMED]
    )
    return Preview(KINDS[draft.kind].subject, subjects, bad, unknown, names, is_more)
