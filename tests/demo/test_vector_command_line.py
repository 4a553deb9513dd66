"""The stand-in's commands: what they print and the codes they end with."""

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.demo.vector_process import EXECUTABLE, command

GOOD = """
sources: {in: {type: demo_logs, format: json}}
sinks: {out: {type: blackhole, inputs: [in]}}
"""


def write(folder: Path, text: str, name: str = "pipeline.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_version_says_that_it_is_a_stand_in() -> None:
    """The first line has the shape of Vector's and cannot be mistaken for it."""
    result = command("--version")

    assert result.returncode == 0
    assert result.stdout == "vector 0.50.0 (signalbox stand-in; not Vector)\n"


def test_the_launcher_says_what_it_lacks(tmp_path: Path) -> None:
    """Without PyYAML here or in a .venv it names both interpreters in one sentence."""
    (tmp_path / "demo").mkdir()
    launcher = shutil.copy(EXECUTABLE, tmp_path / "demo" / "vector")

    result = subprocess.run(
        [sys.executable, "-I", "-S", launcher, "--version"], capture_output=True, text=True, timeout=20
    )

    assert result.returncode == 1
    assert "cannot start" in result.stderr
    assert ".venv/bin/python" in result.stderr


def test_the_launcher_turns_to_the_projects_environment(tmp_path: Path) -> None:
    """An interpreter without PyYAML hands over to .venv beside demo/."""
    shutil.copytree(EXECUTABLE.parent, tmp_path / "demo", ignore=shutil.ignore_patterns("__pycache__"))
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    result = subprocess.run(
        [sys.executable, "-I", "-S", tmp_path / "demo" / "vector", "--version"],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert result.stdout.startswith("vector 0.50.0 (signalbox stand-in")


def test_validate_prints_what_vector_prints(tmp_path: Path) -> None:
    """A good configuration ends with Validated and 0, with and without its environment."""
    path = write(tmp_path, GOOD)

    alone = command("validate", "--no-environment", path)
    with_environment = command("validate", path)

    assert (alone.returncode, with_environment.returncode) == (0, 0)
    assert alone.stdout.splitlines()[0] == f'√ Loaded ["{path}"]'
    assert "√ Component configuration" not in alone.stdout
    assert "√ Component configuration" in with_environment.stdout
    assert with_environment.stdout.splitlines()[-1].strip() == "Validated"


def test_several_files_are_one_configuration(tmp_path: Path) -> None:
    """A sink in one file takes its input from a source in another; JSON is read, and wildcards in paths."""
    write(tmp_path, "sources: {in: {type: stdin}}", "1.yaml")
    write(tmp_path, json.dumps({"sinks": {"out": {"type": "blackhole", "inputs": ["i*"]}}}), "2.json")

    result = command("validate", tmp_path / "1.yaml", tmp_path / "*.json")

    assert result.returncode == 0, result.stdout


REFUSED = {
    "an input that does not exist": (
        "sources: {in: {type: stdin}}\nsinks: {out: {type: blackhole, inputs: [in, nope]}}",
        'Input "nope" for sink "out" doesn\'t match any components.',
    ),
    "an unknown type": (
        "sources: {in: {type: kafka}}\nsinks: {out: {type: blackhole, inputs: [in]}}",
        "sources.in: unknown variant `kafka`, expected one of `demo_logs`",
    ),
    "a missing field": (
        "sources: {in: {type: file}}\nsinks: {out: {type: blackhole, inputs: [in]}}",
        "sources.in: missing field `include`",
    ),
    "an unknown field": (
        "sources: {in: {type: stdin, colour: red}}\nsinks: {out: {type: blackhole, inputs: [in]}}",
        "sources.in: unknown field `colour`",
    ),
    "a field of the wrong type": (
        "sources: {in: {type: file, include: 3}}\nsinks: {out: {type: blackhole, inputs: [in]}}",
        "sources.in.include: invalid type: integer `3`, expected a sequence",
    ),
    "a wrong codec": (
        "sources: {in: {type: stdin}}\nsinks: {out: {type: console, inputs: [in], encoding: {codec: xml}}}",
        "sinks.out.encoding.codec: unknown variant `xml`, expected `json` or `text`",
    ),
    "a cycle": (
        "sources: {in: {type: stdin}}\n"
        "transforms:\n"
        "  a: {type: filter, inputs: [in, b], condition: 'true'}\n"
        "  b: {type: filter, inputs: [a], condition: 'true'}\n"
        "sinks: {out: {type: blackhole, inputs: [b]}}",
        "Cyclic dependency detected in the chain [ a -> b -> a ]",
    ),
    "one name twice": (
        "sources: {it: {type: stdin}}\nsinks: {it: {type: blackhole, inputs: [it]}}",
        'More than one component with name "it" (source, sink).',
    ),
    "a key twice": (
        "sources: {in: {type: stdin}}\nsources: {in: {type: stdin}}",
        'duplicate entry with key "sources" at line 2',
    ),
    "nothing": ("", "No sources defined in the config."),
    "no sink": ("sources: {in: {type: stdin}}", "No sinks defined in the config."),
    "metrics for a log transform": (
        "sources: {in: {type: internal_metrics}}\n"
        "transforms: {few: {type: sample, inputs: [in], rate: 2}}\n"
        "sinks: {out: {type: blackhole, inputs: [few]}}",
        "Data type mismatch between in ([Metric]) and few ([Log])",
    ),
    "one address twice": (
        "api: {enabled: true, address: '127.0.0.1:9598'}\nsources: {in: {type: internal_metrics}}\n"
        "sinks: {out: {type: prometheus_exporter, inputs: [in], address: '127.0.0.1:9598'}}",
        "Resource `tcp 127.0.0.1:9598` is claimed by multiple components",
    ),
    "a wrong condition": (
        "sources: {in: {type: stdin}}\n"
        "transforms: {keep: {type: filter, inputs: [in], condition: '.a =='}}\n"
        "sinks: {out: {type: blackhole, inputs: [keep]}}",
        'Transform "keep": error[E203]: syntax error at 1:6',
    ),
    "a wrong condition, spelt out": (
        "sources: {in: {type: stdin}}\n"
        "transforms: {keep: {type: filter, inputs: [in], condition: {type: vrl, source: 'foo(.a)'}}}\n"
        "sinks: {out: {type: blackhole, inputs: [keep]}}",
        'Transform "keep": error[E105]: call to undefined function at 1:1: "foo"',
    ),
    "a missing variable": (
        "# $NOT_SET_ANYWHERE\n" + GOOD,
        'Missing environment variable in config. name = "NOT_SET',
    ),
    "no mapping": ("just words", 'invalid type: string "just words", expected a map'),
    "no YAML": ("sources: [", "at line 1"),
    "a date that is none": ("data_dir: 2026-13-45", "month must be in 1..12"),
    "bottomless nesting": ("a: " + "[" * 5000, "nested too deeply"),
    "an endless interval": (
        "sources: {in: {type: demo_logs, format: json, interval: .inf}}\n"
        "sinks: {out: {type: blackhole, inputs: [in]}}",
        "sources.in.interval: invalid type: floating point `inf`, expected a non-negative number",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_validate_refuses_with_vectors_words_and_code(tmp_path: Path, text: str, message: str) -> None:
    """Each fault is named, with its component, under the files' names; the code is EX_CONFIG."""
    path = write(tmp_path, text)

    result = command("validate", "--no-environment", path)

    assert result.returncode == 78
    assert result.stdout.startswith(f'Failed to load ["{path}"]')
    assert any(line.startswith("x ") and message in line for line in result.stdout.splitlines()), (
        result.stdout
    )
    assert "Validated" not in result.stdout


def test_duplicates_across_files_are_refused(tmp_path: Path) -> None:
    """Two files may not both define a component of one kind and name, nor disagree about data_dir."""
    one = write(tmp_path, "data_dir: /a\n" + GOOD, "1.yaml")
    two = write(tmp_path, "data_dir: /b\nsources: {in: {type: stdin}}", "2.yaml")

    result = command("validate", "--no-environment", one, two)

    assert result.returncode == 78
    assert "x duplicate source id found: in" in result.stdout
    assert "x conflicting values for 'data_dir' found" in result.stdout


def test_a_missing_data_dir_is_a_matter_of_the_environment(tmp_path: Path) -> None:
    """A file source without its folder is refused, unless --no-environment was asked for."""
    path = write(
        tmp_path,
        f"data_dir: {tmp_path}/none\nsources: {{in: {{type: file, include: [/x]}}}}\n"
        "sinks: {out: {type: blackhole, inputs: [in]}}",
    )

    alone, with_environment = command("validate", "--no-environment", path), command("validate", path)

    assert alone.returncode == 0
    assert with_environment.returncode == 78
    assert f'x Source "in": data_dir "{tmp_path}/none" does not exist' in with_environment.stdout


def test_what_vector_itself_would_refuse_is_a_warning(tmp_path: Path) -> None:
    """What can fail unhandled passes with a warning, and not with --deny-warnings."""
    path = write(
        tmp_path,
        "sources: {in: {type: stdin}}\n"
        "transforms: {keep: {type: filter, inputs: [in], condition: '.status >= 400'}}\n"
        "sinks: {out: {type: blackhole, inputs: [keep]}}",
    )

    warned = command("validate", "--no-environment", path)
    denied = command("validate", "--no-environment", "--deny-warnings", path)

    assert (warned.returncode, denied.returncode) == (0, 78)
    assert '~ Transform "keep": Vector itself refuses' in warned.stdout


def test_a_source_that_nobody_reads_is_a_warning(tmp_path: Path) -> None:
    """It runs, but whoever wrote it hears of it."""
    path = write(tmp_path, GOOD.replace("sources: {", "sources: {idle: {type: stdin}, "))

    result = command("validate", "--no-environment", path)

    assert result.returncode == 0
    assert '~ Source "idle" has no consumers' in result.stdout


INTERPOLATED = [
    ("${WORD}", "here"),
    ("$WORD", "here"),
    ("${UNSET:-there}", "there"),
    ("${EMPTY:-there}", "there"),
    ("${EMPTY-there}", ""),
    ("${UNSET-}", ""),
    ("$$WORD", "$WORD"),
    ("a${WORD}b", "ahereb"),
]


def test_the_environment_is_interpolated_as_vector_does(tmp_path: Path) -> None:
    """Plain, default, default where empty, and the escape; JSON-escaped values keep quotes and newlines."""
    spelt = [text for text, _ in INTERPOLATED] + ["${QUOTED}"]
    source = {"type": "demo_logs", "format": "shuffle", "count": 1, "interval": 0}
    configuration = {
        "sources": {f"s{number}": {**source, "lines": [text]} for number, text in enumerate(spelt)},
        "sinks": {
            "out": {"type": "console", "inputs": ["s*"], "encoding": {"codec": "json"}},
        },
    }
    path = write(tmp_path, json.dumps(configuration))

    result = command("--config", path, WORD="here", EMPTY="", QUOTED='say \\"hi\\"\\nnow')

    assert result.returncode == 0, result.stderr
    printed = [json.loads(line)["message"] for line in result.stdout.splitlines()]
    assert sorted(printed) == sorted([value for _, value in INTERPOLATED] + ['say "hi"\nnow'])


def test_a_required_variable_says_why(tmp_path: Path) -> None:
    """`${NAME:?message}` refuses with its message."""
    path = write(tmp_path, "data_dir: ${NOT_SET:?set it to a folder}\n" + GOOD)

    result = command("validate", path)

    assert result.returncode == 78
    assert 'name = "NOT_SET" error = "set it to a folder"' in result.stdout


def test_a_wrong_configuration_is_not_run(tmp_path: Path) -> None:
    """The process ends with EX_CONFIG and an ERROR line for each reason."""
    path = write(tmp_path, REFUSED["an input that does not exist"][0])

    result = command("--config", path)

    assert result.returncode == 78
    assert " ERROR vector::cli: Configuration error." in result.stderr
    assert "doesn't match any components" in result.stderr
    assert "Vector has started" not in result.stderr


def test_an_address_in_use_is_not_run(tmp_path: Path) -> None:
    """What cannot listen refuses to start rather than run half of the pipeline."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = write(tmp_path, f"api: {{enabled: true, address: '{address}'}}\n{GOOD}")
        result = command("--config", path)

    assert result.returncode == 78
    assert address in result.stderr


def test_vector_config_and_vector_log_are_read(tmp_path: Path) -> None:
    """VECTOR_CONFIG names the files where --config does not, VECTOR_LOG the level of the log."""
    path = write(tmp_path, GOOD.replace("format: json", "format: json, count: 1"))

    quiet = command(VECTOR_CONFIG=str(path), VECTOR_LOG="warn")
    loud = command(VECTOR_CONFIG=str(path))

    assert (quiet.returncode, loud.returncode) == (0, 0)
    assert quiet.stderr == ""
    assert 'Z  INFO vector::app: Log level is enabled. level="info"' in loud.stderr.splitlines()[0]
