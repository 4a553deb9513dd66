"""The stand-in's executable as tests use it: real processes, real files, real ports."""

import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from tests.support.until import until

EXECUTABLE = Path(__file__).resolve().parents[2] / "demo" / "vector"
SECONDS = 20.0


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vector …` to its end."""
    return subprocess.run(
        [str(EXECUTABLE), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=_environment(environment),
    )


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The events in a file that a sink wrote; a line still being written does not count."""
    if not path.exists():
        return []
    whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def messages_of(path: Path) -> list[str]:
    return [event["message"] for event in lines_of(path)]


class Running:
    """A pipeline in a process of its own, with its log in a file."""

    def __init__(self, folder: Path, configuration: dict[str, Any], **environment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").mkdir(exist_ok=True)
        path = folder / "pipeline.yaml"
        # JSON is YAML too.
        path.write_text(json.dumps({"data_dir": str(folder / "data"), **configuration}), encoding="utf-8")
        self._log = folder / "log"
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(
                [str(EXECUTABLE), "--config", str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=_environment(environment),
            )
        until(
            lambda: "Vector has started" in self.log or self.process.poll() is not None,
            seconds=SECONDS,
            what="the pipeline's start",
        )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def api_url(self) -> str:
        return "http://" + self._address_behind("API server running.")

    def get(self, url: str) -> str:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            body: bytes = answer.read()
        return body.decode()

    def metrics(self) -> str:
        return self.get(f"http://{self._address_behind('Building HTTP server.')}/metrics")

    def metric(self, name: str, component_id: str) -> int | None:
        """One counter of one component; None while there is no such line."""
        found = re.search(
            rf'^{name}{{component_id="{component_id}",.*}} (\d+) \d+$', self.metrics(), re.MULTILINE
        )
        return int(found[1]) if found else None

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, wait, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def _address_behind(self, sentence: str) -> str:
        found = re.search(rf"{re.escape(sentence)} address=(\S+)", self.log)
        assert found, f"no {sentence!r} in the log:\n{self.log}"
        return found[1]


def file_to_file(
    folder: Path, condition: str | None = None, codec: str = "json", **source: Any
) -> dict[str, Any]:
    """A pipeline that follows folder/in.log, maybe filters, and appends to folder/out.log."""
    transforms = {"keep": {"type": "filter", "inputs": ["in"], "condition": condition}} if condition else {}
    return {
        "sources": {
            "in": {
                "type": "file",
                "include": [str(folder / "in.log")],
                "glob_minimum_cooldown_ms": 100,
                **source,
            }
        },
        "transforms": transforms,
        "sinks": {
            "out": {
                "type": "file",
                "inputs": ["keep" if condition else "in"],
                "path": str(folder / "out.log"),
                "encoding": {"codec": codec},
            }
        },
    }


def append(path: Path, *messages: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(f"{message}\n" for message in messages))


def _environment(more: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VECTOR_")}
    return {**inherited, **more}
