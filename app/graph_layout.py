"""Where the components of a graph stand in its picture: in layers from left to right, with few crossings."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from app.pipeline_graph import Edge, Graph

WIDTH, HEIGHT = 176, 58
"""Of a box, in CSS pixels."""
GAP_X, GAP_Y = 92, 22
MARGIN = 12
MAX_COMPONENTS = 120
MAX_EDGES = 300
SWEEPS = 4

Key = tuple[str, int]
"""A component (with 0), or where an edge passes a layer (its number from 1)."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A picture's size, the upper left corner of each box, and each edge's path with the middle of its end."""

    width: int
    height: int
    boxes: dict[str, tuple[int, int]]
    paths: list[tuple[Edge, str, int, int]]


def place(graph: Graph) -> Placed | None:
    """``None`` where there are too many components or edges for a picture that anybody could read."""
    if not graph.components or len(graph.components) > MAX_COMPONENTS or len(graph.edges) > MAX_EDGES:
        return None
    layer = _layers(graph.components, graph.edges)
    rows: list[list[Key]] = [[] for _ in range(max(layer.values()) + 1)]
    for name in graph.components:
        rows[layer[name]].append((name, 0))
    chains = _chains(graph.edges, layer, rows)
    _order(rows, chains)
    y = _heights(rows, chains)
    boxes = {name: (MARGIN + layer[name] * (WIDTH + GAP_X), y[name, 0]) for name in graph.components}
    height = max(y[key] + _height(key) for row in rows for key in row) + MARGIN
    width = 2 * MARGIN + len(rows) * WIDTH + (len(rows) - 1) * GAP_X
    return Placed(width, height, boxes, [_path(edge, chain, layer, y) for edge, chain in chains])


def _layers(components: Iterable[str], edges: Sequence[Edge]) -> dict[str, int]:
    """For each component the longest way to it; an edge that closes a cycle does not count."""
    layer = dict.fromkeys(components, 0)
    readers: dict[str, list[str]] = {name: [] for name in layer}
    waits = dict.fromkeys(layer, 0)
    for writer, reader in dict.fromkeys((edge.writer, edge.reader) for edge in edges):
        readers[writer].append(reader)
        waits[reader] += 1
    ready = [name for name in layer if waits[name] == 0]
    done: set[str] = set()
    while len(done) < len(layer):
        if not ready:  # a cycle: it is entered where it comes first
            ready = [next(name for name in layer if name not in done)]
        name = ready.pop(0)
        if name in done:
            continue
        done.add(name)
        for reader in readers[name]:
            if reader not in done:
                layer[reader] = max(layer[reader], layer[name] + 1)
                waits[reader] -= 1
                if waits[reader] == 0:
                    ready.append(reader)
    return layer


def _chains(
    edges: Sequence[Edge], layer: dict[str, int], rows: list[list[Key]]
) -> list[tuple[Edge, list[Key]]]:
    """Each edge with the places that it passes; in the layers between its ends room is kept for it."""
    chains = []
    for number, edge in enumerate(edges, 1):
        passed: list[Key] = []
        for between in range(layer[edge.writer] + 1, layer[edge.reader]):
            key = (f"{edge.writer} {between}", number)
            rows[between].append(key)
            passed.append(key)
        chains.append((edge, [(edge.writer, 0), *passed, (edge.reader, 0)]))
    return chains


def _order(rows: list[list[Key]], chains: list[tuple[Edge, list[Key]]]) -> None:
    """Sort each layer by where its neighbours stand, some times there and back."""
    before: dict[Key, list[Key]] = {}
    after: dict[Key, list[Key]] = {}
    for _, chain in chains:
        for left, right in itertools.pairwise(chain):
            before.setdefault(right, []).append(left)
            after.setdefault(left, []).append(right)
    for sweep in range(SWEEPS):
        neighbours, order = (before, rows) if sweep % 2 == 0 else (after, rows[::-1])
        position: dict[Key, float] = {}
        for row in order:
            for index, key in enumerate(list(row)):
                own = [position[each] for each in neighbours.get(key, ()) if each in position]
                position[key] = sum(own) / len(own) if own else index
            row.sort(key=lambda key: position[key])
            position.update((key, index) for index, key in enumerate(row))


def _heights(rows: list[list[Key]], chains: list[tuple[Edge, list[Key]]]) -> dict[Key, int]:
    """The upper edge of everything: below what stands above it, else level with what it reads from."""
    before: dict[Key, list[Key]] = {}
    for _, chain in chains:
        for left, right in itertools.pairwise(chain):
            before.setdefault(right, []).append(left)
    y: dict[Key, int] = {}
    for row in rows:
        free = MARGIN
        for key in row:
            own = [y[each] for each in before.get(key, ()) if each in y]
            y[key] = max(free, sum(own) // len(own) if own else free)
            free = y[key] + _height(key) + GAP_Y
    return y


def _height(key: Key) -> int:
    """An edge that passes needs less room than a box."""
    return HEIGHT if key[1] == 0 else HEIGHT // 2


def _path(
    edge: Edge, chain: list[Key], layer: dict[str, int], y: dict[Key, int]
) -> tuple[Edge, str, int, int]:
    start = MARGIN + layer[edge.writer] * (WIDTH + GAP_X) + WIDTH
    points = [(start, y[chain[0]] + HEIGHT // 2)]
    for index, key in enumerate(chain[1:-1], 1):
        left = start + index * (WIDTH + GAP_X) - WIDTH
        level = y[key] + HEIGHT // 4
        points += [(left, level), (left + WIDTH, level)]
    points.append((MARGIN + layer[edge.reader] * (WIDTH + GAP_X), y[chain[-1]] + HEIGHT // 2))
    words = [f"M{points[0][0]} {points[0][1]}"]
    for (x1, y1), (x2, y2) in itertools.pairwise(points):
        bend = max(24, abs(x2 - x1) // 2) if y1 != y2 or x2 < x1 else 0
        words.append(f"C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}" if bend else f"L{x2} {y2}")
    (x1, y1), (x2, y2) = points[-2:]
    return edge, " ".join(words), (x1 + x2) // 2, (y1 + y2) // 2
