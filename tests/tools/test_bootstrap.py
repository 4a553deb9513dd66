"""tools/bootstrap.sh does what is missing, does nothing twice, and says in one sentence what failed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import PROJECT
from tools.redis_server import find_redis_server


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the scripts, no requirements, and a redis-server: no package has to be fetched."""
    shutil.copytree(PROJECT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "redis-server").symlink_to(find_redis_server())
    return tmp_path


def bootstrap(tree: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "VENV"}
    environment["PATH"] += f":{tree / 'programs'}"
    return subprocess.run(
        ["sh", "tools/bootstrap.sh", *arguments],
        cwd=tree,
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def test_the_second_run_has_nothing_to_do(tree: Path) -> None:
    """Requirements are read again only when they changed, and an environment that is there is kept."""
    first = bootstrap(tree)
    assert first.returncode == 0, first.stderr
    assert "Making the virtual environment" in first.stderr
    assert "Installing requirements.txt" in first.stderr

    second = bootstrap(tree)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")

    (tree / "requirements.txt").write_text("# still nothing, in other words\n")
    third = bootstrap(tree)
    assert third.returncode == 0, third.stderr
    assert "Making the virtual environment" not in third.stderr
    assert "Installing requirements.txt" in third.stderr


def test_a_failed_install_is_tried_again(tree: Path) -> None:
    """The stamp is written only after success, and the message names the file."""
    (tree / "requirements.txt").write_text("./not-here\n")
    for _ in range(2):
        failed = bootstrap(tree)
        assert failed.returncode == 1
        assert "bootstrap: pip could not install requirements.txt" in failed.stderr


def test_a_broken_environment_is_made_anew(tree: Path) -> None:
    """A folder that was left behind when its Python went away is no environment."""
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / ".venv" / "bin" / "python").symlink_to(tree / "gone")

    done = bootstrap(tree)

    assert done.returncode == 0, done.stderr
    subprocess.run(
        [tree / ".venv" / "bin" / "python", "-m", "pip", "--version"], check=True, capture_output=True
    )


def test_without_a_python_it_says_so(tree: Path) -> None:
    """One sentence, exit code 1."""
    for name in ("sh", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (tree / "programs" / name).symlink_to(found)

    done = bootstrap(tree, PATH=str(tree / "programs"))

    assert (done.returncode, done.stderr) == (1, "bootstrap: no Python 3.11 or newer was found on PATH\n")


def test_an_unknown_purpose_is_refused_before_anything_is_made(tree: Path) -> None:
    """A slip of the keyboard costs nothing."""
    done = bootstrap(tree, "tests")

    assert (done.returncode, done.stderr) == (
        1,
        "bootstrap: unknown purpose 'tests': build, run, test or bench\n",
    )
    assert not (tree / ".venv").exists()
