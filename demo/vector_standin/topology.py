"""The running pipeline. Batches go from a source through the transforms to the sinks in one call, on one
thread: when a source's `emit` returns, every sink has written what came of it."""

import threading
import time
from functools import partial
from pathlib import Path

from . import log
from .checks import Part, Pipeline
from .component import Component, Place, Sink, Source, Transform
from .errors import ConfigurationError
from .events import Event
from .loop import Loop
from .metrics import Registry
from .taps import Tap


class Topology:
    def __init__(self, pipeline: Pipeline, loop: Loop) -> None:
        self._parts = pipeline.parts
        self._loop = loop
        self._registry = Registry()
        self._components: dict[str, Component] = {}
        self._consumers: dict[str, list[Component]] = {part.id: [] for part in pipeline.parts}
        self._running_sources: set[str] = set()
        self._taps: list[Tap] = []
        self._taps_lock = threading.Lock()
        for part in pipeline.parts:
            place = Place(
                loop=loop,
                registry=self._registry,
                data_dir=Path(pipeline.data_dir),
                deliver=partial(self._deliver, part.id),
                finished=partial(self._source_finished, part.id),
            )
            component = part.component(part.id, part.options, place)
            self._components[part.id] = component
            self._registry.components.append(component)
        for part in pipeline.parts:
            for source in part.inputs:
                self._consumers[source].append(self._components[part.id])

    def start(self) -> None:
        """Open the sinks, then the sources. Raises ConfigurationError if one cannot be opened."""
        refusals = []
        # Sinks come last in the list and must be ready first.
        for part in reversed(self._parts):
            component = self._components[part.id]
            try:
                if isinstance(component, Sink | Source):
                    component.start()
            except OSError as error:
                refusals.append(f"{part.name}: {error}")
            if isinstance(component, Source):
                self._running_sources.add(part.id)
        if refusals:
            raise ConfigurationError(refusals)

    def stop(self) -> None:
        """Stop the sources, then close the sinks. What was emitted has been written before."""
        for component in self._components.values():
            if isinstance(component, Source):
                component.stop()
        for component in self._components.values():
            if isinstance(component, Sink):
                component.close()

    def _source_finished(self, component_id: str) -> None:
        self._running_sources.discard(component_id)
        if not self._running_sources:
            log.info("vector::app", "All sources have finished.")
            self._loop.stop()

    def _deliver(self, component_id: str, events: list[Event]) -> None:
        component = self._components[component_id]
        component.counters.sent_events += len(events)
        for tap in self._taps:
            tap.offer(component, events)
        for consumer in self._consumers[component_id]:
            consumer.counters.received_events += len(events)
            started = time.perf_counter()
            passed: list[Event] = []
            if isinstance(consumer, Transform):
                passed = consumer.transform(events)
            elif isinstance(consumer, Sink):
                consumer.write(events)
            consumer.counters.busy_seconds += time.perf_counter() - started
            if passed:
                self._deliver(consumer.id, passed)

    # -- taps, from the threads of the API

    @property
    def parts(self) -> list[Part]:
        return self._parts

    def attach(self, tap: Tap) -> None:
        with self._taps_lock:
            # Replaced, not changed: the loop's thread may be going through it.
            self._taps = [*self._taps, tap]

    def detach(self, tap: Tap) -> None:
        with self._taps_lock:
            self._taps = [other for other in self._taps if other is not tap]
