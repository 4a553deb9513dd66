"""Agents that are disturbed for hours, and looked at every few minutes: `python -m bench.soak_agent [seconds]`.

A server of two workers with its own Redis and SQLite, five agents, three pipelines. At random moments (the seed is
printed, SIGNALBOX_SOAK_SEED sets it) children and agents are killed, frozen and ended, configurations broken and
mended, the server and Redis stopped and started. Then everything is mended, and within a deadline every node must
run what is wanted, no child may be without an agent or there twice, and no agent may have grown. Goes on after a
failed check; a table and one line of JSON at the end, exit code 1 if any check failed, and then its folder stays.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import psutil

from bench.process_figures import Figures, at_rest, open_files
from bench.soak_place import PIPELINES, Place, SoakAgent

SECONDS = 7200.0
DISTURBED_SECONDS = 150.0
GAP_SECONDS = (3.0, 9.0)
SETTLE_SECONDS = 180.0
"""Crashes back off up to a minute, a link up to half a minute, and an identity's duel is waited out for one."""
ORPHAN_SECONDS = 10.0
MORE_FDS = 6
MORE_THREADS = 3
MORE_RSS_KIB = 12 * 1024
"""So much more than at the first look is forgiven: caches fill, the allocator keeps what it once had."""


@dataclass
class Tally:
    """What was done and what was found."""

    done: Counter[str] = field(default_factory=Counter)
    passed: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    first: dict[str, Figures] = field(default_factory=dict)
    last: dict[str, Figures] = field(default_factory=dict)
    settled: list[float] = field(default_factory=list)
    """Seconds until all was well, once each time."""

    def check(self, what: str, problem: str | None) -> None:
        if problem is None:
            self.passed[what] += 1
            return
        self.failed.append(f"{what}: {problem}")
        say(f"FAILED {what}: {problem}")


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Soak:
    """One run: disturbs and settles by turns."""

    def __init__(self, place: Place, random: Random, seconds: float) -> None:
        self.place = place
        self.random = random
        self.tally = Tally()
        self._end = time.monotonic() + seconds
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._acts: list[tuple[int, Callable[[], str | None]]] = [
            (6, lambda: self._signal_child(signal.SIGKILL)),
            (4, lambda: self._signal_child(signal.SIGTERM)),
            (4, self._freeze_child),
            (4, self._kill_agent),
            (2, self._end_agent),
            (2, self._freeze_agent),
            (4, lambda: self._deploy_broken("refused")),
            (4, lambda: self._deploy_broken("dying")),
            (6, self._deploy),
            (3, self._undeploy),
            (3, self._roll_back),
            (2, lambda: self._server_away(self.place.server.stop, "server ended")),
            (2, lambda: self._server_away(self.place.server.kill, "server killed")),
            (2, lambda: self._redis_away(self.place.redis.stop, "redis ended")),
            (2, lambda: self._redis_away(self.place.redis.kill, "redis killed")),
        ]

    def run(self) -> Tally:
        self._settle()
        while time.monotonic() < self._end:
            until = min(time.monotonic() + DISTURBED_SECONDS, self._end)
            while time.monotonic() < until:
                self._disturb()
                self._pass_time(self.random.uniform(*GAP_SECONDS))
            self._settle()
        return self.tally

    def _disturb(self) -> None:
        weights = [weight for weight, _ in self._acts]
        (act,) = self.random.choices([act for _, act in self._acts], weights)
        try:
            done = act()
        except (OSError, psutil.Error, AssertionError, *Place.errors) as error:
            # What was to be disturbed was already on its way out, or the API is away just now.
            done = None
            self.tally.done[f"not done: {type(error).__name__}"] += 1
        if done is not None:
            self.tally.done[done] += 1

    def _pass_time(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            due = [entry for entry in self._later if entry[0] <= time.monotonic()]
            self._later = [entry for entry in self._later if entry not in due]
            for _, undo in due:
                self._undo(undo)
            time.sleep(0.1)

    def _undo(self, undo: Callable[[], None]) -> None:
        try:
            undo()
        except (OSError, psutil.Error, AssertionError, *Place.errors) as error:
            say(f"not undone, again at once: {error!r}"[:500])
            self._later.append((time.monotonic() + 1.0, undo))

    def _in_a_while(self, least: float, most: float, undo: Callable[[], None]) -> None:
        self._later.append((time.monotonic() + self.random.uniform(least, most), undo))

    # disturbances: each says what it did, or None if there was nothing to do it to

    def _signal_child(self, number: signal.Signals) -> str | None:
        children = self.place.children()
        if not children:
            return None
        os.kill(self.random.choice(children).pid, number)
        return f"child {number.name}"

    def _freeze_child(self) -> str | None:
        children = self.place.children()
        if not children:
            return None
        child = self.random.choice(children)
        child.suspend()
        self._in_a_while(1, 25, lambda: _resume(child))
        return "child SIGSTOP, SIGCONT"

    def _victim(self) -> SoakAgent | None:
        """Any agent that runs but the first one, whose memory is watched from beginning to end."""
        living = [agent for agent in self.place.agents[1:] if agent.is_up]
        return self.random.choice(living) if living else None

    def _kill_agent(self) -> str | None:
        agent = self._victim()
        if agent is None:
            return None
        agent.kill()
        deadline = time.monotonic() + ORPHAN_SECONDS
        while (left := self.place.children(agent)) and time.monotonic() < deadline:
            time.sleep(0.1)
        self.tally.check("no orphan of a killed agent", f"{agent.name}: {left}" if left else None)
        self._in_a_while(0, 20, agent.start)
        return "agent SIGKILL"

    def _end_agent(self) -> str | None:
        agent = self._victim()
        if agent is None:
            return None
        code = agent.stop()
        left = self.place.children(agent)
        problem = f"{agent.name} exited with {code} and left {left}" if code != 0 or left else None
        self.tally.check("an ended agent exits with 0 and leaves nothing", problem)
        self._in_a_while(0, 20, agent.start)
        return "agent SIGTERM"

    def _freeze_agent(self) -> str | None:
        agent = self._victim()
        if agent is None:
            return None
        agent.freeze()
        self._in_a_while(2, 60, agent.thaw)
        return "agent SIGSTOP, SIGCONT"

    def _deploy(self) -> str | None:
        self.place.deploy(self.random.choice(PIPELINES), self.random.choice(["new", "new", "same"]))
        return "deploy"

    def _deploy_broken(self, how: str) -> str | None:
        self.place.deploy(self.random.choice(PIPELINES), how)
        return f"deploy, {how}"

    def _undeploy(self) -> str | None:
        self.place.undeploy(self.random.choice(PIPELINES))
        return "undeploy"

    def _roll_back(self) -> str | None:
        return "rollback" if self.place.roll_back(self.random.choice(PIPELINES), self.random) else None

    def _server_away(self, end: Callable[[], object], what: str) -> str | None:
        if not self.place.server_is_up:
            return None
        self.place.server_is_up = False
        end()
        self._in_a_while(1, 40, self.place.start_server)
        return what

    def _redis_away(self, end: Callable[[], object], what: str) -> str | None:
        if not self.place.redis_is_up:
            return None
        self.place.redis_is_up = False
        end()
        self._in_a_while(1, 30, self.place.start_redis)
        return what

    # settling

    def _settle(self) -> None:
        """Mend everything, wait until all is well, and look at what the agents have become."""
        undoings, self._later = self._later, []
        for _, undo in undoings:
            self._undo(undo)
        began = time.monotonic()
        problem: str | None = "never looked"
        while problem is not None and time.monotonic() - began < SETTLE_SECONDS:
            self._pass_time(1.0)
            try:
                self.place.mend()
                problem = self.place.what_is_not_well()
            except (OSError, psutil.Error, *Place.errors) as error:
                problem = repr(error)
        self.tally.check("wanted is what runs", problem)
        if problem is None:
            self.tally.settled.append(time.monotonic() - began)
        self.tally.check("no orphan and no twin", self.place.what_is_stray())
        for agent in self.place.agents:
            self._look_at(agent)
        self.tally.check("no trace in a log", self.place.new_traces())
        left = max(0.0, self._end - time.monotonic())
        say(
            f"settled in {time.monotonic() - began:.0f} s, {sum(self.tally.done.values())} disturbances, "
            f"{sum(self.tally.passed.values())} checks passed, {len(self.tally.failed)} failed, {left:.0f} s left"
        )

    def _look_at(self, agent: SoakAgent) -> None:
        if not agent.is_up:
            self.tally.check("agents live", f"{agent.name} has exited, see {agent.log}")
            return
        self.tally.check("agents live", None)
        now = at_rest(agent.pid, 3.0)
        first = self.tally.first.setdefault(agent.name, now)
        self.tally.last[agent.name] = now
        fds = f"{now.fds} descriptors, {first.fds} at first: {open_files(agent.pid)}"
        self.tally.check("descriptors", f"{agent.name} has {fds}" if now.fds > first.fds + MORE_FDS else None)
        threads = f"{agent.name} has {now.threads} threads, {first.threads} at first"
        self.tally.check("threads", threads if now.threads > first.threads + MORE_THREADS else None)
        rss = f"{agent.name} has {now.rss} KiB, {first.rss} at first"
        self.tally.check("memory", rss if now.rss > first.rss + MORE_RSS_KIB else None)


def _resume(child: psutil.Process) -> None:
    try:
        child.resume()
    except psutil.NoSuchProcess:
        return


def summary(soak: Soak, seconds: float) -> dict[str, object]:
    tally = soak.tally
    print("\n| disturbance | times |\n|---|---|")
    for what, count in sorted(tally.done.items()):
        print(f"| {what} | {count} |")
    print("\n| check | passed | failed |\n|---|---|---|")
    names = {*tally.passed, *(line.partition(": ")[0] for line in tally.failed)}
    for what in sorted(names):
        failed = sum(line.startswith(f"{what}: ") for line in tally.failed)
        print(f"| {what} | {tally.passed[what]} | {failed} |")
    print("\n| agent | RSS KiB first, last | PSS last | descriptors | threads | % of a core |")
    print("|---|---|---|---|---|---|")
    shares = {}
    for agent in soak.place.agents:
        if agent.name not in tally.first:
            continue
        first, last = tally.first[agent.name], tally.last[agent.name]
        shares[agent.name] = 100 * agent.cpu_seconds() / max(agent.up_seconds(), 1.0)
        starts, share = f"{agent.name} ({agent.starts} starts)", f"{shares[agent.name]:.2f}"
        grown = f"{first.rss}, {last.rss} | {last.pss} | {first.fds}, {last.fds} | {first.threads}, {last.threads}"
        print(f"| {starts} | {grown} | {share} |")
    worst = max(tally.settled, default=0.0)
    print(f"\n{len(tally.settled)} times all was well again, after {worst:.0f} s at most")
    for line in tally.failed:
        print(f"FAILED {line}")
    return {
        "seconds": seconds,
        "disturbances": dict(tally.done),
        "passed": dict(tally.passed),
        "failed": tally.failed,
        "settledSeconds": [round(each, 1) for each in tally.settled],
        "first": {name: asdict(each) for name, each in tally.first.items()},
        "last": {name: asdict(each) for name, each in tally.last.items()},
        "cpuPercent": shares,
    }


def main() -> int:
    seconds = float(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SIGNALBOX_SOAK_SECONDS", SECONDS))
    seed = int(os.environ.get("SIGNALBOX_SOAK_SEED", time.time_ns() % 1_000_000))
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    say(f"seed {seed}, {seconds:.0f} s, in {folder}, load average {os.getloadavg()[0]:.1f}")
    # So that a run that is told to end still says what it has found.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    with Place(folder) as place:
        soak = Soak(place, Random(seed), seconds)
        try:
            soak.run()
        finally:
            found = summary(soak, time.monotonic() - began)
            print(json.dumps({"seed": seed, **found}), flush=True)
    if soak.tally.failed:
        print(f"logs, database and data folders are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
