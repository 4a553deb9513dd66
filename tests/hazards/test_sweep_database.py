"""Hazard 8: a database call that hangs does not stop the sweep, and neither do requests that hold their pool."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import requests

from tests.conftest import StartServer
from tests.hazards.conftest import Fleet, MakeFleet
from tests.support.api import AgentByHand
from tests.support.event_stream import EventStream
from tests.support.until import until

REQUESTS = 30
"""As many as the requests' pool has connections."""
THIS_DATABASE = "FROM pg_stat_activity WHERE datname = current_database()"


@pytest.fixture
def fleet_on_postgresql(start_server: StartServer, make_fleet: MakeFleet, postgresql_url: str) -> Fleet:
    """One worker that sweeps all the time."""
    settings = {"SIGNALBOX_DATABASE_URL": postgresql_url, "SIGNALBOX_SWEEP_INTERVAL": "0.3"}
    return make_fleet(start_server(settings, workers=1))


def up_to_date(fleet: Fleet) -> tuple[AgentByHand, EventStream]:
    """An agent that runs what it should, and its channel, which needs no pong while the test waits."""
    agent = fleet.agent()
    revision = agent.config().json()["configRevision"]
    agent.heartbeat(configRevision=revision)
    client = EventStream.connect(fleet.operator.url, agent.token, revision)
    fleet.opened.append(client)
    fleet.until_connected([agent])
    # Looks come one after the other: once a later one has nudged, that at our agent is over too.
    other = EventStream.connect(fleet.operator.url, fleet.agent().token)
    fleet.opened.append(other)
    assert other.read_event()[1]["reason"] == "connected"
    return agent, client


def fall_behind(database: psycopg.Connection, agent: AgentByHand) -> None:
    """As if a deploy's nudge had been lost."""
    database.execute("UPDATE environment SET nonce = md5(random()::text)")
    database.execute("UPDATE node SET running_revision = 'old' WHERE id = %s", [agent.node_id])


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_frozen_backend_and_a_used_up_pool_do_not_stop_the_sweep(
    fleet_on_postgresql: Fleet, postgresql_url: str
) -> None:
    """A stopped backend answers nothing and breaks no connection; the requests' connections are all like that."""
    fleet = fleet_on_postgresql
    agent, client = up_to_date(fleet)
    with (
        psycopg.connect(postgresql_url, autocommit=True) as database,
        StalledRequests(fleet) as stalled,
        ExitStack() as frozen_backends,
    ):
        own = f"SELECT pid {THIS_DATABASE} AND application_name = 'signalbox sweep'"
        for (pid,) in until(lambda: database.execute(own).fetchall(), what="the sweep's connections"):
            frozen_backends.enter_context(frozen(pid))
        until(
            lambda: "cannot ask the database" in fleet.server.log.read_text(),
            seconds=25,
            what="the end of the sweep's patience",
        )
        with psycopg.connect(postgresql_url) as locking:
            locking.execute("LOCK TABLE audit_entry IN ACCESS EXCLUSIVE MODE")
            stalled.start()
            held = f"SELECT pid {THIS_DATABASE} AND wait_event_type = 'Lock'"
            idle = f"SELECT count(*) {THIS_DATABASE} AND state = 'idle' AND application_name = ''"
            pids: set[int] = set()

            def all_are_frozen() -> bool:
                for (pid,) in database.execute(held).fetchall():
                    if pid not in pids:
                        frozen_backends.enter_context(frozen(pid))
                        pids.add(pid)
                # The server keeps some of its connections for what all agents ask (app/kept_connection.py).
                [(kept,)] = database.execute(idle).fetchall()
                return len(pids) + kept == REQUESTS

            until(all_are_frozen, seconds=20, what="a pool that is used up")
        fall_behind(database, agent)
        assert client.read_event(seconds=25)[1]["reason"] == "resync"
        assert 200 not in stalled.answers, "what finds no connection within five seconds is a 503"


class StalledRequests:
    """Requests that read the audit log, which nothing else does; joined in the end."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.answers: list[int] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(REQUESTS)]

    def _ask(self) -> None:
        headers = {"Authorization": self._fleet.operator.session.headers["Authorization"]}
        answer = requests.get(f"{self._fleet.operator.url}/api/v1/audit", headers=headers, timeout=60)
        self.answers.append(answer.status_code)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "StalledRequests":
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(60)


def test_a_locked_table_costs_a_sweep_and_not_the_sweeping(
    fleet_on_postgresql: Fleet, postgresql_url: str
) -> None:
    """LOCK TABLE environment, node: the question is given up after its time-out, and asked again."""
    fleet = fleet_on_postgresql
    agent, client = up_to_date(fleet)
    with psycopg.connect(postgresql_url, autocommit=True) as database:
        with psycopg.connect(postgresql_url) as locking:
            locking.execute("LOCK TABLE environment, node IN ACCESS EXCLUSIVE MODE")
            until(
                lambda: "cannot ask the database" in fleet.server.log.read_text(),
                seconds=15,
                what="the end of the sweep's patience",
            )
        fall_behind(database, agent)
    assert client.read_event(seconds=25)[1]["reason"] == "resync"
