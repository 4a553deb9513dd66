"""The whole way with real agents: a folder is applied, nodes run it, and what they do is looked at."""

import json
import os
import pty
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, StartShell, drawn_on, signed_in
from tests.conftest import StartAgent, StartServer
from tests.support.api import Operator
from tests.support.until import until

PRINTING = """\
sources:
  made:
    type: demo_logs
    format: json
    interval: 0.1
sinks:
  seen:
    type: console
    encoding:
      codec: json
    inputs: [made]
"""

OFTEN = {"SIGNALBOX_HEARTBEAT_INTERVAL_MS": "1000", "SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS": "1000"}
"""Logs come with heartbeats."""


@pytest.mark.long
def test_a_folder_becomes_what_nodes_run(
    stranger: Cli, start_server: StartServer, start_agent: StartAgent, start_shell: StartShell, tmp_path: Path
) -> None:
    """Applied from nothing, again, with one that nodes refuse, rolled back; then logs, samples, a tail, a status."""
    server = start_server(OFTEN)
    operator = Operator(server.url, server.create_api_token())
    cli = stranger
    cli.variables |= {**signed_in(server.url, operator), "TERM": "xterm"}
    environment_id = operator.create_environment("production")["id"]
    token = operator.enrollment_token(environment_id)
    agents = [start_agent(server.url, token) for _ in range(2)]
    for number, agent in enumerate(agents):
        cli.run("nodes", "rename", agent.node_id, f"web-{number}")
        cli.run("nodes", "label", f"web-{number}", "role=web")
    until(lambda: [row["push"]["connected"] for row in cli.json("nodes", "list")] == [True, True])

    fleet = tmp_path / "fleet"
    fleet.mkdir()
    (fleet / "vector.yaml").write_text(PRINTING)
    (fleet / "web.yaml").write_text("name: web\nselector: role=web\nlogLevel: off\nconfigFile: vector.yaml\n")
    applied = cli.run("apply", "-f", str(fleet), "--wait")
    assert "create     production/web" in applied.stdout
    assert "web v1: 2 of 2 running" in applied.stderr
    states = [row["pipelines"][0] for row in cli.json("nodes", "list")]
    assert [(state["status"], state["version"]) for state in states] == [("RUNNING", 1)] * 2
    again = cli.run("apply", "-f", str(fleet), "--wait")
    assert "1 unchanged." in again.stdout
    assert again.stderr == "", "nothing is deployed, so nothing is waited for"

    # What only the nodes can know to be wrong: they go on with what they ran, and the command says why.
    (fleet / "vector.yaml").write_text(PRINTING.replace("type: console", "type: no_such_sink"))
    master, slave = pty.openpty()
    failed = start_shell(cli, "apply", "-f", str(fleet), "--wait", stderr=slave)
    os.close(slave)
    assert failed.end() == 1, failed.output
    said = drawn_on(master)
    assert "[........................] web v2: 0 of 2 running\r\n\x1b[1F\x1b[J[" in said, "drawn in place"
    assert "[########################] web v2: 0 of 2 running, 2 failed\r\n" in said
    assert "web v2 failed on web-0: " in said
    assert "signalbox: Not every node runs what it should." in said
    assert "is version 3" in cli.run("rollback", "web", "1", "--wait").stdout
    assert "-    type: console" in cli.run("diff", "-f", str(fleet), code=1).stdout

    # Logs go on while the server is restarted, and no line comes twice.
    following = start_shell(cli, "logs", "-f", "web-1", "--interval", "0.2", "-o", "json")
    following.wait_for(lambda shell: len(shell.output) > 20, "lines")
    server.kill()
    following.wait_for(lambda shell: any("Trying again." in line for line in shell.errors), "the outage")
    server.start()
    following.wait_for(lambda shell: shell.errors[-1].endswith("The server is there again."), "the return")
    before = len(following.output)
    following.wait_for(lambda shell: len(shell.output) > before + 20, "lines after the restart")
    assert following.end(signal.SIGINT) == 130
    assert "Traceback" not in "".join(following.errors)
    # A worker that was killed is believed to hold its sockets for nine seconds more.
    dialled = [agent.log for agent in agents]
    until(lambda: all(log.read_text().count("link state=open") > 1 for log in dialled), what="new channels")
    lines = [json.loads(line)["line"] for line in following.output]
    events = [line for line in lines if line.startswith("{")]
    assert len(events) > 20
    assert len(set(events)) == len(events), "each event has its moment in it: none was printed twice"

    sampled = cli.json("sample", "web", "-n", "2")
    assert [(each["componentKey"], len(each["events"])) for each in sampled["samples"]] == [
        ("made", 2),
        ("seen", 2),
    ]
    assert ".message" in cli.run("sample", "web", "made", "--schema").stdout

    watching = start_shell(cli, "tail", "web", "made", "--node", "web-0")
    watching.wait_for(lambda shell: len(shell.output) > 2, "events")
    assert watching.end(signal.SIGINT) == 130
    assert all("message" in json.loads(line) for line in watching.output)
    until(lambda: len(agents[0].child_pids()) == 1, what="no tap to be left")

    watched = start_shell(cli, "status", "--watch", "--interval", "0.2")
    watched.wait_for(lambda shell: any("web-0: HEALTHY" in line for line in shell.output), "the first look")
    cli.run("maintenance", "on", "web-0", "--yes")
    watched.wait_for(
        lambda shell: any("web-0: HEALTHY maintenance" in line for line in shell.output), "a change"
    )
    assert watched.end(signal.SIGINT) == 130
    assert not any("\x1b" in line for line in watched.output), "nothing is taken back in a pipe"

    # Who is in maintenance runs nothing, and is not waited for.
    (fleet / "vector.yaml").write_text(PRINTING.replace("0.1", "0.3"))
    waited = cli.run("apply", "-f", str(fleet), "--wait")
    assert "1 of 1 running, 1 in maintenance, not waited for" in waited.stderr
    pruned = cli.run("undeploy", "web", "--yes", "--wait")
    assert "web off: 1 of 1 stopped" in pruned.stderr or "web off: 2 of 2 stopped" in pruned.stderr
