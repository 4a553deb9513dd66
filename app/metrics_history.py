"""Metrics history: heartbeats' counters, kept in memory for a moment, written as points, rolled up, read.

A heartbeat costs a place in a dictionary. A worker's greenlet writes what has come together, one row a node; what
the counters said last stands in the row, so that it does not matter which worker hears which heartbeat, and what
a killed worker had not written yet is in the next difference.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import InvalidInputError
from app.ids import is_id
from app.metrics_points import (
    DAY,
    HOST,
    HOST_COUNTERS,
    HOST_LEVELS,
    HOUR,
    MINUTE,
    NEXT_LEVEL,
    PIPELINE_COUNTERS,
    POINTS_A_BLOCK,
    Point,
    Sheet,
    Standing,
    between,
    block_start,
    pack,
    total,
    unpack,
)
from app.models import MetricsBlock, Node

if TYPE_CHECKING:
    from app.heartbeat_body import Heartbeat

LEVELS = {"minute": MINUTE, "hour": HOUR, "day": DAY}
NODES_A_STEP = 100
"""Written, and rows rolled up, in one transaction."""
MOST_WAITING = 50_000
"""Standings that wait to be written; more come only where the database is away, and then the next ones will do."""
ID_LENGTH = 32
MOST_PIPELINES = 50
"""Of one node whose history is kept."""
MOST_POINTS = 1500
"""Of one answer: a day of minutes, and a little."""
SETTLED_SECONDS = 1800
"""So long after its end a block is rolled up; what comes later still has it rolled up again."""
ROLLING = 0x5342_0001
"""PostgreSQL's advisory lock of whoever rolls up, so that it is one worker at a time."""

log = logging.getLogger(__name__)

_waiting: dict[str, list[Standing]] = {}


def observe(node_id: str, heartbeat: Heartbeat, at: float | None = None) -> None:
    """Remember what *heartbeat* says of counters, until ``flush``; waits for nothing and never fails."""
    values: dict[str, dict[str, float]] = {}
    if heartbeat.host_metrics:
        known = {name: heartbeat.host_metrics.get(name) for name in HOST_COUNTERS + HOST_LEVELS}
        values[HOST] = _numbers(known)
    for pipeline in heartbeat.pipelines[:MOST_PIPELINES]:
        # Whatever else an agent names cannot be a pipeline of ours, nor may it pass for the host.
        is_ours = len(pipeline.pipeline_id) == ID_LENGTH and is_id(pipeline.pipeline_id)
        if is_ours and (pipeline.events_in is not None or pipeline.events_out is not None):
            said = (
                pipeline.events_in,
                pipeline.events_out,
                pipeline.bytes_in,
                pipeline.bytes_out,
                pipeline.errors_total,
                pipeline.events_discarded,
            )
            values[pipeline.pipeline_id] = _numbers(dict(zip(PIPELINE_COUNTERS, said, strict=True)))
    if values and (node_id in _waiting or len(_waiting) < MOST_WAITING):
        standing = Standing(utc_now().timestamp() if at is None else at, values)
        # The last few of each node: those between would only make the picture finer.
        _waiting[node_id] = [*_waiting.get(node_id, [])[-9:], standing]


def _numbers(known: Mapping[str, float | None]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in known.items()
        if value is not None and math.isfinite(value) and value >= 0
    }


def is_waiting() -> bool:
    """Whether ``flush`` has something to write."""
    return bool(_waiting)


def flush() -> int:
    """Write what was observed; how many nodes. What cannot be written is dropped: counters go on counting."""
    global _waiting
    waiting, _waiting = _waiting, {}
    node_ids = sorted(waiting)
    for start in range(0, len(node_ids), NODES_A_STEP):
        chosen = {node_id: waiting[node_id] for node_id in node_ids[start : start + NODES_A_STEP]}
        write(chosen)
    return len(node_ids)


def write(standings: Mapping[str, Sequence[Standing]]) -> None:
    """Write the standings of some nodes, in one transaction. Nodes that are gone are left out."""
    transaction(lambda session: _write(session, standings))


def _write(session: Session, standings: Mapping[str, Sequence[Standing]]) -> None:
    # The nodes first and in order, as heartbeats lock them: two workers may have heard the same node.
    locked = session.scalars(
        select(Node.id).where(Node.id.in_(standings)).order_by(Node.id).with_for_update(key_share=True)
    ).all()
    earliest = min((each.at for some in standings.values() for each in some), default=0.0)
    rows: dict[str, dict[int, MetricsBlock]] = defaultdict(dict)
    for row in session.scalars(
        select(MetricsBlock).where(
            MetricsBlock.node_id.in_(locked),
            MetricsBlock.level == MINUTE,
            MetricsBlock.start >= block_start(MINUTE, earliest) - HOUR,
        )
    ):
        rows[row.node_id][row.start] = row
    for node_id in locked:
        _write_node(session, node_id, rows[node_id], standings[node_id])


def _write_node(
    session: Session, node_id: str, rows: dict[int, MetricsBlock], standings: Sequence[Standing]
) -> None:
    latest = max((row for row in rows.values() if row.latest), key=lambda row: row.start, default=None)
    before = _standing(latest.latest) if latest is not None else None
    sheets: dict[int, Sheet] = {}
    for now in sorted(standings, key=lambda each: each.at):
        if before is not None and now.at <= before.at:
            continue  # another worker has written a later one: its difference covers this
        for subject, minute, point in between(before, now):
            start = block_start(MINUTE, minute)
            if start not in sheets:
                sheets[start] = _sheet(rows.get(start))
            sheets[start].add(subject, (minute - start) // MINUTE, point)
        before = now
    if before is None:
        return
    home = block_start(MINUTE, before.at)
    if home not in sheets:
        sheets[home] = _sheet(rows.get(home))
    for start, sheet in sheets.items():
        row = rows.get(start)
        if row is None:
            row = rows[start] = MetricsBlock(node_id=node_id, level=MINUTE, start=start)
            session.add(row)
        row.points, row.is_rolled_up = sheet.packed(), False
    for start, row in rows.items():
        if start == home:
            row.latest = {"at": before.at, "values": before.values}
        elif row.latest is not None:
            row.latest = None


def _sheet(row: MetricsBlock | None) -> Sheet:
    return Sheet(MINUTE, row.points if row is not None else None)


def _standing(stored: dict[str, Any] | None) -> Standing | None:
    return Standing(stored["at"], stored["values"]) if stored else None


def roll_up(now: float | None = None) -> int:
    """Tell the next level of some blocks that are over; how many. 0: there are none, or another worker does it."""
    at = utc_now().timestamp() if now is None else now
    return sum(transaction(partial(_roll_up, level=level, now=at)) for level in NEXT_LEVEL)


def _roll_up(session: Session, level: int, now: float) -> int:
    if session.get_bind().dialect.name == "postgresql" and not session.scalar(
        select(func.pg_try_advisory_xact_lock(ROLLING))
    ):
        return 0
    upper, span = NEXT_LEVEL[level], level * POINTS_A_BLOCK[level]
    rows = session.scalars(
        select(MetricsBlock)
        .where(
            MetricsBlock.level == level,
            MetricsBlock.is_rolled_up.is_(False),
            MetricsBlock.start <= now - span - SETTLED_SECONDS,
        )
        .order_by(MetricsBlock.start, MetricsBlock.node_id)
        .limit(NODES_A_STEP)
        .with_for_update(skip_locked=True)
    ).all()
    for row in rows:
        start = block_start(upper, row.start)
        target = session.get(MetricsBlock, (row.node_id, upper, start))
        if target is None:
            target = MetricsBlock(node_id=row.node_id, level=upper, start=start, points=pack(upper, {}))
            session.add(target)
        block = unpack(target.points)
        for subject, points in unpack(row.points).items():
            if points:
                # Instead of what stood there: the same block may come twice.
                block.setdefault(subject, {})[(row.start - start) // upper] = total(points.values())
        target.points, target.is_rolled_up = pack(upper, block), upper not in NEXT_LEVEL
        row.is_rolled_up = True
        session.flush()
    return len(rows)


Series = dict[str, dict[int, Point]]
"""By subject, then by the start of a point in seconds since 1970."""


def read(node_id: str, level: int, since: float, until: float) -> Series:
    """The node's points of *level* that begin in ``[since, until)``; what is not rolled up yet is added up here.

    :raises InvalidInputError: more than ``MOST_POINTS`` are asked for, or none.
    """
    if not 0 < until - since <= MOST_POINTS * level:
        message = f"it is a time of at most {MOST_POINTS} points, and ends after it begins"
        raise InvalidInputError(
            f"The range cannot be read: {message}.", [{"field": "until", "message": message}]
        )
    query = select(
        MetricsBlock.level, MetricsBlock.start, MetricsBlock.points, MetricsBlock.is_rolled_up
    ).where(
        MetricsBlock.node_id == node_id,
        MetricsBlock.level <= level,
        MetricsBlock.start >= block_start(level, since),
        MetricsBlock.start < until,
        (MetricsBlock.level == level) | MetricsBlock.is_rolled_up.is_(False),
    )
    rows = snapshot(lambda session: session.execute(query.order_by(MetricsBlock.start)).all())
    known: dict[int, Series] = {each: {} for each in (MINUTE, HOUR, DAY)}
    for row in rows:
        for subject, points in unpack(row.points).items():
            found = known[row.level].setdefault(subject, {})
            found.update({row.start + number * row.level: point for number, point in points.items()})
    for lower, upper in NEXT_LEVEL.items():
        if upper <= level:
            _overlay(known[lower], known[upper], upper)
    return {
        subject: {start: point for start, point in sorted(points.items()) if since <= start < until}
        for subject, points in known[level].items()
    }


def _overlay(lower: Series, upper: Series, level: int) -> None:
    """Put what *lower* says, of which nothing was rolled up for good, in the place of what *upper* knew of it."""
    for subject, points in lower.items():
        groups: dict[int, list[Point]] = defaultdict(list)
        for start, point in points.items():
            groups[start // level * level].append(point)
        found = upper.setdefault(subject, {})
        for start, some in groups.items():
            summed = total(some)
            # Of two accounts of the same time the one that has seen more of it.
            if start not in found or summed[0] >= found[start][0]:
                found[start] = summed
