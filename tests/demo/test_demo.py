"""`make demo` does the main job, goes on where it left off, and leaves nothing behind however it ends."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.demo.demo_process import DemoProcess
from tests.support.clone import copy_files, files_of_a_clone
from tests.support.until import until
from tools.reserved_port import ReservedPort

pytestmark = pytest.mark.timeout(300)

StartDemo = Callable[..., DemoProcess]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a clone holds, in a folder of a name that must be quoted."""
    return copy_files(files_of_a_clone(), tmp_path / "a clone")


@pytest.fixture
def start_demo(tree: Path) -> Iterator[StartDemo]:
    demos: list[DemoProcess] = []

    def start(*arguments: str, path: str = "") -> DemoProcess:
        demos.append(DemoProcess(tree, *arguments, path=path))
        return demos[-1]

    yield start
    for demo in demos:
        demo.end()


def kept_lines(demo: DemoProcess) -> int:
    """How many lines the pipelines have written on all nodes."""
    return sum(len(file.read_text().splitlines()) for file in demo.tree.glob("instance/demo/*/visits.log"))


@pytest.mark.long
def test_the_demo_does_the_main_job_and_a_second_one_goes_on(tree: Path, start_demo: StartDemo) -> None:
    """Three nodes run the pipeline on the server's own access log; Ctrl-C ends all of it, also with a page open.

    Started again there are the same nodes, the same login, the same address, and no second version.
    """
    demo = start_demo().wait_until_up()
    url = demo.login[0]
    assert (tree / "instance" / "demo.json").stat().st_mode & 0o777 == 0o600
    rows = {row["name"]: row for row in demo.operator.nodes()}
    assert list(rows) == ["node-1", "node-2", "node-3"]
    for row in rows.values():
        assert row["push"]["connected"] is True
        assert [(p["name"], p["version"], p["status"]) for p in row["pipelines"]] == [
            ("visits", 1, "RUNNING")
        ]
        assert row["agentLabels"]["zone"] in {"north", "south"}
        assert row["operatorLabels"]["tier"] in {"canary", "main"}

    with demo.sign_in() as page:
        before = kept_lines(demo)
        for _ in range(5):
            assert page.get(f"{url}/healthz", timeout=30).ok
            assert page.get(f"{url}/", timeout=30).ok
        until(lambda: kept_lines(demo) >= before + 15, seconds=20, what="5 visits on each of 3 nodes")
        assert "/healthz" not in (tree / "instance/demo/node-1/visits.log").read_text()
        with page.get(f"{url}/fleet/events", stream=True, timeout=30) as events:
            next(events.iter_lines())
            began = time.monotonic()
            demo.signal_group(signal.SIGINT)
            assert time.monotonic() - began < 25
    assert demo.left_behind() == []

    again = start_demo().wait_until_up()
    assert again.login == demo.login
    assert {row["name"]: row["id"] for row in again.operator.nodes()} == {
        name: row["id"] for name, row in rows.items()
    }
    assert all(row["pipelines"][0]["version"] == 1 for row in again.operator.nodes())
    second = start_demo()
    assert second.process.wait(60) != 0
    assert "demo: it runs already" in second.said
    again.signal_group(signal.SIGHUP)
    assert again.left_behind() == []


@pytest.mark.long
def test_a_killed_demo_leaves_nothing_and_the_next_one_may_begin_afresh(
    tree: Path, start_demo: StartDemo, tmp_path: Path
) -> None:
    """SIGKILL takes every part along. `RESET=1` forgets the nodes; a `vector` on PATH is used; a taken port is left.

    A part that dies while all runs is named.
    """
    demo = start_demo().wait_until_up()
    ids = {row["id"] for row in demo.operator.nodes()}
    os.kill(demo.python_pid(), signal.SIGKILL)
    demo.process.wait(20)
    until(lambda: not demo.left_behind(), seconds=40, what="the end of every part")

    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "vector").symlink_to(tree / "demo" / "vector")
    with ExitStack() as taken:
        try:
            taken.callback(ReservedPort(port=demo.record["port"]).release)
        except OSError:
            pass  # somebody else was quicker: it is taken all the same
        other = start_demo("RESET=1", path=str(tmp_path / "programs")).wait_until_up()
    assert f"({tmp_path}/programs/vector)" in other.said
    rows = other.operator.nodes()
    assert len(rows) == 3
    assert ids.isdisjoint(row["id"] for row in rows)

    [agent] = [pid for pid in agents(other) if "node-2" in Path(f"/proc/{pid}/environ").read_text()]
    os.kill(agent, signal.SIGKILL)
    until(lambda: "node-2 has ended (signal 9)" in other.said, what="word of the agent's end")
    assert requests.get(f"{other.login[0]}/healthz", timeout=10).ok
    os.kill(other.python_pid(), signal.SIGTERM)
    assert other.process.wait(60) == 0
    assert other.left_behind() == []


def test_a_step_that_fails_says_what_and_stops_the_rest(tree: Path, start_demo: StartDemo) -> None:
    """One sentence with the reason; Redis, which had started, is gone; the next start begins afresh by itself."""
    (tree / "wsgi.py").write_text("raise RuntimeError('broken on purpose')\n")

    failed = start_demo()

    assert failed.process.wait(60) != 0
    assert "demo: `flask --app wsgi db upgrade` failed" in failed.said
    assert "broken on purpose" in failed.said
    assert failed.left_behind() == []

    (tree / "instance" / "demo.json").write_text("{")
    unreadable = start_demo()
    assert unreadable.process.wait(60) != 0
    assert "demo: cannot read" in unreadable.said
    assert "RESET=1" in unreadable.said


def agents(demo: DemoProcess) -> list[int]:
    """The process ids of the demo's agents."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            environment = (folder / "environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or another's
            continue
        if command[1:3] == [b"-m", b"agent"] and os.fsencode(demo.tree) in environment:
            found.append(int(folder.name))
    return found
