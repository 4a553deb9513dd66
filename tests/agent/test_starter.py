"""Which file becomes the agent: real starters, and agents that do nothing but say who they are."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.installation import Record, begin, read, write
from agent.store import Store
from tests.support.agent_file import AgentFile
from tests.support.until import until

OLD, NEW = "0.1.0", "0.2.0"
NAMED = "from agent import __version__\n\ndef main():\n    print('agent', __version__, flush=True)\n    return 0\n"
"""An agent that says its version and ends well."""
TRIAL = "import sys\n{}\n"


class Place:
    """A data folder and an installed file."""

    def __init__(self, tmp_path: Path) -> None:
        self.data = tmp_path / "data"
        self.data.mkdir()
        self.update = self.data / "update"
        self.tmp_path = tmp_path
        self.installed = tmp_path / "installed.pyz"
        self.install(OLD)

    def install(self, version: str) -> None:
        """By hand, in place of whatever is there."""
        os.replace(AgentFile(self.tmp_path, version, agent=NAMED).path, self.installed)

    @property
    def state(self) -> Record:
        return read(self.update)

    def fetch(self, file: AgentFile) -> Record:
        """What an agent does with it; the entry that names it."""
        self.update.mkdir(exist_ok=True)
        entry = {"file": f"agent-{file.digest[:32]}.pyz", "version": file.version, "digest": file.digest}
        (self.update / entry["file"]).write_bytes(file.content)
        return entry

    def try_out(self, behaviour: str, **more: Any) -> Record:
        """Put a file on trial that does this; its entry."""
        entry = self.fetch(AgentFile(self.tmp_path, NEW, main=TRIAL.format(behaviour)))
        state = self.state or self.started_once()
        begin(state, entry | {"actionId": "u1", "seconds": 30.0} | more)
        write(self.update, state)
        return entry

    def started_once(self) -> Record:
        """The state as a first start leaves it."""
        write(self.update, {"known": "to later versions"})
        assert self.run() == f"agent {OLD}\n"
        return self.state

    def start(self, *, has_room: bool = True) -> subprocess.Popen[str]:
        """The installed file, as a service manager starts it; without `has_room` it can write nothing."""
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(self.installed)],
            env={"PATH": os.environ["PATH"], "SIGNALBOX_DATA_DIR": str(self.data)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=None if has_room else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)),
        )

    def run(self, code: int = 0, *, has_room: bool = True) -> str:
        """What it says until it ends with this code."""
        process = self.start(has_room=has_room)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        return said


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A node with the old version installed."""
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("import nothing", "it ended with exit code 1 before it was accepted"),
        ("sys.exit(0)", "it ended with exit code 0 before it was accepted"),
        ("sys.exit(75)", "it ended with exit code 75 before it was accepted"),
        ("import os; os.kill(os.getpid(), 9)", "it ended by signal 9 before it was accepted"),
        ("import time; time.sleep(600)", "it was not accepted within 1 s of its start"),
    ],
)
def test_the_old_file_takes_over(place: Place, behaviour: str, reason: str) -> None:
    """However the new one fails; and it is not begun again."""
    entry = place.try_out(behaviour, seconds=30.0 if "sleep" not in behaviour else 1.0)

    said = place.run()
    assert said.endswith(f"agent {OLD}\n")
    assert reason in said
    assert "trial" not in place.state
    (failure,) = place.state["failed"]
    assert failure["digest"] == entry["digest"]
    assert reason in failure["reason"]
    assert place.state["last"]["actionId"] == "u1"
    assert place.state["known"] == "to later versions"
    assert place.run() == f"agent {OLD}\n"


def test_a_file_that_is_accepted_runs_from_then_on(place: Place) -> None:
    """The starter goes by what is on disk, follows the new agent's exit code, and starts it again at 75."""
    accept = (
        "import os\nfrom pathlib import Path\nfrom agent import installation\n"
        "folder = Path(os.environ['SIGNALBOX_DATA_DIR']) / 'update'\nstate = installation.read(folder)\n"
        "print('new agent', installation.started_by()[1], flush=True)\n"
        "if 'trial' not in state: sys.exit(3)\n"
        "installation.accept(state); installation.write(folder, state); sys.exit(75)"
    )
    place.try_out(accept)
    said = place.run(code=3)
    assert "on trial start=1" in said
    assert said.endswith("new agent True\nnew agent False\n"), "guarded only while it was on trial"
    assert place.state["current"]["version"] == NEW


def test_a_trial_is_not_begun_for_ever(place: Place) -> None:
    """Killed each time before it could be judged: three times, then the old one stays."""
    place.try_out("import time; time.sleep(600)")
    for start in (1, 2, 3):
        process = place.start()
        until(lambda n=start: place.state["trial"]["starts"] == n, what="the start")  # type: ignore[misc]
        process.kill()
        process.communicate(timeout=10)
    said = place.run()
    assert "it was started 3 times and never accepted" in said
    assert said.endswith(f"agent {OLD}\n")


def test_a_trial_whose_starts_cannot_be_counted_is_not_begun(place: Place) -> None:
    """On a disk that takes no more the old one runs, and the trial waits."""
    place.try_out("print('on trial')")
    state = place.state
    said = place.run(has_room=False)
    assert said.endswith(f"agent {OLD}\n")
    assert "update put off" in said
    assert "on trial" not in said
    assert place.state == state
    assert not list(place.update.glob(".*.tmp"))


def test_a_trial_that_asks_for_more_time_gets_it(place: Place) -> None:
    """By a larger number in its entry, while it runs."""
    patient = (
        "import os, time\nfrom pathlib import Path\nfrom agent import installation\n"
        "folder = Path(os.environ['SIGNALBOX_DATA_DIR']) / 'update'\nstate = installation.read(folder)\n"
        "state['trial']['seconds'] = 60; installation.write(folder, state); time.sleep(3); sys.exit(9)"
    )
    place.try_out(patient, seconds=1.5)
    assert "it ended with exit code 9" in place.run()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_starter_that_is_told_to_end_tells_the_agent_and_judges_nobody(
    place: Place, number: signal.Signals
) -> None:
    """The trial goes on with the next start; the agent gets SIGTERM, whatever the starter got."""
    place.try_out(
        "import signal, time; signal.signal(15, lambda *_: sys.exit(0)); print('ready', flush=True); time.sleep(60)"
    )
    process = place.start()
    assert process.stdout is not None
    assert any("ready" in line for line in iter(process.stdout.readline, ""))
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 0
    assert place.state["trial"]["starts"] == 1


def test_a_starter_that_is_killed_takes_the_agent_along(place: Place) -> None:
    """Two agents on one node would be worse than none."""
    place.try_out("import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    process = place.start()
    assert process.stdout is not None
    pid = next(int(line) for line in iter(process.stdout.readline, "") if line.strip().isdigit())
    process.kill()
    process.communicate(timeout=10)
    until(lambda: not Path(f"/proc/{pid}").exists(), what="the agent's end")


def test_a_second_start_on_the_same_folder_disturbs_no_trial(place: Place) -> None:
    """It counts no start and judges nobody; the agent that it becomes says that another is running."""
    place.try_out("print('on trial')")
    state = place.state
    store = Store(place.data)
    store.open()
    assert place.run() == f"agent {OLD}\n"
    assert place.state == state


def test_an_installed_file_that_is_replaced_by_hand_wins(place: Place) -> None:
    """Over what was accepted and over a trial; what is known of failures stays."""
    state = place.started_once()
    state["current"] = place.fetch(AgentFile(place.tmp_path, NEW, agent=NAMED))
    state["failed"] = [{"version": "0.1.9", "digest": "0" * 64, "reason": "no"}]
    write(place.update, state)
    assert place.run() == f"agent {NEW}\n"
    place.install("0.1.5")
    assert place.run() == "agent 0.1.5\n"
    assert "current" not in place.state
    assert place.state["failed"] == state["failed"]


def test_a_damaged_file_is_not_run(place: Place) -> None:
    """The one before it is, and where that is gone too, the installed one."""
    state = place.started_once()
    state["previous"] = place.fetch(AgentFile(place.tmp_path, "0.1.7", agent=NAMED))
    state["current"] = place.fetch(AgentFile(place.tmp_path, NEW, agent=NAMED))
    write(place.update, state)
    current = place.update / state["current"]["file"]
    current.write_bytes(current.read_bytes()[:-1])
    said = place.run()
    assert "is damaged or gone, not run" in said
    assert said.endswith("agent 0.1.7\n")
    (place.update / state["previous"]["file"]).unlink()
    assert place.run().endswith(f"agent {OLD}\n")


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"trial": 1, "current": {"file": "../x", "version": "1", "digest": ""}}']
)
def test_a_state_that_makes_no_sense_is_no_obstacle(place: Place, content: str) -> None:
    """The installed file is always there."""
    place.update.mkdir()
    (place.update / "state.json").write_text(content)
    assert place.run().endswith(f"agent {OLD}\n")
