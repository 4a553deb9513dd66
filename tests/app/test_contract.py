"""What routes declare is whole, and what they answer is as declared."""

import json
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask

from app.operator_api import contract, openapi
from tests.app.conftest import Script, refused
from tests.support.described import undescribed_of


@pytest.fixture
def document(app: Flask) -> Any:
    return json.loads(app.test_client().get("/api/v1/openapi.json").data)


def test_every_route_of_the_api_declares_what_it_takes_and_answers(app: Flask, document: Any) -> None:
    """`@declares(...)` on its view (docs/checklists.md); so it stands in the document."""
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/api/v1") and rule.endpoint != "openapi":
            assert contract.of(app, rule.endpoint), f"{rule.rule} ({rule.endpoint}) declares nothing"
    described = {(method.upper(), path) for path, own in document["paths"].items() for method in own}
    assert described == {(route.method, route.path) for route in openapi.routes(app)}
    assert len(described) > 50


def test_the_document_is_served_to_whoever_asks_and_once(app: Flask) -> None:
    """No token, no secret in it, and a 304 for whoever has it."""
    first = app.test_client().get("/api/v1/openapi.json")
    assert (first.status_code, first.mimetype) == (200, "application/json")
    again = app.test_client().get("/api/v1/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_document_is_openapi(document: Any) -> None:
    """Unique operations with a summary and a tag, every reference leads somewhere, every schema is one."""
    assert document["openapi"] == "3.1.0"
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    for operation in operations:
        assert operation["summary"], operation
        assert operation["tags"], operation
        names = [each.get("$ref") or (each["in"], each["name"]) for each in operation.get("parameters", [])]
        assert len(set(names)) == len(names)
    for kind in ("schemas", "responses", "parameters", "headers"):
        text = json.dumps(document)
        for name in document["components"][kind]:
            assert f"#/components/{kind}/{name}" in text, f"nothing refers to {name}"
    for reference in _references(document):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in document["components"][kind], reference
    for name, schema in document["components"]["schemas"].items():
        jsonschema_rs.meta.validate({**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"})
        assert "__" not in name, f"two shapes are called alike: {name}"


def test_examples_are_as_described(document: Any) -> None:
    """Of bodies and of answers: people copy them."""
    components = {"components": {"schemas": document["components"]["schemas"]}}
    for path in document["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                for content in response.get("content", {}).values():
                    if "example" in content:
                        schema = {**content["schema"], **components}
                        jsonschema_rs.validator_for(schema).validate(content["example"])
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            assert jsonschema_rs.validator_for({**schema, **components}).is_valid(example), name


def test_what_is_not_described_is_found(app: Flask) -> None:
    """The check behind every answer in these tests: another status, another type, a field too many or too few."""
    endpoint = "operator_api.environments.show"
    row = {
        "id": "a", "name": "n", "protected": False, "nodeCount": 0, "selectableAgentLabels": [],
        "createdAt": "2026-01-31T12:00:00.000Z",
    }  # fmt: skip

    def found(status: int, media_type: str, body: Any) -> str:
        return undescribed_of(app, "GET", endpoint, status, media_type, body)

    assert found(200, "application/json", row) == ""
    assert found(418, "application/json", row)
    assert found(200, "text/html", row)
    assert found(200, "application/json", {**row, "secret": "x"})
    assert found(200, "application/json", {**row, "nodeCount": "0"})
    assert found(200, "application/json", {**row, "createdAt": "yesterday"})
    assert found(200, "application/json", {key: value for key, value in row.items() if key != "name"})


def test_a_refusal_is_problem_json_beside_the_sentence(app: Flask, script: Script) -> None:
    """RFC 9457's members beside `error` and `details`; also where there is no route. The agents' are as ever."""
    for answer, status in (
        (script.call("POST", "/environments", {"name": ""}), 400),
        (script.call("GET", "/environments/nope"), 404),
        (script.call("GET", "/nonsense/☃"), 404),
        (script.call("PUT", "/environments"), 405),
        (Script(script.client, None).call("GET", "/environments"), 401),
    ):
        assert answer.mimetype == "application/problem+json"
        body = answer.get_json()
        assert (body["status"], body["detail"]) == (status, refused(answer, status))
        assert body["type"] == f"/docs/api#problem-{status}"
        assert body["instance"].startswith("/api/v1/")
        assert body["instance"].isascii()
        assert body["title"]
    agents = Script(script.client, None, "/api/agent").call("GET", "/config")
    assert agents.mimetype == "application/json"
    assert set(agents.get_json()) == {"error"}


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for value in part.values() for each in _references(value)]
    if isinstance(part, list):
        return [each for value in part for each in _references(value)]
    return []
