"""Somebody else changes what a command has read, and answers get lost: nothing is overwritten, nothing done twice."""

import base64
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from signalbox_cli import retries
from tests.cli.conftest import YAML, Cli
from tests.support.api import AgentByHand, Operator
from tests.support.meddling_proxy import MeddlingProxy
from tests.support.server import Server
from tests.support.tls_server import self_signed

THEIRS = YAML + "# theirs\n"
OURS = YAML + "# ours\n"


@pytest.fixture
def proxy(server: Server) -> Iterator[MeddlingProxy]:
    with MeddlingProxy(server.url) as proxy:
        yield proxy
        proxy.shutdown()


@pytest.fixture
def place(cli: Cli, operator: Operator, proxy: MeddlingProxy, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An environment of this test's own, which is meant, behind the proxy."""
    monkeypatch.setattr(retries, "FIRST_PAUSE_SECONDS", 0.01)
    row = operator.create_environment(f"cli-{uuid.uuid4().hex[:8]}")
    cli.variables |= {"SIGNALBOX_ENVIRONMENT": row["name"], "SIGNALBOX_URL": proxy.url}
    return row


@pytest.fixture
def pipeline(operator: Operator, place: Any) -> Any:
    """One that is deployed as version 1."""
    row = operator.create_pipeline(place["id"], "p", YAML)
    operator.deploy(row["id"])
    return row


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Files that want it to be otherwise."""
    folder = tmp_path / "fleet"
    (folder / "vector").mkdir(parents=True)
    (folder / "vector" / "p.yaml").write_text(OURS)
    (folder / "p.yaml").write_text("name: p\nconfigFile: vector/p.yaml\n")
    return folder


def refused(cli: Cli, *arguments: str, typed: str = "") -> str:
    """What a command says that ends as a conflict with somebody."""
    said = cli.run(*arguments, typed=typed, code=6).stderr
    assert "Somebody has changed " in said
    assert "since it was read for this. Run it again." in said
    return said


def now(operator: Operator, pipeline: Any) -> tuple[str, int | None]:
    row = operator.call("GET", f"/pipelines/{pipeline['id']}")
    return row["configYaml"], row["wantedVersion"]


def edit(operator: Operator, pipeline: Any) -> Callable[[], object]:
    return lambda: operator.call("PUT", f"/pipelines/{pipeline['id']}", {"configYaml": THEIRS})


def test_apply_leaves_a_draft_that_was_changed_since_its_plan(
    cli: Cli, operator: Operator, proxy: MeddlingProxy, place: Any, pipeline: Any, fleet: Path
) -> None:
    """Neither written nor deployed; the next run's plan shows what they did, and does it."""
    proxy.before("PUT", pipeline["id"], edit(operator, pipeline))
    said = refused(cli, "apply", "-f", str(fleet))
    assert f"the pipeline {place['name']}/p" in said
    assert "0 steps before it were done" in said
    assert now(operator, pipeline) == (THEIRS, 1)
    again = cli.run("apply", "-f", str(fleet)).stdout
    assert "p is version 2" in again
    assert now(operator, pipeline) == (OURS, 2)


def test_apply_deploys_the_draft_that_it_knows(
    cli: Cli, operator: Operator, proxy: MeddlingProxy, place: Any, pipeline: Any, fleet: Path
) -> None:
    """One that was changed after apply has written it, or after the plan that only deploys, reaches no node."""
    proxy.before("POST", "/deploy", edit(operator, pipeline))
    said = refused(cli, "apply", "-f", str(fleet))
    assert "Its draft had been written before that; it was not deployed." in said
    assert now(operator, pipeline) == (THEIRS, 1)

    operator.call("PUT", f"/pipelines/{pipeline['id']}", {"configYaml": OURS})
    proxy.before("POST", "/deploy", edit(operator, pipeline))
    assert "had been written" not in refused(cli, "apply", "-f", str(fleet))
    assert now(operator, pipeline) == (THEIRS, 1)
    assert proxy.is_done


def test_apply_leaves_what_somebody_has_deployed_since_its_plan(
    cli: Cli, operator: Operator, proxy: MeddlingProxy, place: Any, pipeline: Any, fleet: Path
) -> None:
    """A rollback leaves the draft as it was, and counts all the same."""
    proxy.before("GET", pipeline["id"], lambda: operator.roll_back(pipeline["id"], 1), number=2)
    refused(cli, "apply", "-f", str(fleet))
    assert now(operator, pipeline) == (YAML, 2)


def test_apply_prunes_what_its_plan_has_shown(
    cli: Cli, operator: Operator, proxy: MeddlingProxy, place: Any, pipeline: Any, fleet: Path
) -> None:
    """What was changed stays deployed; what was changed in the middle stays, and it is said how far that went."""
    (fleet / "p.yaml").write_text("name: other\nconfigFile: vector/p.yaml\n")
    prune = ("apply", "-f", str(fleet), "--prune", "--yes")
    proxy.before("GET", pipeline["id"], edit(operator, pipeline), number=2)
    said = refused(cli, *prune)
    assert "1 steps before it were done" in said
    assert now(operator, pipeline) == (THEIRS, 1)

    operator.call("PUT", f"/pipelines/{pipeline['id']}", {"configYaml": YAML})
    proxy.before("DELETE", pipeline["id"], edit(operator, pipeline))
    assert "It had been taken off its nodes before that; it was not deleted." in refused(cli, *prune)
    assert now(operator, pipeline) == (THEIRS, None)
    cli.run(*prune)
    assert operator.call("GET", "/pipelines", environmentId=place["id"], name="p")["items"] == []


def test_nodes_are_changed_as_they_were_read(
    cli: Cli, server: Server, operator: Operator, proxy: MeddlingProxy, place: Any
) -> None:
    """Labels that somebody sets meanwhile stay; a node that was renamed since it was chosen goes on running."""
    agent = AgentByHand(server.url)
    node = agent.enroll(operator.enrollment_token(place["id"]), "n")["nodeId"]
    agent.session.close()

    def patch(**changes: Any) -> Callable[[], object]:
        return lambda: operator.call("PATCH", f"/nodes/{node}", changes)

    proxy.before("PATCH", node, patch(labels={"zone": "theirs"}))
    refused(cli, "nodes", "label", "n", "role=web")
    assert operator.node(node)["operatorLabels"] == {"zone": "theirs"}
    proxy.before("PATCH", node, patch(name="m"))
    refused(cli, "nodes", "rename", "n", "ours")
    proxy.before("GET", node, patch(name="n"))
    said = refused(cli, "maintenance", "on", "m", "--yes")
    assert "0 of 1 nodes are in maintenance." in said
    proxy.before("PATCH", node, patch(labels={}))
    refused(cli, "maintenance", "on", "n", "--yes")
    proxy.before("DELETE", node, patch(name="m"))
    refused(cli, "nodes", "delete", "n", "--yes")
    row = operator.node(node)
    assert (row["name"], row["operatorLabels"], row["maintenanceMode"]) == ("m", {}, False)
    cli.run("maintenance", "on", "m", "--yes")
    assert proxy.is_done


def test_other_things_are_changed_as_they_were_read(
    cli: Cli, operator: Operator, proxy: MeddlingProxy, place: Any, tmp_path: Path
) -> None:
    """A secret that was not there, one that was, a certificate, an environment, a pipeline."""
    secret = f"/environments/{place['id']}/secrets/s"

    def put() -> None:
        operator.call("PUT", secret, {"value": "theirs"})

    proxy.before("PUT", "/secrets/s", put)
    assert "the secret s" in refused(cli, "secrets", "set", "s", typed="ours")
    proxy.before("PUT", "/secrets/s", put)
    refused(cli, "secrets", "set", "s", typed="ours")
    proxy.before("DELETE", "/secrets/s", put)
    refused(cli, "secrets", "delete", "s", "--yes")
    cli.run("secrets", "set", "s", typed="ours")
    cli.run("secrets", "delete", "s", "--yes")

    file = self_signed(tmp_path)
    body = {"filename": "ca.pem", "data": base64.b64encode(file.read_bytes()).decode()}
    certificate = f"/environments/{place['id']}/certificates/c"
    for method, command in (("PUT", ["set", "c", str(file)]), ("DELETE", ["delete", "c", "--yes"])):
        proxy.before(method, "/certificates/c", lambda: operator.call("PUT", certificate, body))
        assert "the certificate c" in refused(cli, "certificates", *command)
    cli.run("certificates", "delete", "c", "--yes")

    row = operator.create_pipeline(place["id"], "q", YAML)
    proxy.before("DELETE", row["id"], edit(operator, row))
    refused(cli, "pipelines", "delete", "q", "--yes")
    cli.run("pipelines", "delete", "q", "--yes")
    name = place["name"]

    def rename() -> None:
        operator.call("PATCH", f"/environments/{place['id']}", {"name": f"{name}-x"})

    proxy.before("DELETE", place["id"], rename)
    refused(cli, "environments", "delete", name, "--yes")
    assert operator.call("GET", f"/environments/{place['id']}")["name"] == f"{name}-x"
    assert proxy.is_done


def test_what_was_done_and_not_answered_is_done_once(
    cli: Cli, operator: Operator, proxy: MeddlingProxy, place: Any
) -> None:
    """The command goes on with what it was answered the second time; what is shown once is not shown again."""
    proxy.lose("POST", "/pipelines")
    assert cli.run("pipelines", "create", "p", "-f", "-", typed=YAML).stderr == ""
    proxy.lose("POST", "/deploy")
    assert cli.json("deploy", "p")["version"] == 1
    rows = operator.call("GET", "/pipelines", environmentId=place["id"])["items"]
    assert [(row["name"], row["wantedVersion"]) for row in rows] == [("p", 1)]
    versions = operator.call("GET", f"/pipelines/{rows[0]['id']}/versions")["items"]
    assert [row["version"] for row in versions] == [1]

    name = f"lost-{place['name']}"
    proxy.lose("POST", "/api-tokens")
    said = cli.refused("tokens", "create", name, "--role", "viewer", code=6)
    assert "nothing was done again" in said
    known = operator.call("GET", "/api-tokens", environmentId=place["id"])["items"]
    assert [row["name"] for row in known] == [name]
    posts = [headers["Idempotency-Key"] for method, _, headers in proxy.asked if method == "POST"]
    assert len(posts) == 6
    assert posts[0::2] == posts[1::2]
    assert len(set(posts)) == 3
    assert proxy.is_done
