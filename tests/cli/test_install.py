"""`pip install .` from a clone puts `signalbox` on the path, and nothing else of the project."""

import os
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import PROJECT
from tests.support.clone import copy_files, files_of_a_clone
from tests.support.server import clean_environment

INSTALL_SECONDS = 200.0


def run(*command: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**clean_environment(), **variables},
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.long
def test_it_is_installed_from_a_clone(tmp_path: Path) -> None:
    """Into an environment of its own; the libraries, whose installing proves nothing, are lent to it."""
    clone = copy_files(files_of_a_clone(), tmp_path / "clone")
    venv = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", str(venv), folder=tmp_path)
    python = str(venv / "bin" / "python")
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=tmp_path).strip()
    )
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    quiet = ("-q", "--disable-pip-version-check", "--no-compile")
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        *quiet,
        "--no-deps",
        ".",
        folder=clone,
        **pip,
    )

    installed = {path.name for path in site.iterdir()}
    assert installed == {"signalbox_cli", f"signalbox-{project()['version']}.dist-info"}
    own = {path.relative_to(PROJECT) for path in (PROJECT / "signalbox_cli").rglob("*.py")}
    assert {path.relative_to(site) for path in (site / "signalbox_cli").rglob("*.py")} == own

    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    program = str(venv / "bin" / "signalbox")
    assert run(program, "--version", folder=tmp_path) == f"signalbox, version {project()['version']}\n"
    assert "apply" in run(program, "--help", folder=tmp_path)


def test_what_it_needs_is_what_it_is_tested_with() -> None:
    """The pinned versions are among those that an installation may choose."""
    for text in project()["dependencies"]:
        requirement = Requirement(text)
        assert version(requirement.name) in requirement.specifier, f"{text} leaves out what is pinned"


def project() -> dict[str, list[str] | str]:
    content: dict[str, list[str] | str] = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return content
