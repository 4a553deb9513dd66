"""The stand-in's VRL: one process, one event, a filter for each condition."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.demo.vector_process import EXECUTABLE

EVENT = {
    "level": "Error",
    "status": 503,
    "took": 1.5,
    "ok": True,
    "none": None,
    "text": "42",
    "words": "the quick brown fox",
    "user": {"name": "ada", "first name": "Ada"},
    "list": ["a", {"b": 2}],
    "payload": '{"n": 7}',
}

TRUE = [
    ".status == 503",
    ".status != 200",
    ".status == 503.0",
    ".took > 1 && .took < 2 && .took >= 1.5 && .took <= 1.5",
    '.level == "Error" || .level == "fatal"',
    "!(.status < 500)",
    ".ok",
    ".none == null && .missing == null && is_null(.missing)",
    "exists(.none) && !exists(.missing) && exists(.user.name) && !exists(.user.age)",
    '.user.name == "ada" && .user."first name" == "Ada"',
    '.list[0] == "a" && .list[1].b == 2 && .list[-1].b == 2',
    'starts_with(string!(.words), "the") && ends_with(string!(.words), "fox")',
    'contains(string!(.words), "QUICK", case_sensitive: false) && !contains(string!(.words), "QUICK")',
    "match(string!(.words), r'\\bqu\\w+k\\b')",
    "to_int!(.text) == 42 && to_int!(.ok) == 1",
    'to_string!(.status) == "503"',
    "length!(.words) == 19 && length!(.list) == 2",
    'downcase(string!(.level)) == "error" && upcase!(.level) == "ERROR"',
    'parse_json!(.payload) == parse_json!("{\\"n\\": 7}")',
    "(to_int(.words) ?? 0) == 0",
    "int(.words) ?? 9 == 9 || true",
    '.words > "the" && "a" < "b"',
    "is_string(.words) && is_integer(.status) && !is_integer(.took)",
    "true # a comment",
    '.status == 503\n  && .level == "Error"',
    "false || true && true",
    ".level != s'Er\"r'",
    "1_000 == 1000 && -1 < 0",
    ".ok != 1",
]

FALSE = [
    ".status == 200",
    '.status == "503"',
    "false && true || false",
    ".missing",
    # These fail on the event, and what fails does not pass.
    ".words > 3",
    "int!(.words) == 3",
    'contains(.status, "5")',
    "parse_json!(.words) == 1",
    "!.words",
]

REFUSED = [
    "",
    ".a ==",
    "(.a == 1",
    ".a = 1",
    '"text"',
    "3 < true",
    "unknown(.a)",
    'contains("a")',
    'contains("a", "b", "c", true)',
    "starts_with(1, 2)",
    "match(string!(.a), r'(')",
    '.a == "open',
    "del(.a)",
    "exists(3)",
    ".a == 1 .b == 2",
    "!3",
    ".a § 3",
    "(" * 5000,
]


@pytest.fixture(scope="module")
def passed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The conditions that were true for the event."""
    folder = tmp_path_factory.mktemp("vrl")
    conditions = [*TRUE, *FALSE]
    pipeline = {
        "sources": {"in": {"type": "stdin", "decoding": {"codec": "json"}}},
        "transforms": {
            f"f{number}": {"type": "filter", "inputs": ["in"], "condition": condition.replace("$", "$$")}
            for number, condition in enumerate(conditions)
        },
        "sinks": {
            f"s{number}": {
                "type": "file",
                "inputs": [f"f{number}"],
                "path": str(folder / f"{number}.out"),
                "encoding": {"codec": "json"},
            }
            for number in range(len(conditions))
        },
    }
    path = folder / "pipeline.yaml"
    path.write_text(json.dumps(pipeline))
    result = subprocess.run(
        [str(EXECUTABLE), "--config", str(path)],
        input=json.dumps(EVENT),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    return {condition for number, condition in enumerate(conditions) if (folder / f"{number}.out").exists()}


@pytest.mark.parametrize("condition", TRUE)
def test_a_true_condition_lets_the_event_pass(passed: set[str], condition: str) -> None:
    """Fields, literals, operators and functions mean what they mean in Vector."""
    assert condition in passed


@pytest.mark.parametrize("condition", FALSE)
def test_a_false_or_failing_condition_drops_the_event(passed: set[str], condition: str) -> None:
    """What is not surely true does not pass, and a failure ends nothing but the event."""
    assert condition not in passed


def test_what_is_no_condition_is_refused_by_name(tmp_path: Path) -> None:
    """validate names every component whose expression is wrong, and no other."""
    conditions = [*REFUSED, "true"]
    pipeline = {
        "sources": {"in": {"type": "stdin"}},
        "transforms": {
            f"f{number}": {"type": "filter", "inputs": ["in"], "condition": condition}
            for number, condition in enumerate(conditions)
        },
        "sinks": {"out": {"type": "blackhole", "inputs": ["f*"]}},
    }
    path = tmp_path / "pipeline.yaml"
    path.write_text(json.dumps(pipeline))

    result = subprocess.run(
        [str(EXECUTABLE), "validate", str(path)], capture_output=True, text=True, timeout=30
    )

    named = [line.split('"')[1] for line in result.stdout.splitlines() if line.startswith("x Transform")]
    assert named == [f"f{number}" for number in range(len(REFUSED))]
