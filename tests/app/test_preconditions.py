"""Two editors: what was changed since somebody read it is not overwritten, on any route, however close the race."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.operator_api import contract
from tests.app.conftest import YAML, Script, enroll, node_id, refused, succeeded
from tests.app.test_secrets import pem

HOOK = {"name": "h", "url": "https://hooks.example/", "events": ["node.back"]}


@pytest.fixture
def resources(script: Script, environment_id: str, pipeline_id: str) -> dict[str, tuple[str, str, Any]]:
    """By the module of its views: the address, the method that changes it, and a body that does."""
    node = node_id(enroll(script, environment_id, "n")[0])
    place = f"/environments/{environment_id}"
    succeeded(script.call("PUT", f"{place}/secrets/s", {"value": "v"}), 200)
    certificate = {"filename": "c.pem", "data": base64.b64encode(pem()).decode()}
    succeeded(script.call("PUT", f"{place}/certificates/c", certificate), 200)
    webhook = script.post("/webhooks", HOOK)["id"]
    account = script.post("/accounts", {"email": "e@example.org", "role": "viewer"})["id"]
    alert = {"name": "Pipeline failed", "kind": "pipeline_failed", "forSeconds": 60}
    rule = script.post("/alert-rules", alert)["id"]
    return {
        "alert_rules.show": (f"/alert-rules/{rule}", "PATCH", {"enabled": False}),
        "accounts.show": (f"/accounts/{account}", "PATCH", {"role": "editor"}),
        "environments.show": (place, "PATCH", {"protected": True}),
        "nodes.show": (f"/nodes/{node}", "PATCH", {"labels": {"a": "b"}}),
        "pipelines.show": (f"/pipelines/{pipeline_id}", "PUT", {"configYaml": "sources: {}"}),
        "secrets.secret": (f"{place}/secrets/s", "PUT", {"value": "other"}),
        "secrets.certificate": (f"{place}/certificates/c", "PUT", certificate),
        "webhooks.show": (f"/webhooks/{webhook}", "PATCH", {"enabled": False}),
        "settings.show": ("/settings", "PATCH", {"sampleDays": 3}),
    }


def at_once(
    app: Flask, script: Script, method: str, path: str, bodies: list[Any], headers: dict[str, str]
) -> list[TestResponse]:
    """The answers to requests that are sent at the same moment."""
    start = threading.Barrier(len(bodies))

    def send(body: Any) -> TestResponse:
        own = Script(app.test_client(), script.token)
        start.wait(10)
        answer = own.send(method, path, json=body, headers=headers)
        while answer.status_code == 503:  # the one writer was busy for five seconds, and nothing was done
            answer = own.send(method, path, json=body, headers=headers)
        return answer

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(send, bodies))


def etag(script: Script, path: str) -> str:
    return script.call("GET", path).headers["ETag"]


def test_what_was_changed_since_it_was_read_is_not_overwritten(
    app: Flask, script: Script, resources: dict[str, tuple[str, str, Any]]
) -> None:
    """412 with the tag that it has now; with that one, and with `*`, it goes through, and the answer has the next."""
    tagged = {
        rule.endpoint.removeprefix("operator_api.")
        for rule in app.url_map.iter_rules()
        if (own := contract.of(app, rule.endpoint)) and own.is_tagged and "GET" in (rule.methods or ())
    }
    assert set(resources) == tagged, "every tagged resource is edited here"
    for path, method, body in resources.values():
        read = etag(script, path)
        first = script.send(method, path, json=body, headers={"If-Match": read})
        assert first.status_code == 200, first.text
        assert first.headers["ETag"].split(".")[0] != read.split(".")[0]
        late = script.send(method, path, json=body, headers={"If-Match": read})
        assert "was changed since" in refused(late, 412)
        now = late.headers["ETag"]
        assert etag(script, path).startswith(now.rstrip('"'))
        assert script.send(method, path, json=body, headers={"If-Match": now}).status_code == 200
        assert script.send(method, path, json=body, headers={"If-Match": "*"}).status_code == 200


def test_a_read_of_what_the_caller_has_is_304(
    script: Script, resources: dict[str, tuple[str, str, Any]]
) -> None:
    """Until something of it is another, also what nobody edits: a node's report, or that a secret is used."""
    for path, method, body in resources.values():
        read = etag(script, path)
        again = script.send("GET", path, headers={"If-None-Match": read})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", read)
        succeeded(script.call(method, path, body), 200)
        assert script.send("GET", path, headers={"If-None-Match": read}).status_code == 200


def test_what_a_node_reports_stands_in_nobodys_way(script: Script, environment_id: str) -> None:
    """Its tag's first part is of what people edit, and the whole of what is answered."""
    (agent,) = enroll(script, environment_id, "n")
    path = f"/nodes/{node_id(agent)}"
    read = etag(script, path)
    succeeded(agent.call("POST", "/heartbeat", {"pipelines": [], "agentVersion": "9.9"}), 200)
    assert script.send("GET", path, headers={"If-None-Match": read}).status_code == 200
    answer = script.send("PATCH", path, json={"name": "m"}, headers={"If-Match": read})
    assert answer.status_code == 200, answer.text


def test_a_delete_on_a_condition(script: Script, resources: dict[str, tuple[str, str, Any]]) -> None:
    """Of what is not as it was nothing is deleted."""
    first = (
        "accounts.show",
        "alert_rules.show",
        "webhooks.show",
        "secrets.secret",
        "secrets.certificate",
        "nodes.show",
    )
    for name in (*first, "pipelines.show", "environments.show"):
        path, method, body = resources[name]
        read = etag(script, path)
        succeeded(script.call(method, path, body), 200)
        refused(script.send("DELETE", path, headers={"If-Match": read}), 412)
        gone = script.send("DELETE", path, headers={"If-Match": etag(script, path)})
        assert gone.status_code == 204, gone.text
        refused(script.send("DELETE", path, headers={"If-Match": "*"}), 404)


def test_a_put_that_only_makes_and_one_that_only_replaces(script: Script, environment_id: str) -> None:
    """`If-None-Match: *` and `If-Match: *`."""
    path = f"/environments/{environment_id}/secrets/s"
    refused(script.send("PUT", path, json={"value": "v"}, headers={"If-Match": "*"}), 412)
    made = script.send("PUT", path, json={"value": "v"}, headers={"If-None-Match": "*"})
    assert made.status_code == 200, made.text
    refused(script.send("PUT", path, json={"value": "w"}, headers={"If-None-Match": "*"}), 412)
    assert script.send("PUT", path, json={"value": "w"}, headers={"If-Match": "*"}).status_code == 200


def test_a_deploy_of_exactly_what_was_read(script: Script, pipeline_id: str) -> None:
    """Not of what somebody has saved since."""
    path = f"/pipelines/{pipeline_id}"
    read = etag(script, path)
    succeeded(script.call("PUT", path, {"configYaml": YAML + "# more\n"}), 200)
    refused(script.send("POST", f"{path}/deploy", json={}, headers={"If-Match": read}), 412)
    assert script.get(f"{path}/versions")["items"] == []
    now = {"If-Match": etag(script, path)}
    assert script.send("POST", f"{path}/deploy", json={}, headers=now).status_code == 200


def test_a_change_of_several_things_is_one(script: Script, environment_id: str) -> None:
    """Under one condition, and not at all where one of them cannot be."""
    path = f"/environments/{environment_id}"
    script.post("/environments", {"name": "taken"})
    body = {"name": "taken", "selectableAgentLabels": ["zone"]}
    refused(script.send("PATCH", path, json=body, headers={"If-Match": etag(script, path)}), 409)
    assert script.get(path)["selectableAgentLabels"] == []
    body["name"] = "free"
    answer = succeeded(script.send("PATCH", path, json=body, headers={"If-Match": etag(script, path)}), 200)
    assert (answer["name"], answer["selectableAgentLabels"]) == ("free", ["zone"])


def test_of_editors_who_race_one_wins(
    app: Flask, script: Script, resources: dict[str, tuple[str, str, Any]]
) -> None:
    """Eight at once with one tag: one 200, seven 412, on both databases, whatever is edited."""
    changes: dict[str, Any] = {
        "alert_rules.show": lambda number: {"name": f"n{number}"},
        "accounts.show": lambda number: {"role": "editor", "disabled": number % 2 == 0},
        "environments.show": lambda number: {"name": f"n{number}"},
        "nodes.show": lambda number: {"labels": {"n": str(number)}},
        "pipelines.show": lambda number: {"configYaml": f"# {number}"},
        "secrets.secret": lambda number: {"value": f"v{number}"},
        "webhooks.show": lambda number: {"name": f"n{number}"},
        "settings.show": lambda number: {"sampleDays": 10 + number},
    }
    for name, change in changes.items():
        path, method, _ = resources[name]
        headers = {"If-Match": etag(script, path)}
        bodies = [change(number) for number in range(8)]
        statuses = [answer.status_code for answer in at_once(app, script, method, path, bodies, headers)]
        assert sorted(statuses) == [200] + [412] * 7, (name, statuses)


def test_a_condition_for_what_has_no_tag_is_refused(script: Script, environment_id: str) -> None:
    """Not forgotten about: whoever asks for one would believe that it was kept."""
    path = f"/environments/{environment_id}/enrollment-token"
    answer = script.client.delete(
        f"/api/v1{path}", headers={"Authorization": f"Bearer {script.token}", "If-Match": '"x"'}
    )
    refused(answer, 412)
