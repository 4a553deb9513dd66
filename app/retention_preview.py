"""What lower settings of retention would remove: counted before they are saved, without removing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app import outdated
from app.clock import utc_now
from app.database import snapshot
from app.metrics_points import DAY, HOUR, MINUTE
from app.switchboard_process import switchboard

MOST_COUNTED = 10_000
"""Of each kind; what is beyond is said to be more."""
UNSEEN = "unseenNodeDays"


@dataclass(frozen=True, slots=True)
class Loss:
    """What one setting would remove."""

    setting: str
    count: int | None
    """``None``: nobody can say, since Redis is away."""
    is_more: bool = False
    """Whether there is more than was counted."""


def losses(before: Mapping[str, int], wanted: Mapping[str, int]) -> list[Loss]:
    """For each setting of *wanted* that keeps less than in *before*, how much that removes, by *wanted*'s order."""
    now = utc_now()
    lowered = [
        name for name, value in wanted.items() if name in before and _is_less(name, before[name], value)
    ]
    queries = {name: query for name in lowered if (query := _query(name, wanted[name], now)) is not None}

    def read(session: Session) -> list[Loss]:
        return [_count(session, name, query) for name, query in queries.items()]

    found = snapshot(read) if queries else []
    if UNSEEN in lowered:
        found.append(_unseen(now - timedelta(days=wanted[UNSEEN])))
    return found


def _is_less(name: str, before: int, after: int) -> bool:
    """Whether less is kept; nodes are kept for ever by 0."""
    if name == UNSEEN:
        return after != 0 and (before == 0 or after < before)
    return after < before


def _query(name: str, value: int, now: datetime) -> Select[*tuple[Any, ...]] | None:
    """The keys of what goes; ``None`` for a setting that removes no history."""
    ago = now - timedelta(days=value)
    match name:
        case "minuteMetricsHours":
            return outdated.blocks(MINUTE, now.timestamp() - value * 3600)
        case "hourMetricsDays":
            return outdated.blocks(HOUR, ago.timestamp())
        case "dayMetricsDays":
            return outdated.blocks(DAY, ago.timestamp())
        case "nodeLogDays":
            return outdated.logs(ago)
        case "sampleDays":
            return outdated.samples(ago)
        case "deploymentDays":
            return outdated.deployments(ago)
        case "versionsKept":
            return outdated.versions(value)
        case "channelHistoryDays":
            return outdated.channels(ago)
        case "webhookDeliveryDays":
            return outdated.webhook_deliveries(ago)
        case "sessionIdleHours":
            return outdated.sessions(idle_before=now - timedelta(hours=value))
        case "sessionDays":
            return outdated.sessions(begun_before=ago)
        case "alertDays":
            return outdated.alerts(ago)
        case "deployRequestDays":
            return outdated.deploy_requests(ago)
        case "endedTokenDays":
            return outdated.api_tokens(ago)
    return None


def _count(session: Session, name: str, query: Select[*tuple[Any, ...]]) -> Loss:
    some = query.limit(MOST_COUNTED + 1).subquery()
    count = session.scalar(select(func.count()).select_from(some)) or 0
    return Loss(name, min(count, MOST_COUNTED), count > MOST_COUNTED)


def _unseen(before: datetime) -> Loss:
    """As ``retention.remove_unseen``, which spares who is connected."""
    query = outdated.nodes(before).limit(MOST_COUNTED + 1)
    ids = snapshot(lambda session: session.scalars(query).all())
    presence = switchboard().presence(list(ids)) if ids else {}
    if any(each.connected is None for each in presence.values()):
        return Loss(UNSEEN, None)
    gone = [node_id for node_id in ids if not presence[node_id].connected]
    return Loss(UNSEEN, min(len(gone), MOST_COUNTED), len(ids) > MOST_COUNTED)
