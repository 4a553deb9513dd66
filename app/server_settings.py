"""The settings that people change while the server runs: how often agents ask and report."""

from __future__ import annotations

from collections.abc import Mapping
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


NAMES = tuple(to_camel(name) for name in Intervals.__slots__)
"""On the wire and in the table ``setting``."""


def intervals() -> Intervals:
    """The intervals as they are now: changed ones from the database, the others as the server was started."""
    settings: Settings = current_app.extensions["settings"]
    query = select(Setting.name, Setting.value).where(Setting.name.in_(NAMES))
    changed: dict[str, Any] = dict(snapshot(lambda session: session.execute(query).all()))
    return Intervals(
        **{name: int(changed.get(to_camel(name), getattr(settings, name))) for name in Intervals.__slots__}
    )


def update(actor: Actor, wanted: Mapping[str, int]) -> Intervals:
    """Change the intervals in *wanted* (by their names on the wire), then tell whoever is connected.

    :raises InvalidInputError: a name is unknown or a value is outside of one second to one day.
    :raises ConflictError: somebody else made the same change first.
    """
    for name, value in wanted.items():
        if name not in NAMES or not LEAST_MS <= value <= MOST_MS:
            message = f"it is a number of milliseconds from {LEAST_MS} to {MOST_MS}"
            raise InvalidInputError(
                f"The setting {name} cannot be used: {message}.", [{"field": name, "message": message}]
            )
    before = intervals().to_wire()
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
    return intervals()


def _tell(changed: Mapping[str, int]) -> None:
    node_ids = sorted(switchboard().connected() or ())
    if "pollIntervalMs" in changed:
        switchboard().nudge(node_ids, messages.poll_interval(changed["pollIntervalMs"]))
    if changed.keys() - {"pollIntervalMs"}:
        # The others stand in the config answer only.
        spread_ms = len(node_ids) * SPREAD_MS_PER_NODE
        switchboard().nudge(node_ids, messages.config_changed(Reason.RESYNC, spread_ms=spread_ms))
