"""Requests that come together are authenticated by one query, and none by what was read before it came."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from app import action_states, enrollment, node_identity, tokens
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import db, transaction
from app.errors import UnauthorizedError
from app.ids import new_id
from app.models import Node, NodeAction
from app.push import group_call
from app.push.group_call import GroupCall
from tests.hazards.conftest import Fleet
from tests.hazards.test_truth import an_environment
from tests.support.until import until


def start(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


def a_node(environment_id: str) -> str:
    """Its token."""
    node_id = new_id()
    minted = tokens.mint("node", node_id)
    node = Node(
        id=node_id, environment_id=environment_id, name="node", host="here", token_digest=minted.digest,
        enrolled_at=utc_now(), agent_labels={}, operator_labels={}, maintenance_mode=False,
    )  # fmt: skip
    transaction(lambda session: session.add(node))
    return minted.text


def test_a_question_is_not_answered_by_a_query_that_began_before_it() -> None:
    """Who asks while a query is under way waits for the next one, however many there are, and that is one."""
    calls: list[list[int]] = []
    go_on = threading.Event()
    answers: dict[int, int | None] = {}

    def call(keys: Sequence[int]) -> Mapping[int, int]:
        calls.append(list(keys))
        if len(calls) == 1:
            go_on.wait(10)
        return {key: len(calls) for key in keys}

    group = GroupCall(call)

    def ask(key: int) -> None:
        answers[key] = group.ask(key)

    threads = [start(lambda: ask(0))]
    until(lambda: calls, seconds=5, what="the first query")
    threads += [start(lambda number=number: ask(number)) for number in range(1, 9)]  # type: ignore[misc]
    until(lambda: len(group._waiting) == 8, seconds=5, what="the others' questions")
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert calls[0] == [0]
    assert sorted(calls[1]) == list(range(1, 9))
    assert answers == {0: 1, **dict.fromkeys(range(1, 9), 2)}


def test_a_question_of_many_keys_is_never_split() -> None:
    """It goes with others into one call, which takes no further question once it has a hundred."""
    calls: list[int] = []
    go_on = threading.Event()

    def call(keys: Sequence[int]) -> Mapping[int, int]:
        calls.append(len(keys))
        if len(calls) == 1:
            go_on.wait(10)
        return {key: -key for key in keys}

    group = GroupCall(call)
    answers: dict[int, Mapping[int, int]] = {}

    def ask(number: int) -> None:
        keys = range(number * 1000, number * 1000 + 60)
        answers[number] = {key: group.ask_all(keys)[key] for key in keys[:1]}

    threads = [start(lambda: ask(1))]
    until(lambda: calls, seconds=5, what="the first query")
    threads += [start(lambda number=number: ask(number)) for number in (2, 3, 4)]  # type: ignore[misc]
    until(lambda: len(group._waiting) == 3, seconds=5, what="the others' questions")
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert calls == [60, 120, 60]
    assert answers == {number: {number * 1000: -number * 1000} for number in (1, 2, 3, 4)}


def test_what_fails_fails_for_those_who_asked_and_the_next_is_asked_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And who waits for too long is told so, and is not asked for any more."""
    monkeypatch.setattr(group_call, "WAIT_SECONDS", 0.2)
    asked: list[int] = []
    go_on = threading.Event()

    def call(keys: Sequence[int]) -> Mapping[int, int]:
        asked.extend(keys)
        if 1 in keys:
            raise ValueError("poison")
        if 2 in keys:
            go_on.wait(10)
        return {key: key for key in keys}

    group = GroupCall(call)
    with pytest.raises(ValueError, match="poison"):
        group.ask(1)
    slow = start(lambda: group.ask(2))
    until(lambda: asked == [1, 2], seconds=5, what="the slow query")
    with pytest.raises(TimeoutError):
        group.ask(3)
    go_on.set()
    slow.join(10)
    assert group.ask(4) == 4
    assert asked == [1, 2, 4]


def test_a_token_is_refused_from_its_revocation_on(application: Flask) -> None:
    """Also in the middle of others' requests, and after the database has ended the connection that was kept."""
    environment_id = an_environment()
    good, revoked = a_node(environment_id), a_node(environment_id)
    assert node_identity.authenticate(revoked).environment_id == environment_id
    if db.engine.dialect.name == "postgresql":
        with db.engine.connect() as connection:
            mine = "pid != pg_backend_pid() AND datname = current_database()"
            connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {mine}"))
    assert node_identity.authenticate(good).environment_id == environment_id
    enrollment.revoke(revoked.split("_")[2], COMMAND_LINE)
    with pytest.raises(UnauthorizedError):
        node_identity.authenticate(revoked)
    with pytest.raises(UnauthorizedError):
        node_identity.authenticate(good[:-64] + "0" * 64)
    assert node_identity.authenticate(good).errands == node_identity.Errands()


def test_errands_are_a_nodes_own(application: Flask) -> None:
    """What waits for one node makes no other one look."""
    environment_id = an_environment()
    asked, other = a_node(environment_id), a_node(environment_id)

    def work(session: Any) -> None:
        session.add(
            NodeAction(
                id=new_id(), node_id=asked.split("_")[2], type="restart", status=action_states.PENDING, wave=0,
                attempts=0, created_by="me", created_at=utc_now(),
                expires_at=utc_now() + action_states.LIFETIMES["restart"],
            )
        )  # fmt: skip

    transaction(work)
    errands = [node_identity.authenticate(token, with_errands=True).errands for token in (asked, other)]
    assert [each.has_action for each in errands] == [True, False]
    assert not any(each.has_deployment or each.has_samples for each in errands)


def test_the_short_way_and_the_long_one_give_the_same_answer(fleet: Fleet) -> None:
    """A worker that does not know the token answers through the view; later, and for all others, before it."""
    agent = fleet.agent()
    deployment = fleet.operator.deploy(fleet.pipeline_id)["deploymentId"]
    answers = [
        agent.config() for _ in range(6)
    ]  # whichever worker: by the pigeonhole some went the short way
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    kept = ("ETag", "Cache-Control", "Content-Type", "X-Content-Type-Options")
    assert len({tuple(answer.headers.get(name) for name in kept) for answer in answers}) == 1
    etag = answers[0].headers["ETag"]
    said = {etag: 304, f"W/{etag}": 304, f'"other", {etag}': 304, "*": 304, '"other"': 200}
    assert {each: agent.config(each).status_code for each in said} == said
    assert fleet.operator.call("GET", f"/deployments/{deployment}")["nodes"]["items"][0]["fetchedAt"]
    assert fleet.operator.node(agent.node_id)["lastSeenAt"]
    fleet.operator.call("POST", f"/nodes/{agent.node_id}/revoke")
    assert {agent.config(etag).status_code for _ in range(6)} == {401}
