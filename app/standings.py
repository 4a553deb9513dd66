"""How connected nodes stand: what the push channel's look and sweep ask the database."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any, NamedTuple

from flask import Flask
from sqlalchemy import Engine, bindparam, select, update
from sqlalchemy.orm import Session

from agent.protocol import DEFAULT_POLL_INTERVAL_MS
from app import (
    action_states,
    action_waves,
    assembly,
    channel_history,
    deployments,
    enrollment,
    metrics_history,
    retention,
    sample_offers,
    sample_results,
    server_settings,
)
from app.clock import utc_now
from app.database import current_engine, engine_of_its_own, transaction, using
from app.kept_connection import KeptConnection
from app.many_ids import among, listed
from app.models import Environment, Node, NodePipeline
from app.models.columns import UtcDateTime
from app.push.deadlines import deadline
from app.push.group_call import GroupCall
from app.push.messages import ACTION_SUBJECT, PREFIXES, SAMPLE_SUBJECT
from app.push.standing import Span, Standing

DEADLINE_SECONDS = 8.0
"""For one question in all: a frozen PostgreSQL neither ends a statement nor leaves TCP unacknowledged."""
GHOST_LOOK_SECONDS = 3600.0


class DatabaseQuestions:
    """Answers the switchboard's questions, each in an application context of its own.

    On PostgreSQL over connections of their own: neither a hung call nor requests that hold every connection of
    theirs stop the sweep (hazard 8). Whatever the database does, each call ends within ``DEADLINE_SECONDS``.
    """

    def __init__(self, app: Flask, database_url: str) -> None:
        self._app = app
        self._engine = engine_of_its_own(database_url, "signalbox sweep")
        self._reads: StandingReads | None = None
        self._look_for_ghosts_at = 0.0

    @contextmanager
    def _asking(self) -> Iterator[None]:
        own = using(self._engine) if self._engine is not None else nullcontext()
        with deadline(DEADLINE_SECONDS), self._app.app_context(), own:
            yield

    def standings(self, node_ids: Sequence[str]) -> dict[str, Standing]:
        """How each node stands; one that does not exist is left out. One query a thousand nodes, or two."""
        with self._asking():
            if self._reads is None:
                self._reads = StandingReads(current_engine())
            return self._reads.standings(node_ids)

    def nonces(self, environment_ids: Sequence[str]) -> dict[str, str]:
        """The nonce of each environment; one that does not exist is left out."""
        query = select(Environment.id, Environment.nonce).where(Environment.id.in_(environment_ids))
        with self._asking(), current_engine().connect() as connection:
            return {row.id: row.nonce for row in connection.execute(query)}

    def untold(self, environment_ids: Sequence[str]) -> set[str]:
        """The nodes of these environments that were not told yet of an action or request. Two queries."""
        here = Node.environment_id.in_(environment_ids)
        with self._asking(), Session(current_engine()) as session:
            return action_states.undelivered(session, here) | sample_offers.untold(session, here)

    def poll_interval_ms(self) -> int | None:
        """As it is set now; ``None`` if that is what every agent begins with."""
        with self._asking():
            interval_ms = server_settings.intervals().poll_interval_ms
        return interval_ms if interval_ms != DEFAULT_POLL_INTERVAL_MS else None

    def record_nudged(self, written: Sequence[tuple[str, str, datetime]]) -> None:
        """Note when nudges were written to sockets."""

        def about(prefix: str) -> list[tuple[str, str, datetime]]:
            return [
                (subject.removeprefix(prefix), node_id, when)
                for subject, node_id, when in written
                if subject.startswith(prefix)
            ]

        actions, requests = about(ACTION_SUBJECT), about(SAMPLE_SUBJECT)
        deploys = [each for each in written if not each[0].startswith(PREFIXES)]
        with self._asking():
            if deploys:
                deployments.record_nudged(deploys)
            if actions:
                action_states.record_pushed(actions)
            if requests:
                sample_offers.record_told(requests)

    def record_seen(self, node_ids: Sequence[str]) -> None:
        """Note that these nodes live."""
        now = utc_now()
        with self._asking():
            transaction(
                lambda session: (
                    session.execute(
                        update(Node)
                        .where(among(Node.__table__.c.id, "ids"), Node.last_seen_at < now)
                        .values(last_seen_at=now)
                        .execution_options(synchronize_session=False),
                        {"ids": listed(node_ids)},
                    )
                    and None
                )
            )

    def record_ended(self, spans: Sequence[Span]) -> None:
        """Add these channels to their nodes' histories."""
        with self._asking():
            channel_history.record(spans)

    def write_metrics(self) -> None:
        """Write down what this worker's heartbeats have said."""
        if metrics_history.is_waiting():
            with self._app.app_context():
                metrics_history.flush()

    def tidy_up(self) -> None:
        """Write down which actions and requests have expired, forget old ones and ghosts, bound histories."""
        with self._asking():
            action_waves.tidy_up()
            sample_results.tidy_up()
            now = time.monotonic()
            if now >= self._look_for_ghosts_at:
                # Looks at every node, so it is not asked each minute.
                self._look_for_ghosts_at = now + GHOST_LOOK_SECONDS
                enrollment.remove_ghosts()
        with self._app.app_context():
            retention.tidy_up()


def is_behind(
    wanted: assembly.NodePlan,
    running_revision: str | None,
    tried_revision: str | None,
    versions: dict[str, int | None],
) -> bool:
    """Whether a node has not yet done what it was told.

    Done is what runs and what was tried in vain; an agent that reports no revision is judged by *versions*,
    what it last reported per pipeline (hazard 8).
    """
    if running_revision is not None or tried_revision is not None:
        return wanted.revision not in (running_revision, tried_revision)
    return versions != {pipeline.pipeline_id: pipeline.version for pipeline in wanted.pipelines}


STANDING = (
    Node.environment_id,
    Environment.nonce,
    Environment.selectable_agent_labels,
    Node.operator_labels,
    Node.agent_labels,
    Node.maintenance_mode,
    Node.revoked_at,
    Node.running_revision,
    Node.tried_revision,
)
"""What, beside its id, a node is judged by when it may be behind."""


_NOW = bindparam("now", type_=UtcDateTime())
_IN_QUESTION: Any = (
    select(Node.id, *STANDING, action_states.has_undelivered(_NOW), sample_offers.has_untold(_NOW))
    .join(Environment, Environment.id == Node.environment_id)
    .where(among(Node.__table__.c.id, "ids"))
)
_Row = Sequence[Any]


class StandingReads:
    """Reads how nodes stand, over a connection of *engine* that is kept: thousands dial in the same moment."""

    def __init__(self, engine: Engine) -> None:
        self._connection = KeptConnection(engine)
        self._rows: GroupCall[str, _Row] = GroupCall(self._read)

    def _read(self, node_ids: Sequence[str]) -> Mapping[str, _Row]:
        parameters = {"ids": listed(node_ids), "now": utc_now()}
        return {row[0]: row for row in self._connection.rows(_IN_QUESTION, parameters)}

    def standings(self, node_ids: Sequence[str]) -> dict[str, Standing]:
        """How each node stands; one that does not exist is left out."""
        found = self._rows.ask_all(node_ids)
        rows = [_NodeRow(*row) for node_id in node_ids if (row := found.get(node_id)) is not None]
        silent = [row.id for row in rows if row.running_revision is None and row.tried_revision is None]
        versions = _reported_versions(silent) if silent else {}
        result = {}
        # One plan for each environment: rows of a nonce that a commit has just replaced would assemble again each.
        nonces = {row.environment_id: row.nonce for row in rows}
        plans = {
            environment_id: assembly.wanted_for(environment_id, nonce)
            for environment_id, nonce in nonces.items()
        }
        for row in rows:
            labels = assembly.selectable_labels(
                row.operator_labels, row.agent_labels, row.selectable_agent_labels
            )
            wanted = plans[row.environment_id].for_node(labels, row.maintenance_mode)
            result[row.id] = Standing(
                environment_id=row.environment_id,
                nonce=nonces[row.environment_id],
                is_welcome=row.revoked_at is None,
                wanted_revision=wanted.revision,
                is_behind=is_behind(
                    wanted, row.running_revision, row.tried_revision, versions.get(row.id, {})
                ),
                is_asked=bool(row.has_action or row.has_request),
            )
        return result


class _NodeRow(NamedTuple):
    """A row of ``_IN_QUESTION``."""

    id: str
    environment_id: str
    nonce: str
    selectable_agent_labels: list[str]
    operator_labels: Mapping[str, str]
    agent_labels: Mapping[str, str]
    maintenance_mode: bool
    revoked_at: datetime | None
    running_revision: str | None
    tried_revision: str | None
    has_action: bool
    has_request: bool


def _reported_versions(node_ids: Sequence[str]) -> dict[str, dict[str, int | None]]:
    """What each node last reported per pipeline."""
    query = select(NodePipeline.node_id, NodePipeline.pipeline_id, NodePipeline.version)
    versions: dict[str, dict[str, int | None]] = {node_id: {} for node_id in node_ids}
    with Session(current_engine()) as session:
        for node_id, pipeline_id, version in session.execute(query.where(NodePipeline.node_id.in_(node_ids))):
            versions[node_id][pipeline_id] = version
    return versions
