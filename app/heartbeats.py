"""Heartbeats: what a node says runs, written to its rows together with those of others that come just then."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Flask, current_app

from app import action_waves, heartbeat_rows, metrics_history, reported_labels, sample_results
from app.clock import utc_now
from app.group_commit import GroupCommit
from app.heartbeat_body import Heartbeat
from app.heartbeat_rows import Beat, Outcome
from app.node_identity import AuthenticatedNode
from app.switchboard_process import switchboard


def record(node: AuthenticatedNode, heartbeat: Heartbeat) -> None:
    """Write *heartbeat* to the node's rows; it is committed, and the fleet pages are told, soon after.

    :raises InvalidInputError: it holds what no database can store.
    :raises UnavailableError: the database is busy or away.
    """
    commits: GroupCommit[Beat, Outcome] = current_app.extensions["heartbeat_commits"]
    outcome = commits.commit(Beat(node.id, heartbeat, utc_now()))
    if outcome.has_other_labels:
        reported_labels.record(node.id, heartbeat)
    if heartbeat.sample_results:
        # Of an older heartbeat too: what a node has seen it has seen.
        sample_results.record(node.id, node.environment_id, sample_results.readable(heartbeat.sample_results))
    if outcome.environment_id is not None:
        metrics_history.observe(node.id, heartbeat)
    for batch_id in outcome.batch_ids:
        action_waves.advance(batch_id)


def _tell(outcomes: Sequence[Outcome]) -> None:
    """One message for each environment."""
    changed: dict[str, set[str]] = {}
    for outcome in outcomes:
        if outcome.environment_id is not None:
            changed.setdefault(outcome.environment_id, set()).add(outcome.node_id)
    for environment_id, node_ids in changed.items():
        switchboard().publish_fleet_changed(environment_id, sorted(node_ids))


def init_app(app: Flask) -> None:
    """Make what this worker's heartbeats meet in."""
    app.extensions["heartbeat_commits"] = GroupCommit(
        write=heartbeat_rows.write,
        key=lambda beat: beat.node_id,
        weight=lambda beat: 1 + len(beat.heartbeat.pipelines),
        told=_tell,
    )
