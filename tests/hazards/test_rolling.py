"""Hazard 15: a reload and a rolling restart under load: no request fails, no agent misses a deploy."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import requests

from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.server import Server
from tests.support.swarm import Swarm, enroll
from tests.support.until import until
from tests.support.websocket_client import WebSocketClient

SOCKETS = 100
DEPLOY_SECONDS = 0.2


@dataclass
class Callers:
    """Two clients that ask without a pause, one over a connection of its own each time, one over a kept one."""

    urls: list[str]
    path: str
    token: str
    answered: int = 0
    passed_on: int = 0
    """Connections refused by a machine that is down: a proxy asks the next one, and so do they."""
    failures: list[str] = field(default_factory=list)
    is_over: bool = False

    def run(self, *, kept: bool) -> None:
        """Ask until it is over."""
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = f"Bearer {self.token}"
        if not kept:
            session.headers["Connection"] = "close"
        number = 0
        while not self.is_over:
            url = self.urls[number % len(self.urls)]
            try:
                answer = session.get(url + self.path, timeout=30)
            except requests.ConnectionError as error:
                number += 1
                if "Connection refused" in str(error) and len(self.urls) > 1:
                    self.passed_on += 1
                else:
                    self.failures.append(repr(error))
                continue
            if answer.status_code != 200:
                self.failures.append(f"{answer.status_code} {answer.text[:100]}")
            self.answered += 1
            time.sleep(0.01)
        session.close()


@contextmanager
def calling(callers: list[Callers]) -> Iterator[None]:
    """All of them ask while this lasts."""
    threads = [
        threading.Thread(target=one.run, kwargs={"kept": kept}, daemon=True)
        for one in callers
        for kept in (True, False)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for one in callers:
            one.is_over = True
        for thread in threads:
            thread.join(40)


class Deploying(threading.Thread):
    """Deploys through whichever machine is up, every 200 ms, until it is told to end."""

    def __init__(self, fleet: Fleet, urls: list[str]) -> None:
        super().__init__(daemon=True)
        self._fleet = fleet
        self._urls = urls
        self._is_over = False
        self.versions: list[int] = []
        self.last_began = 0.0
        self.failures: list[str] = []

    def run(self) -> None:
        number = 0
        session = requests.Session()
        # Kept connections are the others' affair; one that idles for the server's second may end as we send.
        session.headers["Connection"] = "close"
        session.headers["Authorization"] = self._fleet.operator.session.headers["Authorization"]
        path = f"/api/v1/pipelines/{self._fleet.pipeline_id}/deploy"
        while not self._is_over:
            began = time.monotonic()
            try:
                answer = session.post(self._urls[number % len(self._urls)] + path, json={}, timeout=30)
            except requests.ConnectionError as error:
                number += 1
                if "Connection refused" not in str(error):
                    self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.versions.append(answer.json()["version"])
                self.last_began = began
            else:
                self.failures.append(f"{answer.status_code} {answer.text[:100]}")
            time.sleep(DEPLOY_SECONDS)
        session.close()

    def end(self) -> None:
        self._is_over = True
        self.join(40)


def reload(server: Server) -> None:
    """SIGHUP, and wait until only new workers are left."""
    before = set(server.worker_pids())
    os.kill(server.process.pid, signal.SIGHUP)
    until(
        lambda: len(now := set(server.worker_pids())) == server.workers and not now & before,
        seconds=80,
        what="the new workers alone",
    )


@pytest.fixture
def two_machines(start_server: StartServer, make_fleet: MakeFleet) -> tuple[Fleet, Server]:
    """Nothing is swept, so that what an agent hears was pushed, or said when it connected."""
    fleet = make_fleet(start_server({"SIGNALBOX_SWEEP_INTERVAL": "3600"}))
    return fleet, start_server(fleet.server.settings, workers=1)


def test_a_reload_and_a_rolling_restart_fail_no_request_and_lose_no_deploy(
    two_machines: tuple[Fleet, Server],
) -> None:
    """Requests on new and on kept connections, a hundred channels, five deploys a second, meanwhile."""
    fleet, other = two_machines
    first = fleet.server
    agent = fleet.agent()
    revision = agent.config().json()["configRevision"]
    nodes = enroll(first.settings, fleet.environment_id, SOCKETS)
    assert agent.token is not None
    alone = Callers([first.url], "/api/agent/config", agent.token)
    both = Callers([first.url, other.url], "/api/agent/config", agent.token)
    deploying = Deploying(fleet, [first.url, other.url])
    with Swarm([first.url, other.url], nodes, revision) as swarm:
        until(lambda: swarm.connected() == SOCKETS, seconds=30, what="all channels")
        deploying.start()
        try:
            with calling([both]):
                with calling([alone]):
                    reload(first)
                assert alone.failures == []
                assert other.stop() == 0
                other.start()
                assert first.stop() == 0
        finally:
            deploying.end()
        assert both.failures == []
        assert deploying.failures == []
        assert alone.answered > 5, "the reload was met by requests"
        assert len(deploying.versions) == deploying.versions[-1] > 3
        until(
            lambda: swarm.connected() == swarm.heard_since(deploying.last_began) == SOCKETS,
            what="the last version's reaching all",
        )
        ends = [end for member in swarm.members for end in member.closes]
        assert {code for code, _ in ends} == {1001}, "every channel that ended was told why"
        assert len(ends) >= SOCKETS
        assert {status for member in swarm.members for status in member.refusals} <= {503}


def test_a_worker_that_is_to_go_serves_until_its_replacement_can(start_server: StartServer) -> None:
    """A reload starts the new worker and tells the old one to go at once; no request waits for the boot."""
    server = start_server(workers=1)
    (old,) = server.worker_pids()
    os.kill(server.process.pid, signal.SIGHUP)
    new = until(lambda: set(server.worker_pids()) - {old}, every=0.002, what="the new worker")
    for pid in new:
        os.kill(pid, signal.SIGSTOP)  # it boots for as long as this lasts
    try:
        assert old in server.worker_pids()
        began = time.monotonic()
        while time.monotonic() < began + 1.5:
            assert requests.get(f"{server.url}/readyz", timeout=30).status_code == 200
    finally:
        for pid in new:
            os.kill(pid, signal.SIGCONT)
    until(lambda: set(server.worker_pids()) == new, seconds=60, what="the old worker's end")
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200


def test_a_worker_that_goes_takes_no_dial_from_one_that_stays(
    start_server: StartServer, make_fleet: MakeFleet
) -> None:
    """SIGTERM to one of two: it stops accepting at once, so that no upgrade meets a worker that refuses it.

    To each of the two in turn, since the kernel wakes one of them first.
    """
    fleet = make_fleet(start_server())
    for drains in (1, 2):
        dial_while_one_goes(fleet, drains)


def dial_while_one_goes(fleet: Fleet, drains: int) -> None:
    """The worker with the lowest pid goes, and it is the server's *drains*th that does."""
    server = fleet.server
    nodes = enroll(server.settings, fleet.environment_id, 60)
    gone = server.worker_pids()[0]
    os.kill(gone, signal.SIGTERM)
    until(
        lambda: server.log.read_text().count("draining worker") >= drains,
        every=0.005,
        what="the drain's begin",
    )
    dialled = 0
    for _, token in nodes:
        if gone not in server.worker_pids():
            break
        fleet.opened.append(WebSocketClient.connect(f"{server.url}/api/agent/ws", token))
        dialled += 1
    assert dialled, "it went before anybody could dial"
    until(
        lambda: len(now := server.worker_pids()) == server.workers and gone not in now,
        seconds=60,
        what="its replacement",
    )
