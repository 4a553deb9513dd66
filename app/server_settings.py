"""Settings that people change while the server runs: how often agents ask and report, how long history is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from pydantic.alias_generators import to_camel
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from agent.protocol import Reason
from app import audit, preconditions
from app.audit import Actor
from app.clock import utc_now
from app.config import Settings
from app.database import snapshot, transaction
from app.errors import Detail, InvalidInputError
from app.fleet_size import stretched_ms
from app.models import AuditEntry, Setting
from app.push import messages
from app.switchboard_process import switchboard

LEAST_MS = 1000
MOST_MS = 24 * 3600 * 1000
CHANGED = "settings.update"
"""The audit log's word for it."""
ENTRIES_READ = 500
"""How far back it is looked for who changed a setting."""
MOST_SESSION_DAYS = 90
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
        return {to_camel(name): getattr(self, name) for name in self.__slots__}


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

    @property
    def bounds(self) -> str:
        """What it can be, to be said of another value."""
        return f"it is a number of {self.unit} from {self.least} to {self.most}"

    def default_of(self, settings: Settings) -> int:
        """What it is where nobody has changed it."""
        return self.default(settings) if callable(self.default) else self.default


@dataclass(frozen=True, slots=True)
class Change:
    """The last change of a setting."""

    at: datetime
    by: str | None
    """As the audit log has it; ``None`` where that is too long ago."""


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
        "heartbeat_interval_ms",
        "Heartbeat interval",
        "How often an agent without the push channel reports; a large fleet does so less often by itself.",
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
        "webhookDeliveryDays",
        "Webhook deliveries",
        "How long it is kept what was sent to webhooks, and how that went; what waits stays.",
        "days",
        1,
        365,
        14,
    ),
    Described(
        "sessionIdleHours",
        "Sessions that nobody uses",
        "After how long without a request whoever has signed in must do so again; an open live page makes requests.",
        "hours",
        1,
        24 * 30,
        12,
    ),
    Described(
        "sessionDays",
        "Sessions",
        "After how long whoever has signed in must do so again, however busy they were.",
        "days",
        1,
        MOST_SESSION_DAYS,
        14,
    ),
    Described(
        "alertDays",
        "Alerts",
        "How long it is kept what has fired, after it was resolved; what fires stays.",
        "days",
        1,
        3650,
        90,
    ),
    Described(
        "deployRequestHours",
        "Requests to deploy",
        "How long a request to deploy in a protected environment waits for somebody to approve it.",
        "hours",
        1,
        24 * 30,
        24,
    ),
    Described(
        "deployRequestDays",
        "Decided requests to deploy",
        "How long it is kept who asked for which deploy, and who decided; what is still open stays.",
        "days",
        1,
        3650,
        180,
    ),
    Described(
        "endedTokenDays",
        "Ended API tokens",
        "How long API tokens that were revoked or have expired are still listed.",
        "days",
        1,
        3650,
        90,
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
    """The intervals as agents are told them: changed ones from the database, the others as the server was started."""
    query = select(Setting.name, Setting.value).where(Setting.name.in_(INTERVALS))
    changed: dict[str, int] = dict(snapshot(lambda session: session.execute(query).all()))
    return intervals_with(tuple(changed.get(name) for name in INTERVALS))


def intervals_with(changed: Sequence[int | None]) -> Intervals:
    """The intervals, of which the database has *changed* in the order of ``INTERVALS`` (``None``: not this one).

    Those of heartbeats are stretched where the fleet is so large that it would report more often than its budget
    allows: as if all nodes had the channel for the one, and as if none had for the other.
    """
    settings: Settings = current_app.extensions["settings"]
    defaults = (getattr(settings, name) for name in Intervals.__slots__)
    poll, idle_poll, *heartbeats = (
        default if value is None else int(value) for value, default in zip(changed, defaults, strict=True)
    )
    nodes = current_app.extensions["reconnect_spread"].fleet_size.nodes()
    return Intervals(
        poll, idle_poll, *(stretched_ms(each, nodes, settings.heartbeat_budget) for each in heartbeats)
    )


def values() -> dict[str, int]:
    """Every setting as it is now, in the order of ``TABLE``."""
    return snapshot(_values)


def _values(session: Session) -> dict[str, int]:
    settings: Settings = current_app.extensions["settings"]
    changed: dict[str, Any] = dict(iter(session.execute(select(Setting.name, Setting.value))))
    return {each.name: int(changed.get(each.name, each.default_of(settings))) for each in TABLE}


def values_in(session: Session, *wanted: str) -> tuple[int, ...]:
    """Some settings as they are for *session*'s transaction, in the order in which they are *wanted*."""
    settings: Settings = current_app.extensions["settings"]
    query = select(Setting.name, Setting.value).where(Setting.name.in_(wanted))
    changed: dict[str, Any] = dict(iter(session.execute(query)))
    defaults = {each.name: each.default_of(settings) for each in TABLE if each.name in wanted}
    return tuple(int(changed.get(name, defaults[name])) for name in wanted)


def last_changes() -> dict[str, Change]:
    """For each setting that was ever changed, when that was last, and by whom."""

    def read(session: Session) -> dict[str, Change]:
        changed = dict(iter(session.execute(select(Setting.name, Setting.updated_at))))
        entries = session.execute(
            select(AuditEntry.actor, AuditEntry.detail)
            .where(AuditEntry.action == CHANGED)
            .order_by(AuditEntry.id.desc())
            .limit(ENTRIES_READ)
        )
        by: dict[str, str] = {}
        for actor, detail in entries:
            for name in detail.get("after", {}):
                by.setdefault(name, actor)
        return {name: Change(at, by.get(name)) for name, at in changed.items()}

    return snapshot(read)


def problems(wanted: Mapping[str, int]) -> list[Detail]:
    """Why some of *wanted* cannot be used: each with the setting's name as its field."""
    known = {each.name: each for each in TABLE}
    found: list[Detail] = []
    for name, value in wanted.items():
        each = known.get(name)
        if each is None:
            found.append({"field": name, "message": "there is no such setting"})
        elif not each.least <= value <= each.most:
            found.append({"field": name, "message": each.bounds})
    return found


def update(actor: Actor, wanted: Mapping[str, int]) -> dict[str, int]:
    """Change the settings in *wanted* (by their names on the wire), then tell whoever is connected.

    :raises InvalidInputError: a name is unknown or a value is out of its bounds.
    """
    refused = problems(wanted)
    if refused:
        name, message = refused[0]["field"], refused[0]["message"]
        raise InvalidInputError(f"The setting {name} cannot be used: {message}.", refused)

    def work(session: Session) -> dict[str, int]:
        if session.get_bind().dialect.name == "postgresql":
            # One after the other, also where a setting has no row yet. SQLite has one writer anyway.
            session.execute(text("LOCK TABLE setting IN SHARE ROW EXCLUSIVE MODE"))
        before = _values(session)
        preconditions.check(edit_revision(before))
        changed = {name: value for name, value in wanted.items() if before[name] != value}
        if not changed:
            return changed
        now = utc_now()
        for name, value in sorted(changed.items()):
            session.merge(Setting(name=name, value=value, updated_at=now))
        audit.record(
            session,
            actor,
            CHANGED,
            before={name: before[name] for name in changed},
            after=changed,
        )
        return changed

    changed = transaction(work)
    if changed:
        _tell(changed)
    return values()


def edit_revision(values: Mapping[str, int]) -> str:
    """Another one for each set of values."""
    return preconditions.revision_of(dict(values))


def _tell(changed: Mapping[str, int]) -> None:
    node_ids = sorted(switchboard().connected() or ())
    if "pollIntervalMs" in changed:
        switchboard().nudge(node_ids, messages.poll_interval(changed["pollIntervalMs"]))
    if (changed.keys() & set(INTERVALS)) - {"pollIntervalMs"}:
        # The others stand in the config answer only.
        spread_ms = len(node_ids) * SPREAD_MS_PER_NODE
        switchboard().nudge(node_ids, messages.config_changed(Reason.RESYNC, spread_ms=spread_ms))
