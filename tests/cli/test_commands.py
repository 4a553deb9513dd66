"""What the commands do on a real server, without nodes that would run anything."""

import os
import pty
import signal
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.shell_completion import BashComplete
from flask import Flask

from app import accounts
from app.audit import COMMAND_LINE
from signalbox_cli import completion
from signalbox_cli.program import main
from tests.cli.conftest import YAML, Cli, StartShell
from tests.support.api import AgentByHand, Operator
from tests.support.server import Server
from tests.support.tls_server import self_signed
from tests.support.until import until


@pytest.fixture
def place(cli: Cli, operator: Operator) -> Any:
    """An environment of this test's own, which is the one that is meant."""
    row = operator.create_environment(f"cli-{uuid.uuid4().hex[:8]}")
    cli.variables["SIGNALBOX_ENVIRONMENT"] = row["name"]
    return row


@pytest.fixture
def nodes(server: Server, operator: Operator, place: Any) -> dict[str, str]:
    """Names and ids of nodes that have enrolled, two of them of one name."""
    token = operator.enrollment_token(place["id"])
    found = {}
    for name in ("edge-01", "edge-02", "twin", "twin"):
        agent = AgentByHand(server.url)
        found[name] = agent.enroll(token, name)["nodeId"]
        agent.session.close()
    return found


def pipelines(operator: Operator, place: Any) -> dict[str, Any]:
    rows = operator.call("GET", "/pipelines", environmentId=place["id"])["items"]
    return {row["name"]: row for row in rows}


def test_names_and_ids_are_taken_alike(
    cli: Cli, operator: Operator, place: Any, nodes: dict[str, str]
) -> None:
    """One that is unknown brings similar ones, one that several have all of them; programs get the API's objects."""
    node = operator.node(nodes["edge-01"])
    assert cli.json("nodes", "show", "edge-01") == cli.json("nodes", "show", node["id"]) == node
    assert yaml.safe_load(cli.run("nodes", "list", "-q", "edge-01", "-o", "yaml").stdout) == [node]
    assert cli.json("environments", "show", place["id"])["name"] == place["name"]
    assert "Did you mean edge-01" in cli.refused("nodes", "show", "egde-01", code=5)
    said = cli.refused("nodes", "show", "twin", code=2).splitlines()
    assert said[0] == 'signalbox: 2 nodes are called "twin". Which one is meant?'
    assert nodes["twin"] in " ".join(said[1:])
    assert "There is no environment" in cli.refused("nodes", "list", "-e", "nowhere", code=5)
    assert f"Did you mean {place['name']}" in cli.refused("environments", "show", place["name"][:-1], code=5)
    assert f'"nobody" in {place["name"]}.' in cli.refused("nodes", "show", "nobody", code=5)
    other = operator.create_environment(f"{place['name']}-b")
    for where in (place, other):
        operator.create_pipeline(where["id"], f"of-{place['name']}", YAML)
    name = f"of-{place['name']}"
    assert cli.json("pipelines", "show", name)["environmentId"] == place["id"]
    assert cli.json("pipelines", "show", f"{other['name']}/{name}")["environmentId"] == other["id"]
    del cli.variables["SIGNALBOX_ENVIRONMENT"]
    assert f"{other['name']}/{name}" in cli.refused("deploy", name, code=2)
    assert cli.json("pipelines", "show", name, "-e", place["id"])["environmentId"] == place["id"]


def test_nodes_are_listed_labelled_and_revoked(cli: Cli, operator: Operator, nodes: dict[str, str]) -> None:
    """Filters are the API's; other labels stay; what cannot be taken back is not done without a yes."""
    cli.run("nodes", "label", "edge-01", "zone=a", "role=web")
    cli.run("nodes", "label", "edge-01", "zone=b", "role-", "gpu=")
    assert operator.node(nodes["edge-01"])["operatorLabels"] == {"zone": "b", "gpu": ""}
    assert "is no change of a label" in cli.refused("nodes", "label", "edge-01", "zone", code=2)
    assert [row["name"] for row in cli.json("nodes", "list", "-l", "zone in (b,c)")] == ["edge-01"]
    assert len(cli.json("nodes", "list", "--status", "unknown", "--disconnected")) == 4
    table = cli.run("nodes", "list").stdout.splitlines()
    assert table[0].split() == ["NAME", "STATUS", "CONNECTED", "PIPELINES", "LABELS", "SEEN", "ID"]
    assert [line.split()[0] for line in table[1:]] == ["edge-01", "edge-02", "twin", "twin"]
    assert "selector" in cli.refused("nodes", "list", "-l", "a=b,,", code=2)

    assert "say --yes" in cli.refused("maintenance", "on", "-l", "zone=b", code=2)
    assert "2 nodes (edge-02, edge-01)" in cli.refused(
        "maintenance", "on", "edge-02", "edge-01", "edge-02", code=2
    )
    cli.run("maintenance", "on", "-l", "", "--yes")
    assert len(cli.json("nodes", "list", "--status", "MAINTENANCE")) == 4
    assert (
        "2 of 2 nodes are out of maintenance."
        in cli.run("maintenance", "off", "edge-01", "edge-02", "-y").stderr
    )
    assert "so already" in cli.run("maintenance", "off", "edge-01").stderr
    counts = cli.json("status")["counts"]
    assert (counts["nodes"], counts["connected"], counts["maintenance"]) == (4, 0, 2)

    cli.run("pipelines", "create", "p", "-f", "-", "--selector", "zone=b", typed=YAML)
    late = cli.run("deploy", "p", "--wait", "--timeout", "0.1", code=1).stderr
    assert "p v1: not reported within 0.1 s by edge-01" in late
    cli.run("maintenance", "on", "edge-01", "--yes")
    assert "0 of 0 running, 1 in maintenance, not waited for" in cli.run("deploy", "p", "--wait").stderr

    assert "say --yes" in cli.refused("nodes", "revoke", "edge-01", code=2)
    cli.run("nodes", "revoke", "edge-01", "--yes")
    assert "REVOKED" in cli.run("nodes", "show", "edge-01").stdout
    assert cli.run("logs", "edge-02").stderr == "edge-02 has sent no lines.\n"
    cli.run("nodes", "delete", "edge-01", "--yes")
    assert cli.refused("nodes", "show", nodes["edge-01"], code=5)


def test_secrets_come_from_standard_input_alone(cli: Cli, operator: Operator, place: Any) -> None:
    """Nothing shows them again, one line's end is left out, and what uses one keeps it."""
    assert "unexpected extra argument" in cli.refused("secrets", "set", "token", "hunter2", code=2)
    assert "The value is empty" in cli.refused("secrets", "set", "token", typed="\n", code=2)
    assert "not UTF-8" in cli.refused("secrets", "set", "token", typed=b"\xff", code=2)
    result = cli.run("secrets", "set", "token", typed="hunter2\n")
    assert "hunter2" not in result.output + cli.run("secrets", "list").output
    assert [row["name"] for row in cli.json("secrets", "list")] == ["token"]
    used = YAML.replace(
        "type: blackhole", 'type: http\n    uri: "SECRET[token]"\n    encoding: {codec: json}'
    )
    operator.deploy(operator.create_pipeline(place["id"], "uses", used)["id"])
    assert "uses" in cli.refused("secrets", "delete", "token", "--yes", code=6)
    cli.run("undeploy", "uses", "--yes")
    cli.run("secrets", "delete", "token", "--yes")
    assert cli.json("secrets", "list") == []


def test_certificates_and_environments(cli: Cli, operator: Operator, place: Any, tmp_path: Path) -> None:
    """A file goes in; an enrollment token is printed and nothing beside it; what is in use stays."""
    file = self_signed(tmp_path)
    cli.run("certificates", "set", "ca", str(file))
    assert "(in 8" in cli.run("certificates", "list").stdout
    cli.run("certificates", "delete", "ca", "--yes")
    token = cli.run("environments", "enrollment-token", place["name"], "--yes").stdout
    assert token.startswith("sbx_enroll_")
    assert len(token.split()) == 1
    assert "already" in cli.refused("environments", "create", place["name"], code=6)
    cli.run("environments", "create", f"{place['name']}-c", "--protected")
    cli.run("environments", "delete", f"{place['name']}-c", "--yes")


def test_a_pipeline_from_a_file_to_its_end(cli: Cli, operator: Operator, place: Any, tmp_path: Path) -> None:
    """Checked, made, deployed, rolled back, exported, taken off and deleted."""
    file, bad = tmp_path / "a.yaml", tmp_path / "bad.yaml"
    file.write_text(YAML)
    bad.write_text(YAML.replace("[made]", "[mad]"))
    assert "can be deployed" in cli.run("pipelines", "validate", str(file)).stderr
    refused = cli.run("pipelines", "validate", str(bad), code=1)
    assert f"{bad}:8: component gone: " in refused.stdout
    assert cli.json("pipelines", "validate", str(bad), code=1)["errors"][0]["line"] == 8
    cli.run("pipelines", "create", "p", "-f", "-", "--selector", "zone=a", "--log-level", "off", typed=YAML)
    assert "no node matches" in cli.run("deploy", "p", "-m", "first", "--wait").stdout
    assert cli.json("pipelines", "versions", "p")[0]["changelog"] == "first"
    assert cli.json("rollback", "p", "1")["version"] == 2
    assert "has no version 9" in cli.refused("rollback", "p", "9", code=5)
    assert "is not deployed" not in cli.run("pipelines", "list").output

    fleet = tmp_path / "fleet"
    cli.run("pipelines", "export", "-d", str(fleet))
    assert "there already" in cli.refused("pipelines", "export", "-d", str(fleet), code=6)
    assert "1 unchanged." in cli.run("diff", "-f", str(fleet)).stdout
    assert cli.run("pipelines", "export", "p", "--version", "1").stdout == (fleet / "p.yaml").read_text()

    assert "Take it off first" in cli.refused("pipelines", "delete", "p", "-y", code=6)
    cli.run("undeploy", "p", "-y")
    assert "is not deployed" in cli.refused("undeploy", "p", "-y", code=6)
    assert "nothing to sample" in cli.refused("sample", "p", code=6)
    cli.run("pipelines", "delete", "p", "-y")
    assert pipelines(operator, place) == {}


def test_files_are_applied_whole_or_not_at_all(
    cli: Cli, operator: Operator, server: Server, place: Any, tmp_path: Path, start_shell: StartShell
) -> None:
    """A broken one stops all before anything is changed; then from nothing, with a change, an edit and one less."""
    fleet = tmp_path / "fleet"
    fleet.mkdir()
    where = f"environment: {place['name']}\n"
    (fleet / "a.yaml").write_text(f"{where}name: a\nconfigFile: vector/a.yaml\n")
    (fleet / "vector").mkdir()
    (fleet / "vector" / "a.yaml").write_text(YAML)
    indented = "".join(f"  {line}\n" for line in YAML.splitlines())
    (fleet / "b.yaml").write_text(f"name: b\nselector: a=b,,\nconfig:\n{indented.replace('[made]', '[mad]')}")
    said = cli.refused("apply", "-f", str(fleet), code=2).splitlines()
    assert said[0] == "signalbox: 2 problems in the files; nothing was changed."
    assert said[1].startswith(f"  {fleet}/b.yaml:2: selector: ")
    assert said[2].startswith(f"  {fleet}/b.yaml:11: component gone: ")
    (fleet / "b.yaml").write_text(f"environment: nowhere\nname: b\nconfig:\n{indented}")
    assert f"{fleet}/b.yaml:1: environment: there is no" in cli.refused("apply", "-f", str(fleet), code=2)
    assert pipelines(operator, place) == {}

    (fleet / "b.yaml").write_text(f"name: b\nselector: zone=a\nlogLevel: debug\nconfig:\n{indented}")
    dry = cli.run("apply", "-f", str(fleet), "--dry-run")
    assert "2 to create." in dry.stdout
    assert pipelines(operator, place) == {}
    applied = cli.json("apply", "-f", str(fleet), "-m", "from files")
    assert [(step["action"], step["deployment"]["version"]) for step in applied["steps"]] == [
        ("create", 1)
    ] * 2
    rows = pipelines(operator, place)
    assert (rows["b"]["nodeSelector"], rows["b"]["logLevel"], rows["b"]["wantedVersion"]) == (
        "zone=a",
        "debug",
        1,
    )
    assert rows["a"]["configYaml"] == YAML
    assert "2 unchanged." in cli.run("apply", "-f", str(fleet)).stdout
    assert pipelines(operator, place) == rows, "nothing was written"

    # The draft of the one is edited and not deployed; the other is rolled to something else, its draft as it was.
    operator.call("PUT", f"/pipelines/{rows['a']['id']}", {"configYaml": YAML + "# mine\n"})
    operator.call("PUT", f"/pipelines/{rows['b']['id']}", {"nodeSelector": "zone=b"})
    operator.deploy(rows["b"]["id"])
    operator.call("PUT", f"/pipelines/{rows['b']['id']}", {"nodeSelector": "zone=a"})
    steps = {step["name"]: step for step in cli.json("diff", "-f", str(fleet), code=1)["steps"]}
    assert (steps["a"]["action"], steps["b"]["action"]) == ("change", "deploy")
    assert "-# mine" in steps["a"]["difference"]
    assert {"-selector: zone=b", "+selector: zone=a"} <= set(steps["b"]["difference"])
    applied = cli.json("apply", "-f", str(fleet))
    assert [step["deployment"] and step["deployment"]["version"] for step in applied["steps"]] == [None, 3]
    rows = pipelines(operator, place)
    assert (rows["a"]["configYaml"], rows["a"]["wantedVersion"], rows["b"]["wantedVersion"]) == (YAML, 1, 3)

    viewer = _token(server, "viewer")
    cli.variables["SIGNALBOX_API_TOKEN"], admin = viewer, cli.variables["SIGNALBOX_API_TOKEN"]
    assert cli.run("diff", "-f", str(fleet)).exit_code == 0
    (fleet / "vector" / "a.yaml").write_text(YAML.replace("json", "syslog"))
    assert "+    format: syslog" in cli.run("diff", "-f", str(fleet), code=1).stdout
    assert "role viewer" in cli.refused("apply", "-f", str(fleet), "-o", "json", code=4)
    cli.variables["SIGNALBOX_API_TOKEN"] = admin

    (fleet / "b.yaml").unlink()
    assert "1 to change" in cli.run("diff", "-f", str(fleet), code=1).stdout
    assert "prune" in cli.run("diff", "-f", str(fleet), "--prune", code=1).stdout
    assert "say --yes" in cli.run("apply", "-f", str(fleet), "--prune", code=2).stderr
    assert pipelines(operator, place)["a"]["wantedVersion"] == 1, "the question comes before the first change"
    cli.run("apply", "-f", str(fleet), "--prune", "--yes")
    assert {name: row["wantedVersion"] for name, row in pipelines(operator, place).items()} == {"a": 2}
    assert start_shell(cli, "diff", "-f", str(fleet), "--prune").end() == 0


def test_processes_end_with_the_code_that_says_how(
    cli: Cli, place: Any, nodes: dict[str, str], start_shell: StartShell, tmp_path: Path
) -> None:
    """A terminal is drawn on in place, without colour where none is wanted; a pipe that is closed is no fault."""
    reader, writer = os.pipe()
    os.close(reader)
    cut = start_shell(cli, "nodes", "list", stdout=writer)
    os.close(writer)
    assert (cut.end(), cut.errors) == (141, [])
    unknown = start_shell(cli, "nodes", "show", "nobody")
    mistyped = start_shell(cli, "nodes", "lst")
    assert (unknown.end(), mistyped.end()) == (5, 2)
    assert not any("Traceback" in line for line in unknown.errors + mistyped.errors)

    cli.variables |= {"NO_COLOR": "1", "TERM": "xterm", "COLUMNS": "60", "LINES": "4"}
    master, slave = pty.openpty()
    watched = start_shell(cli, "status", "--watch", "--interval", "0.2", stdout=slave)
    os.close(slave)
    shown = ""

    def drawn_again() -> bool:
        nonlocal shown
        shown += os.read(master, 65536).decode()
        return "\x1b[3F\x1b[J" in shown

    until(drawn_again, what="a second drawing in place of the first")
    assert watched.end(signal.SIGINT) == 130
    os.close(master)
    assert "more" in shown, "what the terminal has no lines for is counted"
    assert "\x1b[32m" not in shown


def test_a_shell_is_offered_names_and_no_errors(
    cli: Cli,
    operator: Operator,
    place: Any,
    nodes: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    start_shell: StartShell,
) -> None:
    """Of the environment that is meant; a server that cannot be asked costs nothing but the names."""
    operator.create_pipeline(place["id"], "offered", YAML)
    for name, value in cli.environment.items():
        monkeypatch.setenv(name, value)

    def offered(*words: str) -> list[str]:
        *before, incomplete = words
        shell = BashComplete(main, {}, "signalbox", "_SIGNALBOX_COMPLETE")
        return [each.value for each in shell.get_completions(before, incomplete)]

    assert offered("nodes", "show", "edge") == ["edge-01", "edge-02"]
    assert offered("undeploy", "off") == ["offered"]
    assert place["name"] in offered("secrets", "list", "-e", "cli-")
    assert "deploy" in offered("dep")
    monkeypatch.setattr(completion, "PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SIGNALBOX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert offered("nodes", "show", "edge") == []
    assert "_SIGNALBOX_COMPLETE=bash_complete" in cli.run("completion", "bash").stdout
    cli.variables |= {"COMP_WORDS": "signalbox nodes show edge-", "COMP_CWORD": "3"}
    shell = start_shell(Cli(cli.folder, {**cli.variables, "_SIGNALBOX_COMPLETE": "bash_complete"}))
    assert (shell.end(), shell.output, shell.errors) == (0, ["plain,edge-01", "plain,edge-02"], [])


def _token(server: Server, role: str) -> str:
    def create(_: Flask) -> str:
        return accounts.create_api_token("tests", COMMAND_LINE, role=role).text

    return server._in_application(create)
