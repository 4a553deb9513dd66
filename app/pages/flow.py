"""The picture of a pipeline's flow, as the templates draw it: boxes and edges with what goes through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from markupsafe import Markup
from sqlalchemy.orm import Session

from app import (
    component_rates,
    graph_layout,
    pipeline_graph,
    pipeline_standings,
    pipeline_yaml,
    server_settings,
)
from app.clock import utc_now
from app.component_rates import ComponentRates, Throughput
from app.database import snapshot
from app.models import Pipeline, PipelineVersion
from app.node_status import Clock
from app.pages import live, words
from app.pipeline_graph import Edge, Graph
from app.pipeline_standings import PipelineStanding

LONGEST_NAME = 21
LONGEST_PORT = 13
MAX_ROWS = 500
"""Components in the table beside the picture."""


@dataclass(frozen=True, slots=True)
class Box:
    """One component: where it stands (in pixels, if there is a picture), what it is and does."""

    name: str
    type: str
    kind: str
    inputs: tuple[str, ...]
    x: int
    y: int
    trouble: str
    """Such as ``12 errors, 0.5/s now``; empty where there is none."""
    discarded: str
    received: float | None
    sent: float | None
    label: str
    """All of it in words."""

    @property
    def short_name(self) -> str:
        """As much of the name as a box is wide."""
        return _short(self.name, LONGEST_NAME)

    @property
    def short_type(self) -> str:
        """As much of the type as a box is wide."""
        return _short(self.type or "no type", LONGEST_NAME + 2)


@dataclass(frozen=True, slots=True)
class Line:
    """One edge: its path, the middle of its end, its named output, and events a second."""

    path: str
    x: int
    y: int
    port: str
    rate: float | None
    is_flowing: bool


@dataclass(frozen=True, slots=True)
class Flow:
    """A whole picture; ``width`` is 0 where there are too many components to draw."""

    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    has_rates: bool = False
    left_out: int = 0
    """Components that the table does not show."""


def of(graph: Graph, throughput: Throughput | None = None) -> Flow:
    """The picture of *graph*, with what its nodes say if it runs."""
    rates = throughput.components if throughput else {}
    placed = graph_layout.place(graph)
    boxes = [
        _box(name, graph, rates.get(name), placed.boxes[name] if placed else (0, 0))
        for name in list(graph.components)[:MAX_ROWS]
    ]
    lines = [_line(edge, path, x, y, graph, rates) for edge, path, x, y in (placed.paths if placed else ())]
    return Flow(
        placed.width if placed else 0,
        placed.height if placed else 0,
        boxes,
        lines,
        throughput is not None,
        max(0, len(graph.components) - MAX_ROWS),
    )


def parts(pipeline: Pipeline) -> dict[str, Markup]:
    """The page's ``graph`` (of the deployed version, else of the draft) and ``glance``, as they are now."""
    number = pipeline.wanted_version
    heard_since = Clock(server_settings.intervals(), utc_now()).silent_before(None)

    def read(session: Session) -> tuple[PipelineVersion | None, Throughput | None, PipelineStanding]:
        standings = pipeline_standings.of_pipelines(session, [pipeline.id], heard_since)
        standing = standings.get(pipeline.id, PipelineStanding())
        if number is None:
            return None, None, standing
        version = session.get(PipelineVersion, (pipeline.id, number))
        return version, component_rates.of_pipeline(session, pipeline.id, number, heard_since), standing

    version, throughput, standing = snapshot(read)
    graph = _graph(version.config_yaml if version else pipeline.config_yaml)
    return {
        "graph": live.draw(
            "pipelines/graph.html",
            version=version.version if version else None,
            throughput=throughput,
            flow=draw(of(graph, throughput), "flow"),
        ),
        "glance": live.draw(
            "pipelines/glance.html",
            pipeline=pipeline,
            selector=version.node_selector if version else "",
            standing=standing,
        ),
    }


def standings(pipeline_ids: Sequence[str]) -> dict[str, PipelineStanding]:
    """How the nodes of these pipelines stand now; one that no node has is left out."""
    heard_since = Clock(server_settings.intervals(), utc_now()).silent_before(None)
    return snapshot(lambda session: pipeline_standings.of_pipelines(session, pipeline_ids, heard_since))


@lru_cache(maxsize=32)
def _graph(config_yaml: str) -> Graph:
    """Kept: an open page looks every two seconds, and to read the YAML takes longer than all the rest."""
    return pipeline_graph.of(pipeline_yaml.parse(config_yaml))


def draw(flow: Flow, prefix: str) -> Markup:
    """The picture and its table; ids begin with *prefix*, so that a page may show two."""
    return live.draw("pipelines/flow.html", flow=flow, prefix=prefix)


def _box(name: str, graph: Graph, rates: ComponentRates | None, at: tuple[int, int]) -> Box:
    component = graph.components[name]
    known = rates or ComponentRates()
    trouble = words.plural(known.errors, "error") if known.errors else ""
    if trouble and known.errors_rate:
        trouble += f", {words.rate(known.errors_rate)}/s now"
    discarded = f"{known.discarded:,} discarded" if known.discarded else ""
    said = [f"{name}, {component.kind} of type {component.type or 'unknown'}"]
    if component.kind != "source" and known.received is not None:
        said.append(f"{words.rate(known.received)} events a second in")
    if component.kind != "sink" and known.sent is not None:
        said.append(f"{words.rate(known.sent)} events a second out")
    said += [part for part in (trouble, discarded) if part]
    return Box(
        name,
        component.type,
        component.kind,
        component.inputs,
        *at,
        trouble,
        discarded,
        known.received if component.kind != "source" else None,
        known.sent if component.kind != "sink" else None,
        ", ".join(said),
    )


def _line(edge: Edge, path: str, x: int, y: int, graph: Graph, rates: dict[str, ComponentRates]) -> Line:
    rate = graph.rate(edge, rates)
    return Line(path, x, y, _short(edge.port, LONGEST_PORT), rate, bool(rate))


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
