"""The session's own guards work: a leak fails it, and a failure shows the logs."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT


def run_session(tmp_path: Path, test: str) -> subprocess.CompletedProcess[str]:
    """A pytest session of its own over one test, with these fixtures."""
    file = tmp_path / "test_it.py"
    file.write_text(test)
    folders = [f"--rootdir={tmp_path}", f"--basetemp={tmp_path / 'inner'}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", *folders, file],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("environment", ["None", "{}"])
def test_a_process_left_running_fails_the_session_and_is_ended(tmp_path: Path, environment: str) -> None:
    """Every test may have passed: the session fails all the same, naming what it left."""
    done = run_session(
        tmp_path,
        "import subprocess\n"
        "def test_it(tmp_path):\n"
        "    (tmp_path / 'file').touch()\n"
        "    command = ['tail', '-f', str(tmp_path / 'file')]\n"
        f"    leaked = subprocess.Popen(command, env={environment}, start_new_session=True)\n"
        "    leaked.returncode = 0\n",
    )

    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout
    assert "left running at the end of the session:" in done.stdout
    assert "tail -f" in done.stdout


def test_a_failed_test_shows_the_end_of_its_logs(tmp_path: Path) -> None:
    """Where CI's output is all there is, it says what the processes said."""
    done = run_session(
        tmp_path,
        "def test_it(tmp_path):\n"
        "    (tmp_path / 'server.log').write_text('the worker gave up')\n"
        "    assert False\n",
    )

    assert done.returncode == 1
    assert "the worker gave up" in done.stdout
