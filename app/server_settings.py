"""Settings that people change while the server runs: how often agents ask and report, how long history is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flask import current_app
from pydantic.alias_generators import to_camel
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from agent.protocol import Reason
from app import audit
from app.audit import Actor
from app.clock import utc_now
from app.config import Settings
from app.database import snapshot, transaction
from app.errors import ConflictError, InvalidInputError
from app.models import Setting
from app.push import messages
from app.switchboard_process import switchboard

LEAST_MS = 1000
MOST_MS = 24 * 3600 * 1000
SPREAD_MS_PER_NODE = 1
"""A change reaches the whole fleet at once; its fetches are spread so that no second has more than a thousand."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """What agents are told, in milliseconds."""

    poll_interval_ms: int
    idle_poll_interval_ms: int
    heartbeat_interval_ms: int
    idle_heartbeat_interval_ms: int

    def to_wire(self) -> dict[str, int]:
        """As fields of an answer."""
        return {to_camel(name): value for name, value in asdict(self).items()}


INTERVALS = tuple(to_camel(name) for name in Intervals.__slots__)
"""On the wire and in the table ``setting``."""


@dataclass(frozen=True, slots=True)
class Described:
    """One setting: all that a form and a check need to know of it. Its value is a whole number."""

    name: str
    """On the wire and in the table ``setting``."""
    label: str
    help: str
    unit: str
    """``milliseconds``, ``hours``, ``days`` or ``versions``."""
    least: int
    most: int
    default: int | Callable[[Settings], int]


def _interval(name: str, label: str, help: str) -> Described:
    def default(settings: Settings) -> int:
        value: int = getattr(settings, name)
        return value

    return Described(to_camel(name), label, help, "milliseconds", LEAST_MS, MOST_MS, default)


TABLE = (
    _interval(
        "poll_interval_ms",
        "Poll interval",
        "How often an agent without the push channel asks for its configuration.",
    ),
    _interval(
        "idle_poll_interval_ms",
        "Poll interval with the push channel",
        "How often an agent asks while its push channel is up.",
    ),
    _interval(
        "heartbeat_interval_ms", "Heartbeat interval", "How often an agent without the push channel reports."
    ),
    _interval(
        "idle_heartbeat_interval_ms",
        "Heartbeat interval with the push channel",
        "How often an agent reports while its push channel is up.",
    ),
    Described(
        "minuteMetricsHours",
        "Metrics by the minute",
        "How long each minute of a node's metrics is kept; the charts of an hour and of a day are drawn from these.",
        "hours",
        26,
        24 * 32,
        48,
    ),
    Described(
        "hourMetricsDays",
        "Metrics by the hour",
        "How long each hour of a node's metrics is kept; the chart of a week is drawn from these.",
        "days",
        8,
        400,
        35,
    ),
    Described(
        "dayMetricsDays",
        "Metrics by the day",
        "How long each day of a node's metrics is kept.",
        "days",
        32,
        3650,
        730,
    ),
    Described(
        "nodeLogDays",
        "Log lines of nodes",
        "How long the last lines of a pipeline are kept after the node has last reported it.",
        "days",
        1,
        3650,
        7,
    ),
    Described("sampleDays", "Samples", "How long sampled events are kept.", "days", 1, 365, 1),
    Described(
        "deploymentDays",
        "Deployments",
        "How long it is kept who deployed what, and how far it came; the last one of each pipeline stays.",
        "days",
        1,
        3650,
        180,
    ),
    Described(
        "versionsKept",
        "Versions of a pipeline",
        "How many of the latest are kept; one that is deployed, that a node runs, or that last ran well stays.",
        "versions",
        2,
        10_000,
        100,
    ),
    Described(
        "channelHistoryDays",
        "Push channels",
        "How long it is kept when a node's push channels began and ended.",
        "days",
        1,
        365,
        14,
    ),
    Described(
        "unseenNodeDays",
        "Remove nodes not seen",
        "Nodes not heard of for so many days are deleted, as in a group that scales by itself; 0 keeps all.",
        "days",
        0,
        3650,
        0,
    ),
)
"""Every setting that people change while the server runs; the audit log has no setting: it is never pruned."""


def intervals() -> Intervals:
    """The intervals as they are now: changed ones from the database, the others as the server was started."""
    settings: Settings = current_app.extensions["settings"]
    query = select(Setting.name, Setting.value).where(Setting.name.in_(INTERVALS))
    changed: dict[str, Any] = dict(snapshot(lambda session: session.execute(query).all()))
    return Intervals(
        **{name: int(changed.get(to_camel(name), getattr(settings, name))) for name in Intervals.__slots__}
    )


def values() -> dict[str, int]:
    """Every setting as it is now, in the order of ``TABLE``."""
    settings: Settings = current_app.extensions["settings"]
    query = select(Setting.name, Setting.value)
    changed: dict[str, Any] = dict(snapshot(lambda session: session.execute(query).all()))

    def default(each: Described) -> int:
        return each.default(settings) if callable(each.default) else each.default

    return {each.name: int(changed.get(each.name, default(each))) for each in TABLE}


def update(actor: Actor, wanted: Mapping[str, int]) -> dict[str, int]:
    """Change the settings in *wanted* (by their names on the wire), then tell whoever is connected.

    :raises InvalidInputError: a name is unknown or a value is out of its bounds.
    :raises ConflictError: somebody else made the same change first.
    """
    known = {each.name: each for each in TABLE}
    for name, value in wanted.items():
        each = known.get(name)
        if each is None or not each.least <= value <= each.most:
            message = (
                f"it is a number of {each.unit} from {each.least} to {each.most}"
                if each is not None
                else "there is no such setting"
            )
            raise InvalidInputError(
                f"The setting {name} cannot be used: {message}.", [{"field": name, "message": message}]
            )
    before = values()
    changed = {name: value for name, value in wanted.items() if before[name] != value}

    def work(session: Session) -> None:
        now = utc_now()
        for name, value in sorted(changed.items()):
            session.merge(Setting(name=name, value=value, updated_at=now))
        audit.record(
            session,
            actor,
            "settings.update",
            before={name: before[name] for name in changed},
            after=changed,
        )

    if changed:
        try:
            transaction(work)
        except IntegrityError:
            raise ConflictError(
                "Somebody else changed the same setting just now; nothing was changed."
            ) from None
        _tell(changed)
    return values()


def _tell(changed: Mapping[str, int]) -> None:
    node_ids = sorted(switchboard().connected() or ())
    if "pollIntervalMs" in changed:
        switchboard().nudge(node_ids, messages.poll_interval(changed["pollIntervalMs"]))
    if (changed.keys() & set(INTERVALS)) - {"pollIntervalMs"}:
        # The others stand in the config answer only.
        spread_ms = len(node_ids) * SPREAD_MS_PER_NODE
        switchboard().nudge(node_ids, messages.config_changed(Reason.RESYNC, spread_ms=spread_ms))
