"""The agent as a service: what is written where, and what is refused before anything is."""

import getpass
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent import env_file
from agent.unit import Places, render
from tests.support import PROJECT

SERVICE = PROJECT / "deploy" / "signalbox-agent.service"
TOKEN = "sbx_enroll_e1_" + "0" * 64
URL = "https://signalbox.example"


@dataclass
class Machine:
    """A folder that stands for a machine's places."""

    root: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def unit(self) -> Path:
        return self.root / "units" / "signalbox-agent.service"

    @property
    def env(self) -> Path:
        return self.root / "etc" / "agent.env"

    @property
    def data(self) -> Path:
        return self.root / "data"

    def install(
        self, *arguments: str, typed: str = "", user: str | None = None, code: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        program = ["-c", code] if code is not None else ["-m", "agent"]
        places = ["--unit-dir", str(self.unit.parent), "--env-file", str(self.env)]
        return subprocess.run(
            [
                sys.executable,
                *program,
                "install",
                *places,
                "--user",
                user or getpass.getuser(),
                *arguments,
            ],
            env={"PATH": os.environ["PATH"], "SIGNALBOX_DATA_DIR": str(self.data), **self.settings},
            cwd=PROJECT,
            text=True,
            input=typed,
            capture_output=True,
            timeout=30,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "units").mkdir()
    return Machine(tmp_path)


def refusal(done: subprocess.CompletedProcess[str], code: int = 2) -> str:
    """The one sentence with which it ended."""
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("cannot install: ")
    return done.stderr


def test_the_example_in_deploy_is_what_install_writes() -> None:
    """There is one unit."""
    assert SERVICE.read_text() == render(Places())


def test_the_service_is_written_and_what_is_next_is_said(machine: Machine) -> None:
    """Unit, settings (0600) and data folder (0700); the token comes from standard input."""
    machine.settings = {"SIGNALBOX_LABELS": "zone=a b", "https_proxy": "http://u:p%401@proxy:3128"}

    done = machine.install("--url", URL, "--token-file", "-", typed=f"{TOKEN}\n")

    assert (done.returncode, done.stderr) == (0, "")
    unit = machine.unit.read_text()
    assert f"User={getpass.getuser()}\n" in unit
    assert f"ExecStart={sys.executable} -m agent\n" in unit
    assert f"WorkingDirectory={PROJECT}\n" in unit
    assert f"EnvironmentFile={machine.env}\n" in unit
    assert f"ReadWritePaths={machine.data}\n" in unit
    assert env_file.parse(machine.env.read_text()) == {
        "SIGNALBOX_URL": URL,
        "SIGNALBOX_TOKEN": TOKEN,
        "SIGNALBOX_DATA_DIR": str(machine.data),
        **machine.settings,
    }
    assert [path.stat().st_mode & 0o777 for path in (machine.unit, machine.env, machine.data)] == [
        0o644,
        0o600,
        0o700,
    ]
    for part in (
        "systemctl daemon-reload",
        "enable --now signalbox-agent",
        str(machine.unit),
        str(machine.env),
    ):
        assert part in done.stdout
    assert TOKEN not in done.stdout


def test_installing_again_changes_nothing(machine: Machine) -> None:
    """Not even when nothing is given but what is known; a new address replaces the old one and no other line."""
    machine.install("--url", URL, "--token-file", "-", typed=TOKEN)
    machine.env.write_text(f"# ours\n{machine.env.read_text()}OTHER=1\n")
    before = {path: (path.read_text(), path.stat().st_ino) for path in (machine.unit, machine.env)}

    again = machine.install()

    assert again.returncode == 0
    assert "wrote" not in again.stdout
    assert {path: (path.read_text(), path.stat().st_ino) for path in before} == before

    assert machine.install("--url", "https://other.example").returncode == 0
    assert machine.env.read_text() == before[machine.env][0].replace(URL, "https://other.example")


def test_another_unit_is_replaced_by_force_alone(machine: Machine) -> None:
    """And nothing else is written before that is clear."""
    machine.unit.write_text("[Service]\nExecStart=/bin/true\n")

    sentence = refusal(machine.install("--url", URL, "--token-file", "-", typed=TOKEN))

    assert str(machine.unit) in sentence
    assert "--force" in sentence
    assert not machine.env.exists()
    assert not machine.data.exists()
    assert machine.install("--url", URL, "--token-file", "-", "--force", typed=TOKEN).returncode == 0
    assert "-m agent\n" in machine.unit.read_text()


def test_what_the_service_will_not_see_is_said(machine: Machine) -> None:
    """The unit hides /home, /root and /tmp."""
    machine.settings = {"SIGNALBOX_VECTOR_BIN": "/home/somebody/vector", "SIGNALBOX_TOKEN": TOKEN}

    done = machine.install("--url", URL)

    assert done.returncode == 0
    assert "cannot see /home/somebody/vector" in done.stdout


def test_a_dry_run_prints_and_writes_nothing(machine: Machine) -> None:
    """It needs no token, and shows none."""
    machine.settings = {"SIGNALBOX_TOKEN": TOKEN, "HTTPS_PROXY": "http://u:hunter2@proxy"}

    done = machine.install("--url", URL, "--dry-run")

    assert done.returncode == 0
    assert "NoNewPrivileges=yes" in done.stdout
    assert f"SIGNALBOX_URL={URL}" in done.stdout
    assert TOKEN not in done.stdout
    assert "hunter2" not in done.stdout
    assert list(machine.root.iterdir()) == [machine.unit.parent]
    assert not list(machine.unit.parent.iterdir())


@pytest.mark.parametrize(
    ("arguments", "typed", "part"),
    [
        ((), "", "SIGNALBOX_URL is not set"),
        (("--url", "signalbox.example"), TOKEN, "SIGNALBOX_URL"),
        (("--url", URL), "", "no enrollment token"),
        (("--url", URL, "--token-file", "-"), "", "no token"),
        (("--url", URL, "--token-file", "-"), "two words", "no token"),
        (("--url", URL, "--token-file", "/nowhere"), "", "/nowhere"),
    ],
)
def test_what_is_missing_is_one_sentence(
    machine: Machine, arguments: tuple[str, ...], typed: str, part: str
) -> None:
    """Exit code 2, and nothing is written."""
    assert part in refusal(machine.install(*arguments, typed=typed))
    assert not list(machine.unit.parent.iterdir())


def test_a_node_that_has_enrolled_needs_no_token(machine: Machine) -> None:
    """Its node token is what counts."""
    machine.data.mkdir(mode=0o700)
    (machine.data / "node-token").write_text("sbx_node_n1_x")

    assert machine.install("--url", URL).returncode == 0


def test_it_takes_root(machine: Machine) -> None:
    """To make a service for another user, or to write where only root may."""
    code = (
        "import os, sys, agent.install, agent.command_line as c\n"
        # By then everything is imported: that user may not be able to read this project.
        "os.geteuid() or os.setuid(65534)\n"
        "sys.exit(c.main())"
    )

    done = machine.install("--url", URL, "--token-file", "-", typed=TOKEN, user="daemon", code=code)

    assert "it takes root" in refusal(done)


def test_a_user_that_cannot_be_made_is_said(machine: Machine, tmp_path: Path) -> None:
    """With what useradd has said; exit code 1, because the command line was right."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to come so far")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "useradd").write_text("#!/bin/sh\necho no more numbers >&2\nexit 1\n")
    (programs / "useradd").chmod(0o755)
    machine.settings = {"PATH": f"{programs}:{os.environ['PATH']}"}

    done = machine.install("--url", URL, "--token-file", "-", typed=TOKEN, user="nobody-yet")

    assert "no more numbers" in refusal(done, 1)
    assert not machine.unit.exists()


def test_the_data_folder_of_another_user_is_left_alone(machine: Machine) -> None:
    """Its secrets are not handed to somebody else by a slip of --user."""
    if os.geteuid() != 0:
        pytest.skip("it takes root to have a folder of another user's")
    machine.data.mkdir()
    (machine.data / "node-token").write_text("sbx_node_n1_x")
    os.chown(machine.data, 65534, 65534)

    assert "chown" in refusal(machine.install("--url", URL), 1)
    assert machine.data.stat().st_uid == 65534


def test_places_with_odd_names_are_spelled_for_systemd() -> None:
    """Spaces, per cents and dollars."""
    text = render(
        Places(
            command=("/opt/a b/python", "/opt/50%/$x.pyz"),
            data_dir=Path("/srv/my data"),
            env_file=Path("/e 5%"),
        )
    )

    assert 'ExecStart="/opt/a b/python" /opt/50%%/$$x.pyz\n' in text
    assert 'Environment="SIGNALBOX_DATA_DIR=/srv/my data"\n' in text
    assert 'ReadWritePaths="/srv/my data"\n' in text
    assert "EnvironmentFile=/e 5%%\n" in text
    assert "StateDirectory=" not in text
    assert "StateDirectory=signalbox-agent\nStateDirectoryMode=0700\n" in render(Places())


def test_systemd_takes_the_unit_and_finds_little_to_blame(tmp_path: Path) -> None:
    """`systemd-analyze` verifies it, and its exposure is what the unit says of it."""
    analyze = shutil.which("systemd-analyze")
    assert analyze, "no systemd-analyze: run `make environment`, or install Debian's package systemd"
    unit = tmp_path / "signalbox-agent.service"
    unit.write_text(render(Places(command=(sys.executable, "-m", "agent"), working_dir=PROJECT, user="root")))

    verified = subprocess.run([analyze, "verify", str(unit)], text=True, capture_output=True, timeout=60)
    rated = subprocess.run(
        [analyze, "security", "--offline=true", str(unit.rename(tmp_path / "rated.service"))],
        text=True,
        capture_output=True,
        timeout=60,
    )

    assert "signalbox-agent" not in verified.stderr + verified.stdout
    exposure = float(rated.stdout.partition("rated.service: ")[2].split()[0])
    assert exposure <= 2.0


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("A=1\n# B=2\n; C=3\nexport D=4\n", {"A": "1"}),
        ('A="a b\\"\\\\c"\nB=\'x "y"\'\n C = 1\nC= 1 \n', {"A": 'a b"\\c', "B": 'x "y"', "C": "1"}),
    ],
)
def test_a_settings_file_is_read_as_systemd_reads_it(text: str, values: dict[str, str]) -> None:
    """Comments, quotes, blanks."""
    assert env_file.parse(text) == values


@pytest.mark.parametrize("value", ["plain", "a b", 'q"u\\o`t$e', "#x", "http://u:p%40@h", "ü", ""])
def test_a_settings_file_gives_back_what_was_put_in(value: str) -> None:
    """Whatever is in it; a second line of the same name goes."""
    text = env_file.with_values("# first\nA=old\nB=2\nA=older\n", {"A": value})

    assert env_file.parse(text) == {"A": value, "B": "2"}
    assert text.startswith("# first\nA=")
    with pytest.raises(ValueError):
        env_file.with_values("", {"A": "two\nlines"})
