"""How references are written into the YAML that nodes get, however people have written them."""

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app import pipeline_yaml, references

SOURCE = "sources: {made: {type: demo_logs, format: json}}\n"
SECRET = "${VF_SECRET_A_B}"
FILE = "${VF_DATA_DIR:-/var/lib/vf-agent}/certs/ca.pem"


def rendered(text: str) -> str:
    parsed = pipeline_yaml.parse(text)
    assert not parsed.problems
    return references.render(text, pipeline_yaml.references(parsed.tree), {"ca": "ca.pem"})


@pytest.mark.parametrize(
    "value",
    [
        "SECRET[a-b]",
        "SECRET[a-b]   # with a comment",
        "'SECRET[a-b]'",
        '"SECRET[a-b]"',
        '"\\x53ECRET\\\n      [a-b]"',
        "|-\n      SECRET[a-b]",
        ">-\n      SECRET[a-b]\n",
        "|-\n      SECRET[a-b]\n\n\n    # what follows",
        "!!str SECRET[a-b]",
        "! 'SECRET[a-b]'",
        "&anchor SECRET[a-b]",
        "&anchor !!str 'SECRET[a-b]'",
        "&anchor\n      # between\n      SECRET[a-b]",
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_each_way_to_write_a_text_is_replaced_and_nothing_else(value: str, ends: str, mark: str) -> None:
    """The tree is the same but for that value; what stands around it is the same to the letter."""
    alias = "*anchor" if "&anchor" in value else "none"
    before, after = (
        f"{SOURCE}# ü😀\nsinks:\n  out:\n    type: x\n    key: ",
        (f"\n    alias: {alias}\n    number: 1e3\n    inputs: ['made']   # kept\n"),
    )
    text = mark + (before + value + after).replace("\n", ends)
    result = rendered(text)
    tree, expected = yaml.safe_load(result), yaml.safe_load(text)
    expected["sinks"]["out"]["key"] = SECRET
    if alias != "none":
        expected["sinks"]["out"]["alias"] = SECRET
    assert tree == expected
    assert f'"{SECRET}"' in result
    assert result.startswith(before.replace("\n", ends))
    assert result.endswith(after.replace("\n", ends))


def test_lists_json_merges_and_certificates() -> None:
    """In a flow, in JSON, more than once in a line; what a merge has overridden is nobody's business."""
    text = json.dumps(
        {
            "sources": {"made": {"type": "x", "list": ["SECRET[a-b]", "CERT[ca]", {"k": "SECRET[a-b]"}]}},
            "sinks": {"out": {"type": "x", "inputs": ["made"]}},
        }
    )
    assert yaml.safe_load(rendered(text))["sources"]["made"]["list"] == [SECRET, FILE, {"k": SECRET}]
    merging = SOURCE + (
        "sinks:\n  one: &one {type: x, inputs: [made], key: 'SECRET[a-b]'}\n"
        "  two: {<<: *one, other: 1}\n  three: {<<: *one, key: none}\n"
    )
    sinks = yaml.safe_load(rendered(merging))["sinks"]
    assert [sinks[name]["key"] for name in ("one", "two", "three")] == [SECRET, SECRET, "none"]


def test_what_names_nothing_stays_to_the_letter() -> None:
    """Byte order mark and all: its checksum is that of the releases before."""
    text = f"\ufeff{SOURCE}sinks: {{out: {{type: x, inputs: [made], say: SECRET}}}}\r\n"
    assert rendered(text) == text


@given(st.text())
def test_every_value_survives_between_double_quotes(value: str) -> None:
    """In YAML and in JSON, on one line: Vector puts it there before it reads the YAML."""
    value = value.replace("\0", "").encode("utf-8", "ignore").decode()
    escaped = references.escaped(value)
    assert json.loads(f'"{escaped}"') == value
    assert yaml.safe_load(f'"{escaped}"') == value
    assert len(escaped.splitlines()) <= 1


@pytest.mark.parametrize(("name", "variable"), [("db-1", "DB_1"), ("a_B", "A_B"), ("0", "0")])
def test_a_secret_travels_in_a_variable(name: str, variable: str) -> None:
    """In capitals, with `_` for what no variable can hold."""
    assert references.variable_of(name) == f"VF_SECRET_{variable}"


@pytest.mark.parametrize("value", ["x SECRET[a]", "SECRET[a] ", "SECRET[a]SECRET[b]", "|\n      SECRET[a]"])
def test_a_reference_inside_a_longer_text_is_refused(value: str) -> None:
    """It would be taken for the words themselves."""
    quoted: Any = value if value.startswith("|") else f"'{value}'"
    text = f"{SOURCE}sinks:\n  out:\n    type: x\n    inputs: [made]\n    key: {quoted}\n"
    (problem,) = pipeline_yaml.parse(text).problems
    assert (problem.component, problem.line) == ("out", 6)
    assert "whole value" in problem.message
