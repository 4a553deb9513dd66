"""Hazard 28: heartbeats that come together are written together, and none costs another one anything."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy
from flask import Flask
from sqlalchemy import event, select

from app import group_commit, heartbeats, sample_results
from app.action_states import CompletedAction
from app.clock import utc_now
from app.database import db, snapshot, transaction
from app.errors import InvalidInputError, UnavailableError
from app.group_commit import GroupCommit
from app.heartbeat_body import Heartbeat, ReportedPipeline
from app.ids import new_id
from app.models import Node, NodeAction, NodePipeline
from app.node_identity import AuthenticatedNode
from tests.hazards.conftest import Fleet
from tests.hazards.test_truth import a_pipeline, an_environment
from tests.support.until import until

POISONS = {
    "NUL": {"status": "a\0b"},
    "half surrogate": {"status": "\ud800"},
    "2^63": {"pid": 2**63},
}
TOGETHER_SECONDS = 0.3
"""Instead of some milliseconds, so that what a test starts at once meets in one transaction."""


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "LINGER_SECONDS", TOGETHER_SECONDS)


@pytest.fixture
def commits(application: Flask) -> Iterator[list[str]]:
    """The transactions that have committed by now."""
    seen: list[str] = []

    def committed(_connection: object) -> None:
        seen.append("commit")

    event.listen(db.engine, "commit", committed)
    yield seen
    event.remove(db.engine, "commit", committed)


def nodes(environment_id: str, count: int) -> list[AuthenticatedNode]:
    made = [
        AuthenticatedNode(new_id(), environment_id, "0" * 32, {}, {}, [], False, None, None, None, None)
        for _ in range(count)
    ]

    def work(session: Any) -> None:
        for number, node in enumerate(made):
            session.add(
                Node(
                    id=node.id, environment_id=environment_id, name=f"node-{number}", host="here",
                    token_digest=node.id, enrolled_at=utc_now(), agent_labels={}, operator_labels={},
                    maintenance_mode=False,
                )
            )  # fmt: skip

    transaction(work)
    return made


def runs(pipeline_id: str, **more: Any) -> ReportedPipeline:
    """Built without the edge's checks: what they let through by mistake is what these tests are about."""
    values = {"pipeline_id": pipeline_id, "version": 1, "status": "RUNNING", **more}
    return ReportedPipeline.model_construct(**values)


def at_once(application: Flask, calls: Sequence[Callable[[], object]]) -> list[Exception | None]:
    """What each raised; started in this order, a moment apart, and all of them under way together."""
    raised: list[Exception | None] = [None] * len(calls)
    queue = application.extensions["heartbeat_commits"]

    def run(number: int, call: Callable[[], object]) -> None:
        with application.app_context():
            try:
                call()
            except Exception as error:
                raised[number] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(calls)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: len(queue._waiting) >= number, seconds=5, what="its turn in the queue")  # type: ignore[misc]
    for thread in threads:
        thread.join(30)
    return raised


def statuses(pipeline_id: str) -> dict[str, str]:
    query = select(NodePipeline.node_id, NodePipeline.status).where(NodePipeline.pipeline_id == pipeline_id)
    return {row.node_id: row.status for row in snapshot(lambda session: session.execute(query).all())}


def test_what_comes_together_is_one_transaction(
    application: Flask, together: None, commits: list[str]
) -> None:
    """Eight nodes, one commit, and every one of them answered only once its row is there."""
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    fleet = nodes(environment_id, 8)
    commits.clear()
    seen: list[bool] = []

    def beat(node: AuthenticatedNode) -> None:
        heartbeats.record(node, Heartbeat.model_construct(pipelines=[runs(pipeline_id)]))
        seen.append(statuses(pipeline_id).get(node.id) == "RUNNING")

    assert at_once(application, [lambda node=node: beat(node) for node in fleet]) == [None] * 8  # type: ignore[misc]
    assert len(commits) == 1
    assert seen == [True] * 8


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
@pytest.mark.parametrize("place", [0, 3, 7])
def test_only_the_culprit_is_refused(
    application: Flask, together: None, poison: dict[str, Any], place: int
) -> None:
    """What no database can store costs its sender a 400, and the seven others nothing."""
    if "status" in poison and "\0" in poison["status"] and db.engine.dialect.name == "sqlite":
        poison = {"status": "\udfff"}  # SQLite stores NUL
    environment_id = an_environment()
    pipeline_id = a_pipeline(environment_id)
    fleet = nodes(environment_id, 8)
    bodies = [Heartbeat.model_construct(pipelines=[runs(pipeline_id)]) for _ in fleet]
    bodies[place] = Heartbeat.model_construct(pipelines=[runs(pipeline_id, **poison)], agent_version="9")
    raised = at_once(
        application,
        [
            lambda node=node, body=body: heartbeats.record(node, body)
            for node, body in zip(fleet, bodies, strict=True)
        ],  # type: ignore[misc]
    )
    assert isinstance(raised[place], InvalidInputError)
    assert [error for error in raised if error is not None] == [raised[place]]
    expected = {node.id: "RUNNING" for number, node in enumerate(fleet) if number != place}
    assert statuses(pipeline_id) == expected
    culprit = snapshot(lambda session: session.get(Node, fleet[place].id))
    assert culprit is not None
    assert culprit.agent_version is None, "nothing of it was written by halves"


def test_heartbeats_of_one_node_are_merged(application: Flask, together: None, commits: list[str]) -> None:
    """The last status wins; what each has ended stays ended; an older one undoes nothing."""
    environment_id = an_environment()
    pipeline_id, other_id = a_pipeline(environment_id), a_pipeline(environment_id, "other")
    (node,) = nodes(environment_id, 1)
    actions = [new_id(), new_id(), new_id()]

    def ask(session: Any) -> None:
        for action_id in actions:
            session.add(
                NodeAction(
                    id=action_id, node_id=node.id, wave=1, type="restart", status="DELIVERED", attempts=1,
                    created_by="tests", created_at=utc_now(), delivered_at=utc_now(),
                    expires_at=utc_now().replace(year=2999),
                )
            )  # fmt: skip

    transaction(ask)
    commits.clear()

    def said(seq: int, status: str, done: str, error: str | None = None, **more: Any) -> Heartbeat:
        return Heartbeat.model_construct(
            boot_id="boot", seq=seq, completed_actions=[CompletedAction(action_id=done, error=error)],
            pipelines=[runs(pipeline_id, status=status, **more), runs(other_id)],
        )  # fmt: skip

    first = said(5, "STARTING", actions[0], recent_logs=["a line"])
    newest = said(7, "RUNNING", actions[1], "it broke")
    newest.pipelines.pop()
    late = said(6, "CRASHED", actions[2])
    bodies = [first, newest, late]
    raised = at_once(application, [lambda body=body: heartbeats.record(node, body) for body in bodies])  # type: ignore[misc]
    assert raised == [None] * 3
    assert len(commits) == 1
    assert statuses(pipeline_id) == {node.id: "RUNNING"}
    assert statuses(other_id) == {}, "no longer reported"
    logs = snapshot(lambda session: session.scalar(select(NodePipeline.recent_logs)))
    assert logs == ["a line"]
    query = select(NodeAction.status, NodeAction.error).order_by(NodeAction.id)
    ended = snapshot(lambda session: [tuple(row) for row in session.execute(query)])
    assert ended == [("COMPLETED", None), ("FAILED", "it broke"), ("COMPLETED", None)]
    heartbeats.record(node, said(6, "STOPPED", "none"))
    assert statuses(pipeline_id) == {node.id: "RUNNING"}, "nor in a transaction of its own"
    heartbeats.record(node, Heartbeat.model_construct(pipelines=[runs(pipeline_id)], boot_id="next", seq=1))
    assert snapshot(lambda session: session.scalar(select(Node.heartbeat_seq))) == 1, (
        "a new start counts anew"
    )


def test_results_of_every_heartbeat_are_kept(
    application: Flask, together: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that is older than what is stored."""
    (node,) = nodes(an_environment(), 1)
    taken: list[Any] = []
    monkeypatch.setattr(sample_results, "record", lambda *arguments: taken.append(arguments[2]))
    result = {"requestId": "1", "componentKey": "made", "events": []}
    bodies = [
        Heartbeat.model_construct(pipelines=[], boot_id="b", seq=seq, sample_results=[result])
        for seq in (2, 1)
    ]
    at_once(application, [lambda body=body: heartbeats.record(node, body) for body in bodies])  # type: ignore[misc]
    assert len(taken) == 2


def group(
    write: Callable[..., Sequence[int]], told: Callable[..., None] = lambda results: None
) -> GroupCommit[int, int]:
    return GroupCommit(write=write, key=lambda item: f"{item:03}", weight=lambda item: 1, told=told)


@pytest.mark.parametrize("state", ["40P01", "40001"])
def test_a_deadlock_is_tried_again_and_nobody_hears_of_it(application: Flask, state: str) -> None:
    """The whole group again: a savepoint does not end a transaction that PostgreSQL has given up."""
    attempts: list[int] = []

    class Deadlock(Exception):
        sqlstate = state

    def write(session: Any, items: Sequence[int]) -> list[int]:
        attempts.append(len(items))
        if len(attempts) < 3:
            raise sqlalchemy.exc.DBAPIError("UPDATE", {}, Deadlock())
        return [item + 1 for item in items]

    assert group(write).commit(1) == 2
    assert attempts == [1, 1, 1]


def test_rows_are_written_in_the_order_of_nodes(application: Flask, together: None) -> None:
    """Two workers that write the same nodes in another order wait for each other for ever."""
    orders: list[list[int]] = []

    def write(session: Any, items: Sequence[int]) -> list[int]:
        orders.append(list(items))
        return list(items)

    application.extensions["heartbeat_commits"] = commits = group(write)
    at_once(application, [lambda item=item: commits.commit(item) for item in (3, 1, 2)])  # type: ignore[misc]
    assert orders == [[1, 2, 3]]


def test_what_waits_is_bounded_and_has_a_deadline(
    application: Flask, together: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 with Retry-After, and nothing of it is written later."""
    monkeypatch.setattr(group_commit, "MOST_WAITING", 2)
    monkeypatch.setattr(group_commit, "WAIT_SECONDS", 0.5)
    monkeypatch.setattr(group_commit, "WEIGHT_AT_ONCE", 1)
    go_on, written = threading.Event(), []

    def write(session: Any, items: Sequence[int]) -> list[int]:
        if items[0] == 1:
            go_on.wait(10)
        written.extend(items)
        return list(items)

    commits = group(write)
    raised: dict[int, Exception] = {}

    def call(item: int) -> None:
        with application.app_context():
            try:
                commits.commit(item)
            except Exception as error:
                raised[item] = error

    threads = [threading.Thread(target=call, args=(item,)) for item in (1, 2)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        until(lambda number=number: len(commits._waiting) >= number or written, seconds=5, what="the queue")  # type: ignore[misc]
    call(3)
    assert isinstance(raised[3], UnavailableError)
    assert "Too much waits" in raised[3].sentence, "two do already"
    assert raised[3].retry_after
    threads[1].join(10)
    assert isinstance(raised[2], UnavailableError), "the first holds the database for too long"
    go_on.set()
    threads[0].join(10)
    assert written == [1]
    call(4)
    assert written == [1, 4], "the lead has been given back"


def test_the_lead_goes_on_to_the_next(application: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than one transaction's worth each is written, whoever happens to lead."""
    monkeypatch.setattr(group_commit, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(group_commit, "WEIGHT_AT_ONCE", 3)
    groups: list[int] = []
    told: list[int] = []

    def write(session: Any, items: Sequence[int]) -> list[int]:
        groups.append(len(items))
        return list(items)

    application.extensions["heartbeat_commits"] = commits = group(write, told.extend)
    at_once_is_over = [threading.Thread(target=_in(application, commits.commit, item)) for item in range(10)]
    for thread in at_once_is_over:
        thread.start()
    for thread in at_once_is_over:
        thread.join(10)
    assert sum(groups) == 10
    assert max(groups) <= 3
    assert sorted(told) == list(range(10))


def _in(application: Flask, call: Callable[[int], object], item: int) -> Callable[[], None]:
    def run() -> None:
        with application.app_context():
            call(item)

    return run


def test_a_worker_that_is_told_to_go_answers_what_it_has_taken(own_fleet: Fleet) -> None:
    """SIGTERM in the middle of heartbeats: what was answered with 200 is in the database."""
    agents = own_fleet.agents(6)
    answered: dict[str, int] = {}
    is_over = threading.Event()

    def beat(number: int) -> None:
        agent = agents[number]
        seq = 0
        while not is_over.is_set():
            seq += 1
            try:
                status = agent.heartbeat(bootId="b", seq=seq).status_code
            except OSError:
                return
            if status == 200:
                answered[agent.node_id] = seq

    threads = [threading.Thread(target=beat, args=(number,)) for number in range(len(agents))]
    for thread in threads:
        thread.start()
    until(lambda: len(answered) == 6 and min(answered.values()) > 3, what="some heartbeats of each")
    own_fleet.server.stop()
    is_over.set()
    for thread in threads:
        thread.join(30)
    engine = sqlalchemy.create_engine(own_fleet.server.settings["SIGNALBOX_DATABASE_URL"])
    with engine.connect() as connection:
        kept = {row.id: row.heartbeat_seq for row in connection.execute(select(Node.id, Node.heartbeat_seq))}
    engine.dispose()
    assert all((kept[node_id] or 0) >= seq for node_id, seq in answered.items()), (kept, answered)
