"""The rules that every route of the operator API keeps: tokens, roles, bodies, ids, lists."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import update

from app import accounts, environments, taps
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import transaction
from app.ids import new_id
from app.models import ApiToken
from app.push.redis_gate import RedisGate
from app.push.taps import Tap
from app.token_rates import TokenRates
from tests.app.conftest import YAML, Script, enroll, firing, make_script, node_id, refused, succeeded
from tests.support.server import Server
from tests.support.websocket_client import WebSocketClient

UNKNOWN_IDS = ("0" * 32, "nope", "not_an_id", "A" * 32, "0" * 33, "%00", "%ed%a0%80", "☃")


def routes(app: Flask) -> list[tuple[str, str, str]]:
    """(method, path with `{id}`, endpoint) of every route of the operator API."""
    found = []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1") and rule.endpoint != "openapi":
            path = rule.rule.removeprefix("/api/v1").replace("<int:number>", "1")
            for argument in rule.arguments - {"number"}:
                path = path.replace(f"<{argument}>", "{id}")
            found += [
                (method, path, rule.endpoint) for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
            ]
    assert found
    return sorted(found)


# ---- tokens ----


def test_no_route_answers_without_a_good_token(app: Flask) -> None:
    """401 before anything else: the body is not read, the id not looked at."""
    client = app.test_client()
    for token in (None, "", "x", "sbx_api_" + "0" * 32 + "_" + "0" * 64, "sbx_node_a_" + "0" * 64):
        for method, path, _ in routes(app):
            answer = Script(client, token).send(method, path.replace("{id}", "nope"), data="{broken")
            refused(answer, 401)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_ends_when_it_expires_or_is_revoked(app: Flask) -> None:
    """It is looked up at each request, so neither takes effect late."""
    with app.app_context():
        minted = accounts.create_api_token("t", COMMAND_LINE, expires_at=utc_now() + timedelta(hours=1))
    script = Script(app.test_client(), minted.text)
    assert script.get("/environments") == {"items": [], "nextCursor": None}
    for change in ({"expires_at": utc_now()}, {"expires_at": None, "revoked_at": utc_now()}):
        with app.app_context():
            transaction(
                lambda session, change=change: session.execute(update(ApiToken).values(**change)) and None
            )
        refused(script.call("GET", "/environments"), 401)


def test_a_token_that_differs_in_one_character_is_refused(app: Flask, script: Script) -> None:
    """The secret counts, not only the id in front of it."""
    assert script.token is not None
    last = "0" if script.token[-1] != "0" else "1"
    refused(Script(script.client, script.token[:-1] + last).call("GET", "/environments"), 401)


def test_the_use_of_a_token_is_noted_at_most_once_a_minute(app: Flask, script: Script) -> None:
    """A request that only reads does not write, save for the first in a minute."""

    def last_used() -> Any:
        with app.app_context():
            return transaction(lambda session: session.query(ApiToken.last_used_at).scalar())

    assert last_used() is None
    script.get("/environments")
    first = last_used()
    assert first is not None
    script.get("/environments")
    assert last_used() == first
    earlier = utc_now() - timedelta(seconds=61)
    with app.app_context():
        transaction(lambda session: session.execute(update(ApiToken).values(last_used_at=earlier)) and None)
    script.get("/environments")
    assert last_used() >= first


def test_a_refusal_does_not_wait_for_the_body(server: Server) -> None:
    """Without a good token the answer is there although nothing of the body was ever sent."""
    head = "POST /api/v1/environments HTTP/1.1\r\nHost: signalbox\r\nContent-Length: 1000000\r\n{}\r\n"
    for authorization in ("", "Authorization: Bearer sbx_api_x\r\n"):
        with WebSocketClient.dial(server.url) as connection:
            connection.send_bytes(head.format(authorization).encode())
            assert connection.read_answer().status == 401


# ---- roles ----


def test_an_editor_changes_labels_and_maintenance_of_a_node_but_not_its_name_or_place(
    app: Flask, script: Script, environment_id: str
) -> None:
    """The rest of a node is an admin's."""
    path = f"/nodes/{node_id(enroll(script, environment_id, 'n')[0])}"
    editor = make_script(app, "editor")
    row = succeeded(editor.call("PATCH", path, {"labels": {"a": "b"}, "maintenanceMode": True}), 200)
    assert (row["operatorLabels"], row["maintenanceMode"]) == ({"a": "b"}, True)
    refused(editor.call("PATCH", path, {"labels": {}, "name": "x"}), 403)
    refused(editor.call("PATCH", path, {"environmentId": environment_id}), 403)
    assert script.get(path)["operatorLabels"] == {"a": "b"}


def test_a_token_of_one_environment_sees_and_touches_only_that_one(app: Flask, script: Script) -> None:
    """What lies in another environment is 404, lists leave it out, and the server's own things are 403."""
    with app.app_context():
        own = environments.create("own", COMMAND_LINE).id
    other = script.post("/environments", {"name": "other"})["id"]
    ids = {}
    hook = {"name": "h", "url": "https://hooks.example/", "events": ["node.back"]}
    rule = {"name": "r", "kind": "pipeline_failed"}
    token = {"name": "t", "role": "viewer"}
    for each in (own, other):
        pipeline = script.post("/pipelines", {"environmentId": each, "name": "p", "configYaml": YAML})["id"]
        (agent,) = enroll(script, each, "n")
        node = node_id(agent)
        deployment = script.post(f"/pipelines/{pipeline}/deploy", status=200)["deploymentId"]
        restart = {"action": "restart"}
        action = script.post(f"/nodes/{node}/actions", {**restart, "pipelineId": pipeline}, 202)["actionId"]
        batch = script.post(f"/environments/{each}/actions", {**restart, "selector": ""}, 202)["batchId"]
        running = {"pipelineId": pipeline, "version": 1, "status": "RUNNING"}
        succeeded(agent.call("POST", "/heartbeat", {"pipelines": [running]}), 200)
        wish = {"componentKeys": ["made"], "limit": 1}
        sample = script.post(f"/pipelines/{pipeline}/samples", wish, 202)["requestId"]
        tap = Tap(new_id(), each, node, pipeline, "made")
        with app.app_context():
            assert taps._taps().open(tap)  # no node is connected here, so none can be asked for
        succeeded(script.call("PATCH", f"/environments/{each}", {"protected": True}), 200)
        asked = script.post(f"/pipelines/{pipeline}/deploy", status=202)
        ids[each] = {
            "environments": each,
            "pipelines": pipeline,
            "nodes": node,
            "deployments": deployment,
            "actions": action,
            "action-batches": batch,
            "samples": sample,
            "taps": tap.request_id,
            "webhooks": script.post("/webhooks", {**hook, "environmentId": each})["id"],
            "alert-rules": script.post("/alert-rules", {**rule, "environmentId": each})["id"],
            "alerts": firing(app, each),
            "deploy-requests": asked["deployRequest"]["id"],
            "api-tokens": script.post("/api-tokens", {**token, "environmentId": each})["id"],
        }
    limited = make_script(app, "admin", own)

    for method, path, _ in routes(app):
        kind = path.split("/")[1]
        if kind in ("refused-tokens", "accounts"):
            refused(limited.call(method, path.replace("{id}", "f")), 403)
        elif "{id}" in path:
            refused(limited.call(method, path.replace("{id}", ids[other][kind])), 404)
    for kind in ("environments", "pipelines", "nodes"):
        assert [row["id"] for row in limited.get(f"/{kind}")["items"]] == [ids[own][kind]]
        assert limited.get(f"/{kind}/{ids[own][kind]}")["id"] == ids[own][kind]
    for kind in ("pipelines", "nodes"):
        assert limited.get(f"/{kind}", environmentId=other)["items"] == []
    assert {entry["environmentId"] for entry in limited.get("/audit")["items"]} == {own}
    for kind in ("webhooks", "alert-rules", "alerts", "deploy-requests"):
        assert [row["id"] for row in limited.get(f"/{kind}")["items"]] == [ids[own][kind]]
    assert {row["environmentId"] for row in limited.get("/api-tokens")["items"]} == {own}
    refused(limited.call("POST", "/webhooks", hook), 403)
    refused(limited.call("POST", "/alert-rules", rule), 403)
    refused(limited.call("POST", "/environments", {"name": "third"}), 403)
    refused(limited.call("GET", "/settings"), 403)
    refused(limited.call("PATCH", "/settings", {"pollIntervalMs": 9000}), 403)
    body = {"environmentId": other, "name": "q", "configYaml": YAML}
    refused(limited.call("POST", "/pipelines", body), 404)
    refused(limited.call("POST", "/pipelines/validate", body), 404)
    refused(limited.call("PATCH", f"/nodes/{ids[own]['nodes']}", {"environmentId": other}), 404)
    assert script.get(f"/pipelines/{ids[other]['pipelines']}")["wantedVersion"] == 1


# ---- ids and bodies ----


def test_unknown_and_ill_formed_ids_are_404_everywhere(app: Flask, script: Script) -> None:
    """Whatever stands in the address: never a 400 or a 500."""
    bodies = {"rollback": {"version": 1}}
    for method, path, _ in routes(app):
        if "{id}" in path:
            for wrong in UNKNOWN_IDS:
                body = None if method == "GET" else bodies.get(path.rpartition("/")[2], {})
                refused(script.call(method, path.replace("{id}", wrong), body), 404)


BODIES = [
    ("POST", "/environments", {"name": "n"}),
    ("PATCH", "/environments/{environment}", {"name": "n", "protected": True}),
    ("PUT", "/environments/{environment}/secrets/s", {"value": "v"}),
    ("PUT", "/environments/{environment}/certificates/c", {"filename": "c.pem", "data": ""}),
    ("PATCH", "/nodes/{node}", {"name": "n", "labels": {}, "maintenanceMode": True, "environmentId": "x"}),
    ("POST", "/pipelines", {"environmentId": "x", "name": "n", "configYaml": ""}),
    ("PUT", "/pipelines/{pipeline}", {"name": "n", "configYaml": "", "nodeSelector": "", "logLevel": "info"}),
    ("POST", "/pipelines/validate", {"configYaml": "", "environmentId": "x"}),
    ("POST", "/pipelines/{pipeline}/deploy", {"changelog": "c"}),
    ("POST", "/pipelines/{pipeline}/rollback", {"version": 1}),
    ("POST", "/alert-rules", {"name": "n", "kind": "node_unreachable", "severity": "info"}),
    ("POST", "/api-tokens", {"name": "n", "role": "viewer", "mayApprove": True}),
    ("PATCH", "/settings", {"pollIntervalMs": 1, "idleHeartbeatIntervalMs": 1}),
]
NOT_OBJECTS = [b"{", b"[]", b'"x"', b"5", b"null", b"\xff\xfe{", b'{"a": NaN}', b"{'a': 1}", b"[" * 100_000]


@pytest.fixture
def addresses(script: Script, environment_id: str, pipeline_id: str) -> dict[str, str]:
    node = node_id(enroll(script, environment_id, "n")[0])
    return {"{environment}": environment_id, "{node}": node, "{pipeline}": pipeline_id}


def fill(path: str, addresses: dict[str, str]) -> str:
    for name, value in addresses.items():
        path = path.replace(name, value)
    return path


def test_what_is_not_a_json_object_is_400(script: Script, addresses: dict[str, str]) -> None:
    """With a sentence, on every route that takes a body, whatever its content type says."""
    for method, path, _ in BODIES:
        for data in NOT_OBJECTS:
            refused(script.send(method, fill(path, addresses), data=data), 400)


def test_a_wrong_type_is_400_and_names_the_field(script: Script, addresses: dict[str, str]) -> None:
    """In camelCase; `null` is no text, a text is no number, a number is no truth value."""
    wrong: list[Any] = [5, -1, 1.5, True, "", [], {"a": 5}, None, 2**70]
    for method, path, good in BODIES:
        for field, right in good.items():
            for value in wrong:
                is_fine = type(value) is type(right) and value not in (-1, {"a": 5}, 2**70)
                is_fine |= field in ("nodeSelector", "logLevel", "changelog") and value in (None, "")
                if not is_fine:
                    refused(script.call(method, fill(path, addresses), {**good, field: value}), 400)
            answer = script.call(method, fill(path, addresses), {**good, field: [5]})
            refused(answer, 400, field)
    assert script.get(f"/pipelines/{addresses['{pipeline}']}")["configYaml"] == YAML


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff\ud800"])
def test_what_no_database_can_hold_is_400(script: Script, addresses: dict[str, str], text: str) -> None:
    """NUL characters and lone surrogates, in values, in keys and in the query string."""
    for method, path, good in BODIES:
        for field, right in good.items():
            if isinstance(right, str):
                data = json.dumps({**good, field: text})
                refused(script.send(method, fill(path, addresses), data=data), 400, field)
    node = f"/nodes/{addresses['{node}']}"
    refused(script.send("PATCH", node, data=json.dumps({"labels": {text: "x"}})), 400)
    refused(script.send("PATCH", node, data=json.dumps({"labels": {"x": text}})), 400, "labels.x")
    refused(script.call("GET", "/nodes", q="a\0b"), 400, "q")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9223372036854775808", "1" * 5000, "1e19"])
def test_a_number_beyond_64_bits_is_400(script: Script, number: str) -> None:
    """No column holds it."""
    before = script.get("/settings")
    refused(script.send("PATCH", "/settings", data=f'{{"sampleDays": {number}}}'), 400)
    assert script.get("/settings") == before


def test_a_missing_field_is_400_and_unknown_ones_are_ignored(script: Script) -> None:
    """An absent body counts as `{}`."""
    refused(script.call("POST", "/environments"), 400, "name")
    refused(script.call("POST", "/pipelines", {}), 400, "environmentId", "name", "configYaml")
    assert script.post("/environments", {"name": "n", "new": {"a": [1]}})["name"] == "n"


def test_a_body_over_a_mebibyte_is_413(script: Script) -> None:
    """One byte less is read."""
    assert "1048576" in refused(script.send("POST", "/environments", data=b" " * (2**20 + 1)), 413)
    refused(script.send("POST", "/environments", data=b" " * 2**20), 400, "name")


def test_another_method_is_405_and_another_address_404(script: Script) -> None:
    """As JSON with a sentence, like every other refusal."""
    refused(script.call("PUT", "/environments"), 405)
    refused(script.call("GET", "/nonsense"), 404)


# ---- limits ----


def test_a_token_that_asks_too_often_is_told_when_to_come_back(app: Flask, script: Script) -> None:
    """Each token has its own share, which every answer tells; whatever it asks for too often is not done."""
    rates = app.extensions["token_rates"]
    now = [1_000_004.0]
    app.extensions["token_rates"] = TokenRates(rates._gate, rates._prefix, 1, clock=lambda: now[0])
    other = make_script(app)
    for left in range(9, -1, -1):
        answer = script.call("GET", "/environments")
        assert answer.headers["RateLimit"] == f'"token";r={left};t=6'
        assert answer.headers["RateLimit-Policy"] == '"token";q=10;w=10'
    late = script.call("POST", "/environments", {"name": "n"})
    assert "more than 10 requests within 10 seconds" in refused(late, 429)
    assert (late.headers["Retry-After"], late.headers["RateLimit"]) == ("6", '"token";r=0;t=6')
    assert other.get("/environments")["items"] == []
    now[0] += 6
    assert script.call("GET", "/environments").headers["RateLimit"] == '"token";r=9;t=10'


def test_without_redis_or_a_limit_nobody_is_refused(app: Flask, script: Script) -> None:
    """What cannot be counted is not counted."""

    gate, prefix = app.extensions["switchboard"].gate, app.extensions["token_rates"]._prefix
    nowhere = RedisGate("redis://127.0.0.1:1/0")
    for rates in (TokenRates(nowhere, prefix, 1), TokenRates(gate, prefix, 0)):
        app.extensions["token_rates"] = rates
        for _ in range(12):
            answer = script.call("GET", "/environments")
            assert (answer.status_code, "RateLimit" in answer.headers) == (200, False)


# ---- lists ----


def walk(script: Script, path: str, **query: str) -> list[Any]:
    """All rows of a list, read in pages of two."""
    rows: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = script.get(path, limit="2", **query, **cursor)
        assert set(page) - {"targets", "gained", "lost"} == {"items", "nextCursor"}
        assert len(page["items"]) == 2 or page["nextCursor"] is None
        rows += page["items"]
        if page["nextCursor"] is None:
            return rows
        cursor = {"cursor": page["nextCursor"]}


def test_lists_are_newest_first_and_nodes_by_name(script: Script, environment_id: str) -> None:
    """Read in pages, each row comes once."""
    names = ["beta", "alpha", "delta", "gamma", "epsilon"]
    for name in names:
        script.post("/pipelines", {"environmentId": environment_id, "name": name, "configYaml": YAML})
        script.post("/environments", {"name": name})
    enroll(script, environment_id, *names, "alpha")
    assert [row["name"] for row in walk(script, "/pipelines")] == names[::-1]
    assert [row["name"] for row in walk(script, "/environments")] == [*names[::-1], "production"]
    assert [row["name"] for row in walk(script, "/nodes")] == sorted([*names, "alpha"])
    for name, found in (("alpha", ["alpha"]), ("alph", [])):
        assert [row["name"] for row in script.get("/pipelines", name=name)["items"]] == found
    pipeline = script.get("/pipelines")["items"][0]["id"]
    for _ in range(3):
        script.post(f"/pipelines/{pipeline}/deploy", status=200)
    assert [row["version"] for row in walk(script, f"/pipelines/{pipeline}/versions")] == [3, 2, 1]
    assert [row["name"] for row in walk(script, f"/pipelines/{pipeline}/targets")] == sorted(
        [*names, "alpha"]
    )
    entries = walk(script, "/audit")
    assert [row["at"] for row in entries] == sorted((row["at"] for row in entries), reverse=True)
    assert len({row["id"] for row in entries}) == len(entries)


@pytest.mark.parametrize("limit", ["0", "-1", "501", "x", "1.5", "9" * 400, "٣"])
def test_a_limit_outside_of_1_to_500_is_400(script: Script, limit: str) -> None:
    """On every list."""
    for path in ("/environments", "/nodes", "/pipelines", "/audit"):
        refused(script.call("GET", path, limit=limit), 400, "limit")


@pytest.mark.parametrize(
    "cursor", ["x", "!!!", "WyJhIl0x", "W10", "WzFd", "WyIAIl0", "eyJhIjoxfQ", "a" * 5000, "☃"]
)
def test_a_cursor_of_another_list_is_400(script: Script, cursor: str) -> None:
    """Cursors are opaque; one that nobody was given is refused, not guessed at."""
    for path in ("/environments", "/nodes", "/pipelines", "/audit"):
        refused(script.call("GET", path, cursor=cursor), 400, "cursor")
