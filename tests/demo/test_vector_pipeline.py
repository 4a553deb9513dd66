"""The stand-in's pipelines on real files: following, filtering, writing, and what a restart does."""

import json
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.demo.vector_process import Running, append, command, file_to_file, lines_of, messages_of
from tests.support.until import until


def until_messages(path: Path, wanted: list[str]) -> None:
    until(lambda: messages_of(path) == wanted, what=f"{path.name} with {wanted}")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def grew(path: Path, since: int) -> bool:
    return size_of(path) > since


def test_a_growing_file_is_filtered_into_another(tmp_path: Path) -> None:
    """Lines from before the start and from after it arrive once, in order, if the condition is true."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "keep 1", "drop 2")
    with Running(tmp_path, file_to_file(tmp_path, 'starts_with(string!(.message), "keep")')):
        until_messages(target, ["keep 1"])
        append(source, "drop 3", "keep 4")
        until_messages(target, ["keep 1", "keep 4"])

    event = lines_of(target)[0]
    assert event["file"] == str(source)
    assert event["source_type"] == "file"
    assert set(event) == {"file", "host", "message", "source_type", "timestamp"}


def test_a_line_counts_only_once_it_is_complete(tmp_path: Path) -> None:
    """What a writer has begun is not taken apart."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    source.write_text("first\nsec")
    with Running(tmp_path, file_to_file(tmp_path)):
        until_messages(target, ["first"])
        append(source, "ond")
        until_messages(target, ["first", "second"])


def test_json_lines_become_objects(tmp_path: Path) -> None:
    """With decoding.codec json the fields are the event; a line that is no object is an error, not an end."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(
        source,
        '{"status":500,"path":"/a"}',
        "no json",
        "[" * 50_000,
        '{"status":200,"path":"/b"}',
        '{"status":503}',
    )
    pipeline = file_to_file(tmp_path, "int!(.status) >= 500", decoding={"codec": "json"})
    with Running(tmp_path, pipeline) as running:
        until(lambda: len(lines_of(target)) == 2)
        assert [event["status"] for event in lines_of(target)] == [500, 503]
        assert "Failed deserializing frame." in running.log


def test_a_rotated_file_is_read_to_its_end(tmp_path: Path) -> None:
    """After a rename, lines written to the old file and to the new one both arrive, and none twice."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "1")
    with Running(tmp_path, file_to_file(tmp_path)):
        until_messages(target, ["1"])
        with open(source, "a") as old_writer:
            source.rename(tmp_path / "in.log.1")
            append(source, "3")
            old_writer.write("2\n")
        until(lambda: sorted(messages_of(target)) == ["1", "2", "3"])
        append(source, "4")
        until(lambda: sorted(messages_of(target)) == ["1", "2", "3", "4"])


@pytest.mark.parametrize("fresh", ["b", "a longer text than stood there before"])
def test_a_truncated_file_is_read_from_its_beginning(tmp_path: Path, fresh: str) -> None:
    """Truncation in place counts as a new file, also when it has outgrown the old one at the next look."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "first line")
    with Running(tmp_path, file_to_file(tmp_path)):
        until_messages(target, ["first line"])
        source.write_text(f"{fresh}\n")
        until_messages(target, ["first line", fresh])


def test_a_restart_neither_loses_nor_repeats(tmp_path: Path) -> None:
    """A clean stop keeps its place; what was appended meanwhile, also before a rotation, follows."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "1", "2")
    with Running(tmp_path, file_to_file(tmp_path)) as running:
        until_messages(target, ["1", "2"])
        assert running.end() == 0
    append(source, "3")
    source.rename(tmp_path / "in.log.1")
    append(source, "4")

    with Running(tmp_path, file_to_file(tmp_path)) as running:
        until(lambda: sorted(messages_of(target)) == ["1", "2", "3", "4"])
        append(source, "5")
        until(lambda: sorted(messages_of(target)) == ["1", "2", "3", "4", "5"])
        assert running.end() == 0


def test_a_stop_in_the_middle_of_much_neither_loses_nor_repeats(tmp_path: Path) -> None:
    """However far it got when it was told to end, the next run goes on exactly there."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    wanted = [f"line {number}" for number in range(150_000)]
    append(source, *wanted)
    runs = 0
    while len(messages_of(target)) < len(wanted):
        written = size_of(target)
        with Running(tmp_path, file_to_file(tmp_path)) as running:
            until(partial(grew, target, written))
            assert running.end() == 0
        runs += 1

    assert messages_of(target) == wanted
    assert runs > 1, "the file was too short to be interrupted"


def test_a_killed_pipeline_goes_on_where_it_was(tmp_path: Path) -> None:
    """After SIGKILL nothing is lost, and at rest nothing is repeated."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "1")
    with Running(tmp_path, file_to_file(tmp_path)) as running:
        until(lambda: (tmp_path / "data" / "in" / "checkpoints.json").exists())
        running.end(signal.SIGKILL)
    append(source, "2")
    with Running(tmp_path, file_to_file(tmp_path)):
        until_messages(target, ["1", "2"])


def test_read_from_end_skips_what_is_there(tmp_path: Path) -> None:
    """Only at the first start: a file that appears later is read whole."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "old")
    pipeline = file_to_file(
        tmp_path, read_from="end", include=[str(tmp_path / "*.log")], exclude=[str(target)]
    )
    with Running(tmp_path, pipeline):
        append(source, "new")
        until_messages(target, ["new"])
        append(tmp_path / "later.log", "whole")
        until_messages(target, ["new", "whole"])


def test_lines_that_are_too_long_are_left_out(tmp_path: Path) -> None:
    """A line over max_line_bytes is an error and no event; its neighbours are events."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    append(source, "before", "x" * 1_000_000, "after")
    with Running(tmp_path, file_to_file(tmp_path, max_line_bytes=1000)) as running:
        until_messages(target, ["before", "after"])
        assert "exceeds max_line_bytes" in running.log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """Exit code 0, and the log says that it has stopped."""
    with Running(tmp_path, file_to_file(tmp_path)) as running:
        assert running.end(number) == 0
        assert f'Signal received. signal="{number.name}"' in running.log
        assert running.log.rstrip().endswith("vector: Vector has stopped.")


def test_a_sink_that_cannot_write_loses_loudly_and_goes_on(tmp_path: Path) -> None:
    """What could not be written is logged; once the cause is gone, events are written again."""
    source, target = tmp_path / "in.log", tmp_path / "out.log"
    target.mkdir()
    append(source, "lost")
    with Running(tmp_path, file_to_file(tmp_path)) as running:
        until(lambda: "Failed to write to file." in running.log)
        target.rmdir()
        append(source, "kept")
        until_messages(target, ["kept"])


def run_demo_logs(tmp_path: Path, sinks: dict[str, Any], transforms: dict[str, Any], **source: Any) -> str:
    """Run a pipeline on made-up lines to its end and return what it printed."""
    path = tmp_path / "pipeline.yaml"
    made = {"type": "demo_logs", "format": "json", "interval": 0, **source}
    path.write_text(json.dumps({"sources": {"in": made}, "transforms": transforms, "sinks": sinks}))
    result = command("--config", path)
    assert result.returncode == 0, result.stderr
    return result.stdout


def console(codec: str, source: str = "in") -> dict[str, Any]:
    return {"out": {"type": "console", "inputs": [source], "encoding": {"codec": codec}}}


def test_demo_logs_ends_after_its_count(tmp_path: Path) -> None:
    """A pipeline whose sources have all finished writes everything and ends with 0."""
    printed = run_demo_logs(tmp_path, console("text"), {}, count=700)

    assert len(printed.splitlines()) == 700
    assert {"host", "method", "request", "status"} <= set(json.loads(printed.splitlines()[0]))


def test_apache_lines_look_like_apaches(tmp_path: Path) -> None:
    """The common log format: a time in brackets, then the request in quotes."""
    printed = run_demo_logs(tmp_path, console("text"), {}, format="apache_common", count=1)

    assert '] "' in printed
    assert " +0000]" in printed


def test_sample_passes_one_in_rate(tmp_path: Path) -> None:
    """Exactly, not by chance."""
    few = {"few": {"type": "sample", "inputs": ["in"], "rate": 10}}

    assert len(run_demo_logs(tmp_path, console("json", "few"), few, count=100).splitlines()) == 10


def test_remap_changes_a_copy_and_passes_on_what_it_cannot_change(tmp_path: Path) -> None:
    """Assignments and del are seen behind the transform, not beside it; a failing program changes nothing."""
    source = """
        .parsed = parse_json!(string!(.message))
        .status = to_int!(.parsed.status)
        del(.message)
        .new."a b" = 1
    """
    transforms = {
        "changed": {"type": "remap", "inputs": ["in"], "source": source},
        "failed": {"type": "remap", "inputs": ["in"], "source": ".before = 1; .n = int!(.message)"},
        "gone": {"type": "remap", "inputs": ["in"], "source": ".n = int!(.message)", "drop_on_error": True},
    }
    sinks = {
        name: {
            "type": "file",
            "inputs": [name],
            "path": str(tmp_path / name),
            "encoding": {"codec": "json"},
        }
        for name in ("in_again", *transforms)
    }
    sinks["in_again"]["inputs"] = ["in"]
    sinks = {f"to_{name}": sink for name, sink in sinks.items()}
    run_demo_logs(tmp_path, sinks, transforms, count=1)

    [untouched], [changed], [failed] = (
        lines_of(tmp_path / name) for name in ("in_again", "changed", "failed")
    )
    assert set(untouched) == {"host", "message", "service", "source_type", "timestamp"}
    assert changed["status"] == int(json.loads(untouched["message"])["status"])
    assert changed["new"] == {"a b": 1}
    assert "message" not in changed
    assert failed == untouched
    assert lines_of(tmp_path / "gone") == []


def test_a_file_sinks_path_is_a_template(tmp_path: Path) -> None:
    """Folders are made; strftime's codes and fields of the event are filled in."""
    path = str(tmp_path / "%Y" / "{{ service }}.log")
    sinks = {"out": {"type": "file", "inputs": ["in"], "path": path, "encoding": {"codec": "json"}}}
    run_demo_logs(tmp_path, sinks, {}, count=3)

    [written] = tmp_path.glob("2*/vector.log")
    event = lines_of(written)[0]
    assert written.parent.name == event["timestamp"][:4]
    assert len(lines_of(written)) == 3


def test_stdin_ends_with_its_input(tmp_path: Path) -> None:
    """Every line arrives, the last one also without its newline, and the process ends by itself."""
    pipeline = {
        "sources": {"in": {"type": "stdin"}},
        "sinks": console("text"),
    }
    with Running(tmp_path, pipeline) as running:
        printed, _ = running.process.communicate("one\ntwo\r\nlast", timeout=20)
        assert running.process.returncode == 0

    assert printed == "one\ntwo\nlast\n"


def test_an_idle_pipeline_costs_next_to_nothing(tmp_path: Path) -> None:
    """Following a quiet file takes under 2 % of a processor here (it measures far less), and under 40 MiB."""
    append(tmp_path / "in.log", "1")
    with Running(tmp_path, file_to_file(tmp_path)) as running:
        until_messages(tmp_path / "out.log", ["1"])
        process = psutil.Process(running.process.pid)
        before, started = sum(process.cpu_times()[:2]), os.times().elapsed
        until(lambda: os.times().elapsed - started >= 2.0)
        used = sum(process.cpu_times()[:2]) - before
        assert used / (os.times().elapsed - started) < 0.02
        assert process.memory_info().rss < 40 * 1024 * 1024
