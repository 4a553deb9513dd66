"""What every source, transform and sink is, and what it is given to run with."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from . import log
from .events import Event
from .fields import Fields
from .loop import Loop

if TYPE_CHECKING:
    from .metrics import Registry

LOG = frozenset({"Log"})
METRIC = frozenset({"Metric"})

# Vector mutes a message that repeats for as long.
REPEAT_SECONDS = 10.0


@dataclass
class Counters:
    """What one component has done since it started; errors by (type, stage), discards by intention."""

    received_events: int = 0
    received_bytes: int = 0
    sent_events: int = 0
    sent_bytes: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    discarded: Counter[bool] = field(default_factory=Counter)
    busy_seconds: float = 0.0


@dataclass
class Place:
    """Where a component runs. `deliver` hands a batch to whatever takes this component's output."""

    loop: Loop
    registry: "Registry"
    data_dir: Path
    deliver: Callable[[list[Event]], None]
    finished: Callable[[], None]


class Component:
    """The base of all: its class says what it is called and which options it takes."""

    kind: ClassVar[str]
    type: ClassVar[str]
    fields: ClassVar[Fields] = {}
    takes: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, component_id: str, options: dict[str, Any], place: Place) -> None:
        self.id = component_id
        self.options = options
        self.place = place
        self.counters = Counters()
        self._said: dict[str, float] = {}

    @classmethod
    def problems(cls, options: dict[str, Any]) -> tuple[list[str], list[str]]:
        """(refusals, warnings) about options whose shapes are right."""
        return [], []

    @classmethod
    def addresses(cls, options: dict[str, Any]) -> list[str]:
        """The TCP addresses that it will listen on."""
        return []

    @property
    def span(self) -> str:
        return (
            f'{self.kind}{{component_kind="{self.kind}" component_id={self.id} component_type={self.type}}}'
        )

    def report_error(self, message: str, error_type: str, stage: str, **details: object) -> None:
        """Count an error, and log it unless the same message stood there a moment ago."""
        self.counters.errors[error_type, stage] += 1
        now = time.monotonic()
        if now - self._said.get(message, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._said[message] = now
            log.error(
                f"vector::{self.kind}s::{self.type}",
                message,
                self.span,
                error_type=log.quote(error_type),
                stage=log.quote(stage),
                **details,
            )


class Source(Component):
    kind = "source"

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Take nothing more; keep what a restart needs."""

    def emit(self, events: list[Event]) -> None:
        """Count and deliver what was taken in."""
        if events:
            self.counters.received_events += len(events)
            self.place.deliver(events)


class Transform(Component):
    kind = "transform"

    def transform(self, events: list[Event]) -> list[Event]:
        raise NotImplementedError


class Sink(Component):
    kind = "sink"

    def start(self) -> None:
        """Open what `write` needs. Raises OSError if that cannot be had."""

    def write(self, events: list[Event]) -> None:
        """Write a batch: when it returns, what could be written has left this process."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing more will be written."""

    def sent(self, events: int, size: int) -> None:
        self.counters.sent_events += events
        self.counters.sent_bytes += size

    def lost(self, events: int, message: str, error: OSError) -> None:
        """Count events that could not be written."""
        self.counters.discarded[False] += events
        self.report_error(message, "io_failed", "sending", error=log.quote(error))
