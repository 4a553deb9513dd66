"""A process that was left behind is found, however it hides."""

import os
import subprocess
from pathlib import Path

from tests.support.leaks import MARK, describe, left_behind


def test_an_orphan_in_a_session_of_its_own_is_found_by_its_mark(tmp_path: Path) -> None:
    """Neither the parent's death nor a new session takes the mark from its environment."""
    script = "setsid sleep 60 >&- 2>&- & echo $!"
    started = subprocess.run(
        ["sh", "-c", script], env={**os.environ, MARK: "mine"}, capture_output=True, text=True, check=True
    )
    [found] = left_behind("mine", tmp_path)

    assert found.pid == int(started.stdout)
    assert "sleep 60" in describe(found)
    found.kill()
    found.wait(10)
    assert left_behind("mine", tmp_path) == []


def test_one_with_an_empty_environment_is_found_by_what_it_was_told(tmp_path: Path) -> None:
    """An agent's child carries no mark, but its configuration lies under the session's folder."""
    config = tmp_path / "pipeline.yaml"
    config.touch()
    with subprocess.Popen(["tail", "-f", config], env={}, stdout=subprocess.DEVNULL) as child:
        assert [process.pid for process in left_behind("mine", tmp_path)] == [child.pid]
        child.kill()


def test_strangers_are_left_alone(tmp_path: Path) -> None:
    """Another session's processes, which carry another mark, are not ours to end."""
    with subprocess.Popen(["sleep", "60"], env={MARK: "theirs"}) as stranger:
        assert left_behind("mine", tmp_path) == []
        stranger.kill()
