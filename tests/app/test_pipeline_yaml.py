"""What a pipeline's YAML says, and that what is surely wrong is refused with its component and line."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app import pipeline_yaml
from app.pipeline_yaml import Component, Problem

GOOD = """\
sources:
  requests:
    type: file
    include: [/var/log/access.log]
transforms:
  route:
    type: route
    inputs: [requests]
  keep:
    type: filter
    inputs: ["req*"]
sinks:
  out:
    type: file
    inputs:
      - keep
      - route.errors
      - route.*
"""
END = "\nsinks: {out: {type: x, inputs: [a]}}\n"


def problems(config_yaml: str) -> list[Problem]:
    return pipeline_yaml.parse(config_yaml).problems


def test_a_good_pipeline_is_understood() -> None:
    """Each component with its kind, type, inputs as written and line; nothing is wrong."""
    parsed = pipeline_yaml.parse(GOOD)
    assert parsed.problems == []
    assert parsed.components == {
        "requests": Component("source", "file", (), 2),
        "route": Component("transform", "route", ("requests",), 6),
        "keep": Component("transform", "filter", ("req*",), 9),
        "out": Component("sink", "file", ("keep", "route.errors", "route.*"), 13),
    }
    assert parsed.tree["sources"]["requests"]["include"] == ["/var/log/access.log"]


@pytest.mark.parametrize(
    ("text", "message", "component", "line"),
    [
        ("", "empty", None, None),
        ("# nothing\n", "empty", None, None),
        ("just text", "must be a mapping", None, 1),
        ("- a\n- b\n", "must be a mapping", None, 1),
        ("sources: [\n", "cannot be read", None, 2),
        ("a: 1\n  b: 2\n", "cannot be read", None, 2),
        ("a: \x07", "U+0007", None, 1),
        ("a: 1\n---\nb: 2\n", "more than one document", None, 2),
        ("sources: {a: !!python/object/apply:os.system [id]}\n", "tag", None, 1),
        ("sources: {a: !ruby/object {}}\n", "tag", None, 1),
        ("sources: *nowhere\n", "names no anchor", None, 1),
        ("sources: &a\n  b: *a\n", "inside its own anchor", None, 2),
        ("? [a]\n: b\n", "key must be a text", None, 1),
        ("sources:\n  a: {type: x}\n  a: {type: y}" + END, "first on line 2", "a", 3),
        ("sources:\n  a:\n    type: x\n    type: y" + END, "first on line 3", "a", 4),
        ("sources: {a: {type: x}}\nsources: {b: {type: x}}" + END, "first on line 1", None, 2),
        ("sources:\n  a: {type: x}\ntransforms:\n  a: {type: y, inputs: [a]}" + END, "on line 2", "a", 4),
        ("sources: {a: {type: x}, out: {type: x}}" + END, "already a source", "out", 2),
        ("sources:\n  a: {include: x}" + END, "has no type", "a", 2),
        ("sources:\n  a: {type: [x]}" + END, "no text", "a", 2),
        ("sources:\n  a: 5" + END, "must be a mapping", "a", 2),
        ("sources: 5" + END, "must be a mapping", None, 1),
        ("sources:\n  a.b: {type: x}" + END, "cannot be the name", "a.b", 2),
        ("sources:\n  'a*': {type: x}" + END, "cannot be the name", "a*", 2),
        ("sinks: {out: {type: x, inputs: [a]}}", "no sources", None, None),
        ("sources: {a: {type: x}}", "no sinks", None, None),
        ("sources: {a: {type: x}}\nsinks:\n  out: {type: x}", "no inputs", "out", 3),
        ("sources: {a: {type: x}}\nsinks:\n  out: {type: x, inputs: []}", "no inputs", "out", 3),
        ("sources: {a: {type: x}}\nsinks:\n  out: {type: x, inputs: a}", "list of names", "out", 3),
        ("sources: {a: {type: x}}\nsinks:\n  out: {type: x, inputs: [1]}", "list of names", "out", 3),
        ("source: {a: {type: x}}", 'it is called "sources"', None, 1),
        ("sources: {a: {type: x}}\nsinks:\n  o:\n    type: x\n    inputs: [b]", '"b" is no source', "o", 5),
        ("sources: {logs: {type: x}}\nsinks:\n  o: {type: x, inputs: [log]}", 'did you mean "logs"', "o", 3),
        ("sources: {a: {type: x}}\nsinks:\n  o: {type: x, inputs: ['b*']}", "matches no source", "o", 3),
        ("sources: {a: {type: x}}\nsinks:\n  o: {type: x, inputs: [b.port]}", "is no source", "o", 3),
        ("sources: {a: {type: x}}\nsinks:\n  o: {type: x, inputs: [o]}", "have no output", "o", 3),
        ("a: " + "[" * 60 + "]" * 60, "levels deep", None, 1),
        ("a: " + "x" * (512 * 1024), "larger than 512 KiB", None, None),
    ],
)
def test_what_is_surely_wrong_is_said_with_its_place(
    text: str, message: str, component: str | None, line: int | None
) -> None:
    """One problem names the message, the component and the line, counted from 1."""
    found = problems(text)
    assert any(
        message in each.message and each.component == component and each.line == line for each in found
    ), found


def test_a_cycle_is_said_once_in_the_order_in_which_events_would_flow() -> None:
    """The components that feed each other are named; those that only read from them are not."""
    found = problems(
        "sources: {s: {type: x}}\n"
        "transforms:\n"
        "  a: {type: x, inputs: [s, c]}\n"
        "  b: {type: x, inputs: [a]}\n"
        "  c: {type: x, inputs: [b]}\n"
        "sinks: {out: {type: x, inputs: [c]}}\n"
    )
    assert [each.message for each in found] == ['the components form a cycle: "a" → "b" → "c" → "a"']
    assert found[0].component == "b"
    assert found[0].line == 4


def test_a_component_that_reads_itself_is_a_cycle_but_a_wildcard_leaves_it_out() -> None:
    """Vector's wildcards never match the component whose inputs they stand in."""
    text = "sources: {s: {type: x}}\ntransforms: {t: {type: x, inputs: [INPUT]}}\nsinks: {o: {type: x, inputs: [t]}}"
    assert "cycle" in problems(text.replace("INPUT", "t"))[0].message
    assert problems(text.replace("INPUT", "'*'")) == []


def test_anchors_and_merges_are_followed() -> None:
    """`<<` merges as in Vector: what is written beside it wins, and the merged part counts."""
    parsed = pipeline_yaml.parse(
        "sources: {a: {type: x}}\n"
        "sinks:\n"
        "  one: &sink {type: file, inputs: [a], path: /one}\n"
        "  two: {<<: *sink, path: /two}\n"
    )
    assert parsed.problems == []
    assert parsed.tree["sinks"]["two"] == {"type": "file", "inputs": ["a"], "path": "/two"}


def test_plain_words_mean_what_they_mean_to_vector() -> None:
    """YAML 1.2: `on` and `yes` are texts, as keys and as values; numbers and null are what they look like."""
    tree = pipeline_yaml.parse("on: yes\nn: [1, 0x10, -1.5, 1e3, true, null, ~, '1', 1_0, 0755]\n").tree
    assert tree == {"on": "yes", "n": [1, 16, -1.5, 1000.0, True, None, None, "1", "1_0", "0755"]}


def test_a_memory_table_that_offers_a_source_may_be_read() -> None:
    """Vector's memory enrichment tables are a source under the name in their `source_config`."""
    table = "enrichment_tables: {m: {type: memory, inputs: [a], source_config: {source_key: dump}}}\n"
    text = "sources: {a: {type: x}}\nsinks: {o: {type: x, inputs: [dump]}}\n"
    assert problems(table + text) == []
    assert problems(text) != []


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        bomb(12),
        "[" * 500_000,
        "{" * 500_000,
        "- " * 250_000,
        "- 1\n" * 120_000,
        "k: 1\n" * 100_000,
        "a: &a [" + "x," * 20_000 + "]\nb: [*a, *a, *a, *a]",
        '"' + "a" * 500_000,
    ],
    ids=["bomb", "lists", "mappings", "dashes", "long", "duplicates", "aliases", "unended"],
)
def test_hostile_yaml_is_refused_in_little_time(text: str) -> None:
    """Depth and size are bounded before anything is built, aliases counted as often as they are used."""
    started = time.perf_counter()
    assert problems(text) != []
    assert time.perf_counter() - started < 5


def test_a_thousand_wildcards_over_a_thousand_components_take_little_time() -> None:
    """Nor does a graph in which everything reads everything: problems end at fifty."""
    names = [f"t{number}" for number in range(1900)]
    text = "sources: {s: {type: x}}\ntransforms:\n"
    text += "".join(f"  {name}: {{type: x, inputs: ['*']}}\n" for name in names)
    text += "sinks: {o: {type: x, inputs: ['*']}}\n"
    started = time.perf_counter()
    assert len(problems(text)) == pipeline_yaml.MAX_PROBLEMS
    assert time.perf_counter() - started < 5


def test_references_are_found_where_they_are_whole_values() -> None:
    """Secrets and certificates with the component and the line that name them."""
    tree = pipeline_yaml.parse(
        "sources: {a: {type: x, list: [{password: 'SECRET[db-1]'}]}}\n"
        "sinks:\n"
        "  out:\n"
        "    type: x\n"
        "    inputs: [a]\n"
        "    tls: {crt_file: 'CERT[edge]'}\n"
        "    key: SECRET[api]\n"
    ).tree
    found = pipeline_yaml.references(tree)
    assert [(each.kind, each.name, each.component, each.line) for each in found] == [
        ("secret", "db-1", "a", 1),
        ("certificate", "edge", "out", 6),
        ("secret", "api", "out", 7),
    ]
    missing = pipeline_yaml.missing_references(found, {"db-1", "edge"}, frozenset())
    assert [(each.message, each.line) for each in missing] == [
        ('certificate "edge" does not exist in this environment', 6),
        ('secret "api" does not exist in this environment', 7),
    ]


@pytest.mark.parametrize(
    "value",
    [
        "user:SECRET[a]",
        "SECRET[a]SECRET[b]",
        "CERT[a].pem",
        "SECRET[a b]",
        "SECRET[]",
        "SECRET[_a]",
        "SECRET[a",
    ],
)
def test_a_reference_inside_a_longer_text_is_refused(value: str) -> None:
    """Only a whole value can be a reference; what looks like one and is none is said."""
    text = f"sources: {{a: {{type: x}}}}\nsinks:\n  o: {{type: x, inputs: [a], k: '{value}', '{value}': 1}}"
    found = problems(text)
    assert [(each.component, each.line) for each in found] == [("o", 3), ("o", 3)]
    assert "key" in found[0].message
    assert "reference" in found[1].message


def test_a_problem_becomes_a_detail_without_empty_parts() -> None:
    """`component` and `line` are left out where they are not known."""
    assert Problem("m").to_detail() == {"field": "configYaml", "message": "m"}
    assert Problem("m", "c", 3).to_detail() == {
        "field": "configYaml",
        "message": "m",
        "component": "c",
        "line": 3,
    }


fragments = st.sampled_from(
    [
        "sources:", "sinks:", "transforms:", " a:", " b:", "  type: x", "  inputs: [a]", "  inputs:", "   - a*",
        "- ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "? ", ": ", "!!str ", "!x ", "|", ">", "'", '"', "#", "---",
        "...", "%YAML 1.2", "\t", "SECRET[a]", "null", "\N{SNOWMAN}", "\x00", "\ud800",
    ]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(fragments, st.sampled_from(["", " ", "\n", "\n  "])), max_size=40))
def test_any_text_is_read_without_an_exception(parts: list[tuple[str, str]]) -> None:
    """Whatever people write becomes components and problems, and its references can be listed."""
    parsed = pipeline_yaml.parse("".join(fragment + end for fragment, end in parts))
    pipeline_yaml.references(parsed.tree)
    assert parsed.problems or parsed.components


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_characters_are_read_without_an_exception(text: str) -> None:
    """The same for texts that are nothing like YAML."""
    assert pipeline_yaml.parse(text).problems
