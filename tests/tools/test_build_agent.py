"""The agent's one file: the same bytes each time, pure Python, and enough for a Python that has nothing else."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import __version__
from agent.command_line import MISTAKE
from agent.update import is_signed
from tests.support import PROJECT
from tools.build_agent import LIBRARIES, archive, sources

NOTHING_ELSE = [sys.executable, "-I", "-S"]
"""A Python without site-packages, without the folder that it stands in, without what the environment says."""


def run_build(folder: Path, *arguments: str, key: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SIGNALBOX_SIGNING_KEY": key}
    line = [sys.executable, "-m", "tools.build_agent", str(folder), *arguments]
    return subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=60)


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    """In another process, another folder, at another time; another key gives other bytes."""
    assert run_build(tmp_path / "one").returncode == 0
    content = (tmp_path / "one" / "signalbox-agent.pyz").read_bytes()
    assert content == archive(sources())
    described = json.loads((tmp_path / "one" / "signalbox-agent.json").read_text())
    assert described == {"version": __version__, "checksum": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    assert archive(sources(), Ed25519PrivateKey.generate()) != content


def test_it_holds_pure_python_and_every_licence() -> None:
    """A compiled library would tie it to one processor and one Python."""
    with zipfile.ZipFile(io.BytesIO(archive(sources()))) as packed:
        names = packed.namelist()
        assert {info.date_time for info in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert names == sorted(names)
    others = {name for name in names if not name.endswith((".py", "certifi/cacert.pem"))}
    assert all(".dist-info/" in name for name in others), others
    for library in LIBRARIES:
        start = library.replace("-", "_") + "-"
        assert any(name.startswith(start) for name in others), f"no licence of {library}"


def test_it_runs_where_nothing_else_is_installed(tmp_path: Path) -> None:
    """`--version`, the check of all that it imports, and a start that ends with one sentence."""
    file = tmp_path / "agent.pyz"
    file.write_bytes(archive(sources()))
    environment = {"PATH": os.environ["PATH"], "SIGNALBOX_DATA_DIR": str(tmp_path / "data")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        line = [*NOTHING_ELSE, str(file), *arguments]
        return subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    for argument in ("--version", "--check"):
        said = run(argument)
        assert (said.returncode, said.stdout) == (0, f"signalbox-agent {__version__}\n"), said.stderr
    refused = run()
    assert refused.returncode == MISTAKE
    assert refused.stderr.startswith("cannot start: SIGNALBOX_URL is not set")
    assert refused.stderr.count("\n") == 1


def test_a_key_signs_it_and_its_public_half_travels_inside(tmp_path: Path) -> None:
    """`--new-key` makes one; what is no key is refused in one sentence."""
    made = dict(line.split("=", 1) for line in run_build(tmp_path, "--new-key").stdout.splitlines())
    public = made["SIGNALBOX_UPDATE_KEY"]
    built = run_build(tmp_path, key=made["SIGNALBOX_SIGNING_KEY"])
    assert f"signed with {public}" in built.stdout
    described = json.loads((tmp_path / "signalbox-agent.json").read_text())
    digest = described["checksum"].removeprefix("sha256:")
    assert is_signed(__version__, digest, described["signature"], (base64.b64decode(public),))
    with zipfile.ZipFile(tmp_path / "signalbox-agent.pyz") as packed:
        assert f"UPDATE_KEY: str | None = {public!r}" in packed.read("agent/build.py").decode()

    refused = run_build(tmp_path, key="secret")
    assert refused.returncode == 1
    assert refused.stderr.startswith("cannot build the agent: SIGNALBOX_SIGNING_KEY is not the base64 form")


@pytest.mark.parametrize("name", LIBRARIES)
def test_every_library_is_there(name: str) -> None:
    """At the version of requirements.txt, which the build compares."""
    folder = {"websocket-client": "websocket"}.get(name, name.replace("-", "_"))
    assert f"{folder}/__init__.py" in sources()
