from agent.metrics import LARGEST_COUNTER, MOST_COMPONENTS, parse_metrics

REAL = """\
# HELP vector_component_received_events_total component_received_events_total
# TYPE vector_component_received_events_total counter
vector_component_received_events_total{component_id="in",component_kind="source",component_type="file",host="n1"} 12 1700000000000
vector_component_received_events_total{component_id="keep",component_kind="transform",component_type="filter",host="n1"} 12 1700000000000
vector_component_received_events_total{component_id="out",component_kind="sink",component_type="file",host="n1"} 7 1700000000000
vector_component_received_events_total{component_id="signalbox_agent_metrics",component_kind="source",component_type="internal_metrics"} 999
vector_component_sent_events_total{component_id="in",component_kind="source",component_type="file",output="_default"} 12
vector_component_sent_events_total{component_id="keep",component_kind="transform",component_type="filter",output="_default"} 7
vector_component_sent_events_total{component_id="out",component_kind="sink",component_type="file",output="a"} 3
vector_component_sent_events_total{component_id="out",component_kind="sink",component_type="file",output="b"} 4
vector_component_sent_events_total{component_id="signalbox_agent_exporter",component_kind="sink",component_type="prometheus_exporter"} 999
vector_component_received_bytes_total{component_id="in",component_kind="source",component_type="file"} 1.5e3
vector_component_sent_bytes_total{component_id="out",component_kind="sink",component_type="file"} 900
vector_component_errors_total{component_id="out",component_kind="sink",component_type="file",error_type="io",stage="sending"} 2
vector_component_errors_total{component_id="out",component_kind="sink",component_type="file",error_type="x",stage="sending"} 1
vector_component_discarded_events_total{component_id="keep",component_kind="transform",component_type="filter",intentional="true"} 5
vector_utilization{component_id="in",component_kind="source",component_type="file"} 0.25
vector_utilization{component_id="out",component_kind="sink",component_type="file"} 0.5
vector_build_info{version="0.50.0"} 1
vector_uptime_seconds 17
vector_component_received_event_bytes_total{component_id="in",component_kind="source",component_type="file"} 77777
vector_source_lag_time_seconds_bucket{component_id="in",component_kind="source",le="+Inf"} 12
"""  # noqa: E501  (as Vector prints it)


def test_the_counters_of_a_real_page_are_added_up() -> None:
    """In is what sources received, out is what sinks sent; our own two components do not count."""
    counters = parse_metrics(REAL)

    assert (counters.events_in, counters.events_out) == (12, 7)
    assert (counters.bytes_in, counters.bytes_out) == (1500, 900)
    assert (counters.errors, counters.discarded_events) == (3, 5)
    assert counters.utilization == 0.5
    assert sorted(counters.components) == ["in", "keep", "out"]
    keep = counters.components["keep"]
    assert (keep.kind, keep.received_events, keep.sent_events) == ("transform", 12, 7)


def test_names_may_lack_the_prefix_and_the_ending() -> None:
    """Vector's own exporters differ in both."""
    for name in (
        "vector_component_received_events_total",
        "vector_component_received_events",
        "component_received_events_total",
        "component_received_events",
    ):
        counters = parse_metrics(f'{name}{{component_id="in",component_kind="source"}} 3')
        assert counters.events_in == 3, name


def test_labels_may_hold_anything() -> None:
    """Quotes, backslashes, commas and braces in a label's value do not break the line apart."""
    line = (
        r'vector_component_sent_events_total{file="a\"}, b\\c",component_id="o\nx",component_kind="sink"} 3'
    )

    assert parse_metrics(line).components["o\nx"].sent_events == 3


def test_what_is_not_understood_is_passed_over() -> None:
    """One odd line costs that line and no other."""
    good = 'vector_component_sent_events_total{component_id="o",component_kind="sink"} 3'
    bad = [
        "<html>",
        "vector_component_sent_events_total",
        'vector_component_sent_events_total{component_id="o"',
        'vector_component_sent_events_total{component_id="o",component_kind="sink"} NaN',
        'vector_component_sent_events_total{component_id="o",component_kind="sink"} +Inf',
        'vector_component_sent_events_total{component_id="o",component_kind="sink"} -4',
        'vector_component_sent_events_total{component_id="o",component_kind="sink"} many',
        "vector_component_sent_events_total 9",
        "",
    ]

    assert parse_metrics("\n".join([*bad, good, *bad])).events_out == 3


def test_a_page_without_end_is_bounded() -> None:
    """A thousand components are not a thousand rows on the wire, nor does a counter outgrow 64 bits."""
    lines = [
        f'vector_component_sent_events_total{{component_id="c{n}",component_kind="sink"}} 1e300'
        for n in range(MOST_COMPONENTS + 500)
    ]

    counters = parse_metrics("\n".join(lines))

    assert len(counters.components) == MOST_COMPONENTS
    assert counters.components["c0"].sent_events == LARGEST_COUNTER


def test_nothing_counted_is_nothing() -> None:
    """A child that has just started has no page worth the name."""
    counters = parse_metrics("")

    assert (counters.events_in, counters.utilization, counters.components) == (0, None, {})
