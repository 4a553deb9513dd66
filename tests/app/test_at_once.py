"""Many operators at once: what one does while another does the opposite ends in an answer, never in a 500."""

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from app import rotation
from tests.app.conftest import YAML, Script, enroll, node_id

OPERATORS = 8
ACTS = 25
ROUNDS = 8


def test_operators_who_get_in_each_others_way_get_answers(app: Flask, script: Script) -> None:
    """Creating, renaming, moving, deploying and deleting the same few things: each act succeeds or is refused."""
    homes = [script.post("/environments", {"name": f"home {number}"})["id"] for number in range(2)]
    agents = enroll(script, homes[0], *(f"n{number}" for number in range(4)))
    unexpected: list[str] = []

    def operate(number: int) -> None:
        choose = random.Random(number)
        own = Script(app.test_client(), script.token)

        def some(path: str) -> str:
            rows = own.get(path)["items"]
            return str(choose.choice(rows)["id"]) if rows else "nope"

        def patch_node(**body: object) -> tuple[str, str, object]:
            return "PATCH", f"/nodes/{node_id(choose.choice(agents))}", body

        acts: list[Callable[[], tuple[str, str, object]]] = [
            lambda: ("POST", "/environments", {"name": f"e{choose.randrange(3)}"}),
            lambda: ("DELETE", f"/environments/{some('/environments')}", None),
            lambda: patch_node(environmentId=choose.choice(homes)),
            lambda: patch_node(labels={"zone": str(choose.randrange(3))}),
            lambda: (
                "POST",
                "/pipelines",
                {
                    "environmentId": some("/environments"),
                    "name": f"p{choose.randrange(4)}",
                    "configYaml": YAML,
                },
            ),
            lambda: ("PUT", f"/pipelines/{some('/pipelines')}", {"name": f"p{choose.randrange(4)}"}),
            lambda: ("POST", f"/pipelines/{some('/pipelines')}/deploy", None),
            lambda: ("POST", f"/pipelines/{some('/pipelines')}/rollback", {"version": 1}),
            lambda: ("POST", f"/pipelines/{some('/pipelines')}/undeploy", None),
            lambda: ("DELETE", f"/pipelines/{some('/pipelines')}", None),
            lambda: ("PUT", f"/environments/{choose.choice(homes)}/secrets/s", {"value": "v"}),
            lambda: ("DELETE", f"/environments/{choose.choice(homes)}/secrets/s", None),
            lambda: ("PATCH", "/settings", {"pollIntervalMs": choose.randrange(1000, 9000)}),
            lambda: ("GET", "/nodes", None),
        ]
        for _ in range(ACTS):
            method, path, body = choose.choice(acts)()
            answer = own.call(method, path, body)
            if answer.status_code not in (200, 201, 204, 404, 409):
                unexpected.append(f"{method} {path} {body}: {answer.status_code} {answer.text}")

    threads = [threading.Thread(target=operate, args=(number,)) for number in range(OPERATORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert unexpected == []
    for pipeline in script.get("/pipelines")["items"]:
        versions = [row["version"] for row in script.get(f"/pipelines/{pipeline['id']}/versions")["items"]]
        assert versions == list(range(len(versions), 0, -1)), "deploys at once got versions of their own"
    assert len(script.get("/nodes")["items"]) == len(agents)


def at_once(app: Flask, token: str | None, *calls: tuple[str, str, object]) -> list[int]:
    """The statuses of calls (method, path, body) that are let go together, in the order of the calls."""
    statuses = [0] * len(calls)
    ready = threading.Barrier(len(calls))

    def call(index: int) -> None:
        own = Script(app.test_client(), token)
        ready.wait(10)
        statuses[index] = own.call(*calls[index]).status_code

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def test_a_name_asked_for_by_many_at_once_is_given_to_one(app: Flask, script: Script) -> None:
    """The others are told that it is taken."""
    statuses = at_once(app, script.token, *[("POST", "/environments", {"name": "wanted"})] * OPERATORS)
    assert sorted(statuses) == [201] + [409] * (OPERATORS - 1)


@pytest.mark.parametrize(
    ("method", "suffix", "body", "outcomes"),
    [
        ("POST", "/deploy", None, [[200, 409], [404, 204]]),
        ("PUT", "", {"name": "renamed"}, [[200, 204], [404, 204]]),
        ("PUT", "", {"configYaml": ""}, [[200, 204], [404, 204]]),
        ("DELETE", "", None, [[204, 404], [404, 204]]),
    ],
)
def test_a_pipeline_is_deleted_before_or_after_something_else_is_done_to_it(
    app: Flask, script: Script, method: str, suffix: str, body: object, outcomes: list[list[int]]
) -> None:
    """Whichever comes first counts: a deployed one stays, to a deleted one nothing can be done any more."""
    environment = script.post("/environments", {"name": "e"})["id"]
    for number in range(ROUNDS):
        draft = {"environmentId": environment, "name": f"p{number}", "configYaml": YAML}
        path = f"/pipelines/{script.post('/pipelines', draft)['id']}"
        statuses = at_once(app, script.token, (method, path + suffix, body), ("DELETE", path, None))
        assert statuses in outcomes
        is_there = script.call("GET", path).status_code == 200
        assert is_there == (204 not in statuses)


def test_a_secret_is_removed_before_or_after_a_deploy_that_names_it(
    app: Flask, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy that comes while a removal has looked for users waits for it, and is refused."""
    environment = script.post("/environments", {"name": "e"})["id"]
    naming = YAML.replace("type: blackhole", 'type: blackhole\n    key: "SECRET[s]"')
    draft = {"environmentId": environment, "name": "p", "configYaml": naming}
    path = f"/pipelines/{script.post('/pipelines', draft)['id']}"
    secret = f"/environments/{environment}/secrets/s"
    assert script.call("PUT", secret, {"value": "v"}).status_code == 200
    statuses: list[int] = []

    def deploy() -> None:
        own = Script(app.test_client(), script.token)
        statuses.append(own.call("POST", f"{path}/deploy").status_code)

    deploying = threading.Thread(target=deploy)
    users = rotation.users

    def look_and_let_deploy(*arguments: Any) -> Any:
        found = users(*arguments)
        if not deploying.ident:
            deploying.start()
            deploying.join(1)  # long enough for a deploy that does not wait
        return found

    monkeypatch.setattr(rotation, "users", look_and_let_deploy)
    assert script.call("DELETE", secret).status_code == 204
    deploying.join(10)
    assert statuses == [400]


@pytest.mark.parametrize("body", [{"labels": {"a": "b"}}, {"name": "renamed"}, {"maintenanceMode": True}])
def test_a_node_is_deleted_before_or_after_something_else_is_done_to_it(
    app: Flask, script: Script, body: object
) -> None:
    """The same for nodes; the second of two deletes finds nothing."""
    environment = script.post("/environments", {"name": "e"})["id"]
    for agent in enroll(script, environment, *(f"n{number}" for number in range(ROUNDS))):
        path = f"/nodes/{node_id(agent)}"
        statuses = at_once(
            app, script.token, ("PATCH", path, body), ("DELETE", path, None), ("DELETE", path, None)
        )
        assert statuses[0] in (200, 404)
        assert sorted(statuses[1:]) == [204, 404]
    assert script.get("/nodes")["items"] == []
