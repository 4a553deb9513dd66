"""The command line where an environment is protected, and tokens: on a real server with several workers."""

import re
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import YAML, Cli, StartShell
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server, run_flask


@pytest.fixture
def place(cli: Cli, operator: Operator) -> Any:
    """A protected environment of this test's own, which is the one that is meant."""
    row = operator.create_environment(f"cli-{uuid.uuid4().hex[:8]}")
    operator.call("PATCH", f"/environments/{row['id']}", {"protected": True})
    cli.variables["SIGNALBOX_ENVIRONMENT"] = row["name"]
    return row


@pytest.fixture
def second(cli: Cli, place: Any, server: Server, tmp_path: Path) -> Cli:
    """Somebody else, with the right to approve."""
    text = run_flask(
        server.settings, "api-token", "create", "second", "--role", "editor", "--may-approve"
    ).strip()
    return Cli(tmp_path, {**cli.variables, "SIGNALBOX_API_TOKEN": text})


def test_a_deploy_waits_for_somebody_else(
    cli: Cli, second: Cli, place: Any, operator: Operator, server: Server, start_shell: StartShell
) -> None:
    """It says so and ends well; --wait waits for the approval and for the nodes, and has a code of its own."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    pipeline = operator.create_pipeline(place["id"], name, YAML)["id"]
    said = cli.run("deploy", name).stdout
    assert "waits for approval" in said
    request = cli.json("approvals", "list")[0]
    assert request["id"] in said
    late = cli.run("deploy", name, "--wait", "--timeout", "0", code=8)
    assert "Nobody has decided" in late.stderr
    assert len(cli.json("approvals", "list")) == 1, "asked for already"
    assert "not given the right" in cli.refused("approvals", "reject", name, code=4)
    shown = second.run("approvals", "show", name).stdout
    assert "+   made:" in shown
    waiting = start_shell(cli, "deploy", name, "--wait")
    waiting.wait_for(lambda shell: "Waiting for approval" in str(shell.errors), "it waits")
    second.run("approvals", "reject", name, "-m", "not on a Friday")
    assert waiting.end() == 8
    assert "rejected by token second" in str(waiting.errors)
    assert "not on a Friday" in str(waiting.errors)
    waiting = start_shell(cli, "deploy", name, "--wait")
    waiting.wait_for(lambda shell: "Waiting for approval" in str(shell.errors), "it waits")
    assert "version 1: 0 nodes" in second.run("approvals", "approve", name, "--yes").stdout
    assert waiting.end() == 0
    assert operator.call("GET", f"/pipelines/{pipeline}")["wantedVersion"] == 1
    states = [row["state"] for row in cli.json("approvals", "list", "--state", "all")]
    assert states == ["approved", "rejected"]


def test_other_nodes_have_to_be_meant(
    cli: Cli, second: Cli, place: Any, operator: Operator, server: Server
) -> None:
    """Which, it says; nothing is deployed without the word."""
    name = f"p-{uuid.uuid4().hex[:8]}"
    operator.create_pipeline(place["id"], name, YAML)
    cli.run("deploy", name)
    AgentByHand(server.url).enroll(operator.enrollment_token(place["id"]), "edge-09")
    refused = second.refused("approvals", "approve", name, "--yes", code=6)
    assert "Joined since it was asked: edge-09" in refused
    assert "1 node" in second.run("approvals", "approve", name, "--yes", "--targets-changed").stdout
    assert "none is open" in second.refused("approvals", "show", name, code=5)


def test_a_folder_is_applied_by_asking(cli: Cli, second: Cli, place: Any, tmp_path: Path) -> None:
    """Applied again it asks for nothing new; what no file names is deleted once its undeploying was approved."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(f"name: {name}\nconfig:\n" + re.sub("^", "  ", YAML, flags=re.M))
    assert "one waits for approval" in cli.run("apply", "-f", str(folder)).stdout
    cli.run("apply", "-f", str(folder))
    assert len(cli.json("approvals", "list")) == 2
    for name in ("one", "two"):
        second.run("approvals", "approve", name, "--yes")
    assert "2 unchanged" in cli.run("apply", "-f", str(folder), "--wait").stdout
    (folder / "one.yaml").unlink()
    pruned = cli.run("apply", "-f", str(folder), "--prune", "--yes").stdout
    assert "one waits for approval" in pruned
    assert "one is deleted" not in pruned
    second.run("approvals", "approve", "one", "--yes")
    assert "one is deleted" in cli.run("apply", "-f", str(folder), "--prune", "--yes").stdout


def test_tokens_are_made_listed_and_revoked(cli: Cli, place: Any) -> None:
    """The text alone on standard output; revoked it is refused by each worker."""
    name = f"ci-{uuid.uuid4().hex[:8]}"
    text = cli.run("tokens", "create", name, "--role", "viewer", "--expires", "30d").stdout.strip()
    own = Cli(cli.folder, {**cli.variables, "SIGNALBOX_API_TOKEN": text})
    assert [row["name"] for row in own.json("environments", "list")] == [place["name"]]
    assert "role viewer" in own.refused("tokens", "list", code=4)
    (row,) = [row for row in cli.json("tokens", "list") if row["name"] == name]
    assert (row["role"], row["environmentId"], row["createdBy"]) == ("viewer", place["id"], "token tests")
    cli.run("tokens", "revoke", name, "--yes")
    for _ in range(6):  # whichever worker answers
        assert "revoked" in own.refused("environments", "list", code=4)
    assert name in cli.run("tokens", "list", "--revoked").stdout
    assert "neither a span" in cli.refused(
        "tokens", "create", "t", "--role", "viewer", "--expires", "soon", code=2
    )
