"""How a pipeline's components connect, where they stand in its picture, and what goes along its edges."""

from app import graph_layout, pipeline_graph, pipeline_yaml
from app.component_rates import ComponentRates, with_rates
from app.pipeline_graph import Edge, Graph

YAML = """\
sources:
  a1: {type: demo_logs}
  a2: {type: demo_logs}
transforms:
  split:
    type: route
    inputs: ["a*"]
    route: {urgent: 'true'}
sinks:
  pager: {type: blackhole, inputs: [split.urgent]}
  archive: {type: blackhole, inputs: [split._unmatched, a1]}
"""


def graph_of(text: str) -> Graph:
    return pipeline_graph.of(pipeline_yaml.parse(text))


def test_wildcards_and_named_outputs_are_edges_of_their_components() -> None:
    """A wildcard is one edge for each component that it matches; a port belongs to its component."""
    assert graph_of(YAML).edges == [
        Edge("a1", "split"),
        Edge("a2", "split"),
        Edge("split", "pager", "urgent"),
        Edge("split", "archive", "_unmatched"),
        Edge("a1", "archive"),
    ]


def test_an_edge_tells_a_rate_only_where_the_counters_do() -> None:
    """A reader of one edge, or a writer of one output; never a guess about a port."""
    graph = graph_of(YAML)
    rates = {
        "a1": ComponentRates(sent=2.0),
        "split": ComponentRates(received=5.0, sent=5.0),
        "pager": ComponentRates(received=1.0),
        "archive": ComponentRates(received=6.0),
    }
    assert [graph.rate(edge, rates) for edge in graph.edges] == [2.0, None, 1.0, None, 2.0]


def test_boxes_stand_in_layers_and_do_not_overlap() -> None:
    """Every edge leads to the right, and nothing covers anything else, also where components form a cycle."""
    placed = graph_layout.place(graph_of(YAML))
    assert placed is not None
    assert placed.boxes["a1"][0] < placed.boxes["split"][0] < placed.boxes["pager"][0]
    assert placed.boxes["archive"][0] == placed.boxes["pager"][0]
    boxes = list(placed.boxes.values())
    for index, (x, y) in enumerate(boxes):
        assert x + graph_layout.WIDTH <= placed.width
        assert y + graph_layout.HEIGHT <= placed.height
        for other_x, other_y in boxes[:index]:
            assert x != other_x or abs(y - other_y) >= graph_layout.HEIGHT
    assert len(placed.paths) == 5
    cycle = "transforms:\n  a: {type: remap, inputs: [b]}\n  b: {type: remap, inputs: [a]}\n"
    assert graph_layout.place(graph_of(cycle)) is not None


def test_what_nobody_could_read_is_not_drawn() -> None:
    """Nor is what has no components."""
    many = "sources:\n" + "".join(f"  s{n}: {{type: file}}\n" for n in range(graph_layout.MAX_COMPONENTS + 1))
    assert graph_layout.place(graph_of(many)) is None
    assert graph_layout.place(graph_of("")) is None


def test_rates_of_components_come_from_two_heartbeats() -> None:
    """A counter that fell began again; one that was not there before has no rate yet."""
    before = [{"componentId": "a", "sentEvents": 100, "errorsTotal": 9}]
    now = [
        {"componentId": "a", "sentEvents": 150, "receivedEvents": 5, "errorsTotal": 4},
        {"componentId": "b", "sentEvents": 1},
    ]
    assert with_rates(before, now, 10.0) == [
        {
            "componentId": "a",
            "sentEvents": 150,
            "receivedEvents": 5,
            "errorsTotal": 4,
            "sentRate": 5.0,
            "errorsRate": 0.4,
        },
        {"componentId": "b", "sentEvents": 1},
    ]
