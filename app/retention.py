"""What is kept for how long: history goes in small steps, in the background, by one worker at a time.

Each kind by its own setting (``app/server_settings.py``). The audit log is never pruned.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.orm import Session

from agent.protocol import CloseCode
from app import audit, enrollment, idempotency, metrics_history, outdated, server_settings, sessions
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.metrics_points import DAY, HOUR, MINUTE
from app.models import (
    AccountSession,
    Alert,
    ApiToken,
    ChannelSpan,
    Deployment,
    DeploymentNode,
    DeployRequest,
    MetricsBlock,
    Node,
    NodePipeline,
    Pipeline,
    PipelineVersion,
    SampleRequest,
    WebhookDelivery,
)
from app.switchboard_process import switchboard

ROWS_A_STEP = 200
STEPS_A_TURN = 20
"""Of each kind, once a minute: 4,000 rows a minute at most, and others write in between."""
PAUSE_SECONDS = 0.05
PRUNING = 0x5342_0002
"""PostgreSQL's advisory lock of whoever prunes; SQLite has one writer anyway."""
REMOVER = Actor("rule: nodes not seen")

log = logging.getLogger(__name__)

Step = Callable[[Session], int]
"""Deletes some rows; how many. Fewer than ``ROWS_A_STEP``: nothing is left."""


def tidy_up() -> None:
    """One turn: roll up what is over, prune what is old, remove nodes that the rule is about."""
    for _ in range(STEPS_A_TURN):
        if metrics_history.roll_up() == 0:
            break
        time.sleep(PAUSE_SECONDS)
    now, kept = utc_now(), server_settings.values()
    for name, step in steps(kept, now).items():
        count = prune(step)
        if count:
            log.info("pruned %s rows=%d", name, count)
    if kept["unseenNodeDays"]:
        remove_unseen(now - timedelta(days=kept["unseenNodeDays"]), kept["unseenNodeDays"])


def steps(kept: dict[str, int], now: datetime) -> dict[str, Step]:
    """What goes, by its name, when the settings are *kept*."""

    def ago(setting: str) -> datetime:
        return now - timedelta(days=kept[setting])

    return {
        "minutes": _blocks(MINUTE, now.timestamp() - kept["minuteMetricsHours"] * 3600),
        "hours": _blocks(HOUR, ago("hourMetricsDays").timestamp()),
        "days": _blocks(DAY, ago("dayMetricsDays").timestamp()),
        "log lines": _logs(ago("nodeLogDays")),
        "samples": _samples(ago("sampleDays")),
        "deployments": _deployments(ago("deploymentDays")),
        "versions": _versions(kept["versionsKept"]),
        "channels": _channels(ago("channelHistoryDays")),
        "idempotency keys": lambda session: idempotency.prune(session, ROWS_A_STEP),
        "webhook deliveries": _deliveries(ago("webhookDeliveryDays")),
        "sessions": _sessions(*sessions.last_moments(now, kept["sessionIdleHours"], kept["sessionDays"])),
        "alerts": _alerts(ago("alertDays")),
        "deploy requests": _rows(DeployRequest, outdated.deploy_requests(ago("deployRequestDays"))),
        "API tokens": _rows(ApiToken, outdated.api_tokens(ago("endedTokenDays"))),
    }


def prune(step: Step) -> int:
    """Run *step* until nothing is left, at most a turn's worth; how many rows."""

    def alone(session: Session) -> int:
        if session.get_bind().dialect.name == "postgresql" and not session.scalar(
            select(func.pg_try_advisory_xact_lock(PRUNING))
        ):
            return 0
        return step(session)

    rows = 0
    for _ in range(STEPS_A_TURN):
        done = transaction(alone)
        rows += done
        if done < ROWS_A_STEP:
            break
        time.sleep(PAUSE_SECONDS)
    return rows


def _blocks(level: int, before: float) -> Step:
    query = outdated.blocks(level, before).order_by(MetricsBlock.start).limit(ROWS_A_STEP)

    def step(session: Session) -> int:
        keys = session.execute(query).all()
        for start in {key.start for key in keys}:
            session.execute(
                delete(MetricsBlock).where(
                    MetricsBlock.level == level,
                    MetricsBlock.start == start,
                    MetricsBlock.node_id.in_([key.node_id for key in keys if key.start == start]),
                )
            )
        return len(keys)

    return step


def _logs(before: datetime) -> Step:
    query = outdated.logs(before).limit(ROWS_A_STEP)

    def step(session: Session) -> int:
        keys = session.execute(query).all()
        for key in keys:
            session.execute(
                update(NodePipeline)
                .where(
                    NodePipeline.node_id == key.node_id,
                    NodePipeline.pipeline_id == key.pipeline_id,
                    NodePipeline.reported_at < before,
                )
                .values(recent_logs=[])
            )
        return len(keys)

    return step


def _samples(before: datetime) -> Step:
    query = outdated.samples(before).limit(ROWS_A_STEP).with_for_update(skip_locked=True)

    def step(session: Session) -> int:
        ids = list(session.scalars(query))
        session.execute(delete(SampleRequest).where(SampleRequest.id.in_(ids)))
        return len(ids)

    return step


def _deployments(before: datetime) -> Step:
    query = outdated.deployments(before).order_by(Deployment.id).limit(1)

    def step(session: Session) -> int:
        chosen = session.scalar(query)
        if chosen is None:
            return 0
        # One may have reached ten thousand nodes: their rows first, and it when they are gone.
        nodes = list(
            session.scalars(
                select(DeploymentNode.node_id)
                .where(DeploymentNode.deployment_id == chosen)
                .limit(ROWS_A_STEP - 1)
            )
        )
        session.execute(
            delete(DeploymentNode).where(
                DeploymentNode.deployment_id == chosen, DeploymentNode.node_id.in_(nodes)
            )
        )
        if len(nodes) < ROWS_A_STEP - 1:
            session.execute(delete(Deployment).where(Deployment.id == chosen))
        return ROWS_A_STEP  # there may be another one

    return step


def _versions(kept: int) -> Step:
    query = outdated.versions(kept).limit(ROWS_A_STEP)

    def step(session: Session) -> int:
        keys = session.execute(query).all()
        for key in keys:
            # Looked at again in the same statement: a deploy may have wanted it meanwhile.
            wanted = select(Pipeline.wanted_version).where(Pipeline.id == key.pipeline_id).scalar_subquery()
            session.execute(
                delete(PipelineVersion).where(
                    PipelineVersion.pipeline_id == key.pipeline_id,
                    PipelineVersion.version == key.version,
                    func.coalesce(wanted, -1) != key.version,
                )
            )
        return len(keys)

    return step


def _channels(before: datetime) -> Step:
    query = outdated.channels(before).limit(ROWS_A_STEP)

    def step(session: Session) -> int:
        ids = list(session.scalars(query))
        session.execute(delete(ChannelSpan).where(ChannelSpan.id.in_(ids)))
        return len(ids)

    return step


def _deliveries(before: datetime) -> Step:
    def step(session: Session) -> int:
        ids = list(session.scalars(outdated.webhook_deliveries(before).limit(ROWS_A_STEP)))
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(ids)))
        return len(ids)

    return step


def _sessions(idle_before: datetime, begun_before: datetime) -> Step:
    def step(session: Session) -> int:
        ids = list(session.scalars(outdated.sessions(idle_before, begun_before).limit(ROWS_A_STEP)))
        session.execute(delete(AccountSession).where(AccountSession.id.in_(ids)))
        return len(ids)

    return step


def _alerts(before: datetime) -> Step:
    def step(session: Session) -> int:
        ids = list(session.scalars(outdated.alerts(before).limit(ROWS_A_STEP)))
        session.execute(delete(Alert).where(Alert.id.in_(ids)))
        return len(ids)

    return step


def _rows(model: type[DeployRequest] | type[ApiToken], ids: Select[str]) -> Step:
    """Rows of a table on which nothing hangs."""

    def step(session: Session) -> int:
        chosen = list(session.scalars(ids.limit(ROWS_A_STEP)))
        session.execute(delete(model).where(model.id.in_(chosen)))
        return len(chosen)

    return step


def remove_unseen(before: datetime, days: int) -> int:
    """Delete nodes that were last heard of before *before*, unless they are connected; how many.

    Not while nobody can say who is connected. One entry in the audit log for each environment, with how many.
    """
    oldest = outdated.nodes(before).order_by(Node.id).limit(ROWS_A_STEP)
    candidates = list(snapshot(lambda session: session.scalars(oldest).all()))
    presence = switchboard().presence(candidates) if candidates else {}
    gone = [node_id for node_id in candidates if presence[node_id].connected is False]

    def work(session: Session) -> list[tuple[str, str]]:
        rows = session.execute(
            select(Node.id, Node.environment_id, Node.name)
            .where(Node.id.in_(gone), before > outdated.SEEN)
            .order_by(Node.id)
            .with_for_update(of=Node, skip_locked=True)
        ).all()
        for environment_id in sorted({row.environment_id for row in rows}):
            names = [row.name for row in rows if row.environment_id == environment_id]
            audit.record(
                session,
                REMOVER,
                "nodes.remove_unseen",
                environment_id=environment_id,
                count=len(names),
                days=days,
                nodes=names,
            )
        session.flush()
        enrollment.delete_nodes(session, [row.id for row in rows])
        return [(row.id, row.environment_id) for row in rows]

    removed = transaction(work) if gone else []
    if removed:
        switchboard().close([node_id for node_id, _ in removed], CloseCode.POLICY, "revoked")
        for environment_id in {environment_id for _, environment_id in removed}:
            switchboard().publish_fleet_changed(
                environment_id, [node_id for node_id, where in removed if where == environment_id]
            )
        log.info("removed nodes not seen for days=%d count=%d", days, len(removed))
    return len(removed)
