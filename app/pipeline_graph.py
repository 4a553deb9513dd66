"""How events flow through a pipeline: its components and the edges between them, wildcards and ports resolved."""

from __future__ import annotations

from dataclasses import dataclass

from app import pipeline_yaml
from app.component_rates import ComponentRates
from app.pipeline_yaml import WILDCARD, Component, ParsedPipeline

MAX_EDGES = 2000
"""A graph with more shows its first ones."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Events of ``writer`` that ``reader`` reads; ``port`` is the named output, empty where it is the only one."""

    writer: str
    reader: str
    port: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """Components by name, in the order of the text, and each edge once."""

    components: dict[str, Component]
    edges: list[Edge]

    def rate(self, edge: Edge, rates: dict[str, ComponentRates]) -> float | None:
        """Events a second along *edge*, where the counters tell: ``None`` if they do not.

        Vector counts by component, not by edge: what a reader of one edge receives came along it, and a writer
        with one output sends all of it to each reader.
        """
        if sum(1 for each in self.edges if each.reader == edge.reader) == 1:
            known = rates.get(edge.reader)
            if known is not None and known.received is not None:
                return known.received
        if edge.port:
            return None
        known = rates.get(edge.writer)
        return known.sent if known is not None else None


def of(parsed: ParsedPipeline) -> Graph:
    """The graph of what could be understood; inputs that name nothing have no edge."""
    outputs = [name for name, component in parsed.components.items() if component.kind != "sink"]
    known = set(outputs)
    edges: dict[Edge, None] = {}
    wildcards: dict[str, list[str]] = {}
    for name, component in parsed.components.items():
        for text in component.inputs:
            if len(edges) >= MAX_EDGES:
                break
            owner, _, port = text.partition(".")
            if WILDCARD.search(text):
                if text not in wildcards and len(wildcards) < pipeline_yaml.MAX_WILDCARDS:
                    wildcards[text] = pipeline_yaml.expand(text, outputs)
                for found in wildcards.get(text, ()):
                    if found != name:
                        edges.setdefault(Edge(found, name, port))
            elif owner in known:
                edges.setdefault(Edge(owner, name, port))
    return Graph(parsed.components, list(edges))
