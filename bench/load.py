"""The load programs of `bench/client`, written in C so that they are never the bottleneck: built, started, asked.

`Crowd` is many agents' channels in as many processes as descriptors demand; `drive` sends requests over HTTP. Both
say what of a core they took themselves.
"""

from __future__ import annotations

import json
import struct
import subprocess
import tempfile
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import urlsplit

from tests.support import PROJECT
from tools.child_process import die_with_parent

SOURCES = PROJECT / "bench" / "client"
BUILT = PROJECT / "build" / "bench" / "client"
PARTS = {
    "crowd": ("crowd.c", "links.c", "fetches.c", "base.c", "wire.c"),
    "requests": ("requests.c", "base.c", "wire.c"),
}
FLAGS = ("-std=gnu11", "-O2", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")
LINKS_A_PROCESS = 18_000
"""Below the 20,000 descriptors that a process may have where these figures were taken."""


class LoadError(Exception):
    """A load program could not be built, or ended with a complaint."""


def build(folder: Path = BUILT) -> None:
    """Compile what is older than its sources; LoadError with the compiler's words."""
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(file.stat().st_mtime for file in SOURCES.iterdir())
    for name, parts in PARTS.items():
        program = folder / name
        if program.exists() and program.stat().st_mtime > newest:
            continue
        command = ["cc", *FLAGS, "-o", str(program), *(str(SOURCES / part) for part in parts)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise LoadError(f"cannot build {name}: {error}; run `sh tools/bootstrap.sh bench`") from error
        if done.returncode != 0:
            raise LoadError(f"cannot build {name}:\n{done.stderr}")


# channels


@dataclass(frozen=True)
class State:
    """What all processes of a crowd say together; moments are nanoseconds of CLOCK_MONOTONIC."""

    open: int
    lost: int
    refused: int
    heard: int
    """Channels that have heard a nudge since `forget`."""
    messages: int
    fetched: int
    fetch_failures: int
    waiting: int
    dialed_at: int
    """When the last `connect` began."""
    settled_at: int
    """When the last handshake was answered."""
    cpu: float
    """Seconds of processor time since each process began."""
    statuses: Mapping[int, int]
    """Of refused handshakes; 0: the connection ended, 1: no answer within 30 seconds."""
    goodbyes: Mapping[int, int]
    """Close codes of lost channels; 0: none was said."""

    @property
    def cut(self) -> int:
        """Lost channels but those that were told to come back (1001), as a worker does that holds too many."""
        return self.lost - self.goodbyes.get(1001, 0)


class Crowd:
    """Channels at `urls` (`ws://host:port/path`, taken in turn), one for each token; none is open at first."""

    def __init__(
        self,
        urls: Sequence[str],
        tokens: Sequence[str],
        *,
        dialect: str = "plain",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crowd-")
        folder = Path(self._folder.name)
        parts = urlsplit(urls[0])
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        extra = folder / "headers"
        extra.write_text("".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items()))
        self._processes: list[subprocess.Popen[str]] = []
        self._shares: list[int] = []
        for start in range(0, len(tokens), LINKS_A_PROCESS):
            share = tokens[start : start + LINKS_A_PROCESS]
            listed = folder / f"tokens-{start}"
            listed.write_text("\n".join(share))
            ports = ",".join(str(urlsplit(url).port) for url in urls)
            command = [str(BUILT / "crowd"), dialect, ports, str(start), path, str(extra), str(listed)]
            self._processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                    preexec_fn=die_with_parent(9),  # type: ignore[arg-type]
                )
            )
            self._shares.append(len(share))

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(
        self, count: int | None = None, *, rate: float = 0, at_once: int = 200, seconds: float = 600
    ) -> State:
        """Dial until `count` (all) were dialed, `rate` a second, `at_once` under way; wait for the answers."""
        processes = len(self._processes)
        left, commands = sum(self._shares) if count is None else count, []
        for share in self._shares:
            part = min(share, left)
            left -= part
            commands.append(f"connect {part} {rate / processes} {max(1, at_once // processes)} {seconds}")
        return self._ask(commands)

    def wait(self, what: str, counts: Sequence[int] | int | None, seconds: float) -> State:
        """Until so many are `open`, `lost`, `heard` or `fetched`; None: as many as are open now.

        A number is for a crowd of one process, a list has one for each. No error when the time is over.
        """
        if counts is None:
            counts = [state["open"] for state in self._answers(["wait time 0 0"] * len(self._processes))]
        elif isinstance(counts, int):
            assert len(self._processes) == 1, "one number for several processes"
            counts = [counts]
        return self._ask([f"wait {what} {count} {seconds}" for count in counts])

    def state(self, seconds: float = 0) -> State:
        """How it stands, after so many seconds."""
        return self._ask([f"wait time 0 {seconds}"] * len(self._processes))

    def forget(self) -> None:
        """Count messages, losses, refusals and fetches from here on."""
        self._ask(["forget"] * len(self._processes))

    def fetch_when_nudged(self, port: int, lines: int, path: str) -> None:
        """From now on GET `path` with the node's token when it is nudged, over `lines` kept connections in all."""
        share = max(1, lines // len(self._processes))
        self._ask([f"fetch {port} {share} {path}"] * len(self._processes))

    def reconnect(self, spread_seconds: float) -> None:
        """From now on open lost channels again, with the agent's jitter and backoff."""
        self._ask([f"reconnect {spread_seconds}"] * len(self._processes))

    def dump(self, what: str) -> list[int]:
        """For each token: nanoseconds of `first`, `last`, `opened`, `shook` (how long), `lost`, `fetched`;
        or how many `messages`. 0 where it has not come to that."""
        paths = [f"{self._folder.name}/dump-{number}" for number in range(len(self._processes))]
        self._ask([f"dump {what} {path}" for path in paths])
        values = array("q")
        for path in paths:
            values.frombytes(Path(path).read_bytes())
        return values.tolist()

    def close(self) -> None:
        """Close all channels at once; nobody says goodbye."""
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    try:
                        stream.close()
                    except OSError:
                        pass
        self._folder.cleanup()

    def _answers(self, commands: Sequence[str]) -> list[dict[str, Any]]:
        for process, command in zip(self._processes, commands, strict=True):
            try:
                _stream(process.stdin).write(f"{command}\n")
                _stream(process.stdin).flush()
            except BrokenPipeError as error:
                raise LoadError("a crowd's process has ended; its last words are above") from error
        lines = [_stream(process.stdout).readline() for process in self._processes]
        if not all(lines):
            raise LoadError("a crowd's process has ended; its last words are above")
        return [json.loads(line) for line in lines]

    def _ask(self, commands: Sequence[str]) -> State:
        answers = self._answers(commands)

        def counted(name: str) -> dict[int, int]:
            counts: Counter[int] = Counter()
            for answer in answers:
                counts.update({int(number): count for number, count in answer[name].items()})
            return dict(counts)

        def total(name: str) -> int:
            return sum(answer[name] for answer in answers)

        return State(
            open=total("open"),
            lost=total("lost"),
            refused=total("refused"),
            heard=total("heard"),
            messages=total("messages"),
            fetched=total("fetched"),
            fetch_failures=total("fetchFailures"),
            waiting=total("waiting"),
            dialed_at=min((answer["dialedAt"] for answer in answers if answer["dialedAt"]), default=0),
            settled_at=max(answer["settledAt"] for answer in answers),
            cpu=sum(answer["cpu"] for answer in answers),
            statuses=counted("statuses"),
            goodbyes=counted("goodbyes"),
        )


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


# requests


@dataclass(frozen=True)
class Load:
    """What came of one stretch of requests; what was sent while warming up is not counted but in statuses."""

    counted: int
    seconds: float
    rate: float
    """Answers a second."""
    p50_ms: float
    p95_ms: float
    p99_ms: float
    statuses: dict[int, int]
    client_cores: float
    answers: list[int]
    """The status of each request's last answer; 0: none."""


def drive(
    url: str,
    requests: Sequence[bytes],
    *,
    connections: int = 32,
    seconds: float = 5,
    warm_seconds: float = 0,
    passes: int = 0,
) -> Load:
    """Send `requests` in turn over so many kept connections, `passes` times (0: until the time is over)."""
    with tempfile.TemporaryDirectory(prefix="requests-") as folder:
        asked, answered = Path(folder) / "requests", Path(folder) / "answers"
        with asked.open("wb") as file:
            for request in requests:
                file.write(struct.pack("<I", len(request)) + request)
        words = [
            urlsplit(url).port,
            connections,
            seconds + warm_seconds,
            warm_seconds,
            passes,
            asked,
            answered,
        ]
        command = [str(BUILT / "requests"), *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + warm_seconds + 60,
            preexec_fn=die_with_parent(9),  # type: ignore[arg-type]
        )  # fmt: skip
        if done.returncode != 0:
            raise LoadError(done.stderr.strip() or f"requests exited with {done.returncode}")
        said = json.loads(done.stdout)
        answers = array("i", answered.read_bytes()).tolist()
    return Load(
        counted=said["counted"],
        seconds=said["seconds"],
        rate=said["rate"],
        p50_ms=said["p50Ms"],
        p95_ms=said["p95Ms"],
        p99_ms=said["p99Ms"],
        statuses={int(status): count for status, count in said["statuses"].items()},
        client_cores=said["clientCores"],
        answers=answers,
    )
