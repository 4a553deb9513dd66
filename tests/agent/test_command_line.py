"""What the agent's command line says and refuses."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent import __version__
from agent.command_line import make_parser
from agent.settings import Settings
from tests.support import PROJECT


def run_agent(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "agent", *arguments],
        env={"PATH": os.environ["PATH"], **settings},
        cwd=PROJECT,
        text=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=20,
    )


@pytest.mark.parametrize("command", [(), ("run",), ("doctor",), ("install",)])
@pytest.mark.parametrize("program", ["python -m agent", "signalbox-agent.pyz"])
def test_help_fits_a_terminal(
    command: tuple[str, ...], program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """80 columns, whatever the program is called."""
    with pytest.raises(SystemExit) as end:
        make_parser(program).parse_args([*command, "--help"])

    said = capsys.readouterr().out
    assert end.value.code == 0
    assert [line for line in said.splitlines() if len(line) > 80] == []
    assert program in said
    assert "{" not in said


def test_help_needs_no_settings_and_names_every_one() -> None:
    """With each variable that is read instead, the exit codes, and examples."""
    done = run_agent("--help")

    assert (done.returncode, done.stderr) == (0, "")
    described = " ".join(
        text
        for text in (PROJECT / "agent" / "settings.py", PROJECT / "agent" / "authorities.py")
        for text in [text.read_text()]
    )
    for name in set(re.findall(r"\b(?:SIGNALBOX|VF)_[A-Z_]+[A-Z]\b", described)):
        assert name in done.stdout, name
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        assert name in done.stdout, name
    for code in ("0  ", "1  ", "2  ", "70 "):
        assert f"\n  {code}" in done.stdout
    assert done.stdout.count("python -m agent") >= 3
    assert len(dataclasses.fields(Settings)) == len(set(re.findall(r"^  (SIGNALBOX_\w+)", done.stdout, re.M)))


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_what_answers_at_once_imports_nothing_heavy(option: str) -> None:
    """A question at night is not kept waiting."""
    code = (
        "import sys, agent.command_line as c\n"
        f"sys.argv = ['agent', {option!r}]\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "heavy = {'requests', 'urllib3', 'websocket', 'ssl', 'certifi'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, text=True, capture_output=True, timeout=20
    )

    assert done.stderr == "[]\n"


def test_version() -> None:
    """One line."""
    assert run_agent("--version").stdout == f"signalbox-agent {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("start",), ("--verbose",), ("doctor", "--fast"), ("install", "--dry"), ("run", "now")]
)
def test_a_wrong_command_line_is_one_sentence(arguments: tuple[str, ...]) -> None:
    """Exit code 2, and abbreviations do not count."""
    done = run_agent(*arguments)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert arguments[-1] in done.stderr
    assert "--help" in done.stderr


@pytest.mark.parametrize("command", [(), ("run",)])
def test_it_runs_with_and_without_saying_so(command: tuple[str, ...]) -> None:
    """Both want the settings."""
    done = run_agent(*command)

    assert done.returncode == 2
    assert done.stderr == "cannot start: SIGNALBOX_URL is not set (the address of the Signalbox server)\n"


def test_a_python_without_the_packages_is_told_in_one_sentence(tmp_path: Path) -> None:
    """Whoever pastes the command into a copy of the source sees what to do, and no traceback."""
    done = subprocess.run(
        [sys.executable, "-S", "-m", "agent"],
        env={
            "SIGNALBOX_URL": "http://127.0.0.1:9",
            "SIGNALBOX_TOKEN": "sbx_enroll_x",
            "SIGNALBOX_DATA_DIR": str(tmp_path / "data"),
        },
        cwd=PROJECT,
        text=True,
        capture_output=True,
        timeout=20,
    )

    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "pip install requests websocket-client" in last
    assert "signalbox-agent.pyz" in last
    assert "Traceback" not in done.stderr
