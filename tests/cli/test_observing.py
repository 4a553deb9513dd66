"""Tails whose stream breaks, ends, or is read by nobody; samples that fail. The server says what each test wants."""

import json
import os

from tests.cli.conftest import Cli, StartShell
from tests.cli.test_answers import JSON, Answer, ScriptedServer, lost, scripted

__all__ = ["lost", "scripted"]

ID = "0" * 32


def answered(content: object) -> Answer:
    return 200, JSON, json.dumps(content).encode()


def stream(*events: str, reason: str | None = None) -> Answer:
    """Events, and the end of the tail; without a reason it just breaks off."""
    text = "".join(f"event: event\ndata: {json.dumps({'text': each})}\n\n" for each in events)
    if reason is not None:
        text += f"event: stopped\ndata: {json.dumps({'reason': reason})}\n\n"
    return 200, {"Content-Type": "text/event-stream"}, f"event: still\ndata: {{}}\n\n{text}".encode()


BEGINNING = [
    answered({"id": ID, "name": "web", "environmentId": ID}),
    answered({"requestId": ID, "nodeId": ID}),
    answered({"name": "web-1"}),
]
END: Answer = (204, {}, b"")


def test_a_stream_that_breaks_is_followed_again_and_repeats_nothing(
    lost: Cli, scripted: ScriptedServer, start_shell: StartShell
) -> None:
    """Until the server says that it has ended, or as many have come as were asked for; then the tap is given back."""
    repeated = stream("1", "2", "3", reason="the agent has stopped")
    scripted.answers = [*BEGINNING, stream("1", "2"), repeated, END]
    result = lost.run("tail", ID, "made")
    assert result.stdout == "1\n2\n3\n"
    assert result.stderr.splitlines()[-1] == "Ended: the agent has stopped."
    assert scripted.asked[-1][:2] == ("DELETE", f"/api/v1/taps/{ID}")

    scripted.answers = [*BEGINNING, stream("1", "\x9b", "3"), END]
    assert lost.run("tail", ID, "made", "-n", "2").stdout == "1\n\\u009b\n"

    scripted.answers = [*BEGINNING, (200, {}, b"event: event\ndata: {\n\n"), END]
    assert "cannot be understood" in lost.run("tail", ID, "made", code=7).stderr

    reader, writer = os.pipe()
    os.close(reader)
    scripted.answers = [*BEGINNING, stream("1", "2"), END]
    cut = start_shell(lost, "tail", ID, "made", stdout=writer)
    os.close(writer)
    assert cut.end() == 141, cut.errors
    assert scripted.asked[-1][0] == "DELETE"


def test_a_sample_that_fails_says_of_what_and_why(lost: Cli, scripted: ScriptedServer) -> None:
    """What did come is shown; components are those of the deployed version, if none is named."""
    row = {"id": ID, "name": "web", "environmentId": ID, "wantedVersion": 3}
    config = "sources: {made: {type: x}}\nsinks: {gone: {type: y}}\n"
    asked = [answered(row), answered({"configYaml": config}), answered({"requestId": ID})]
    found = {
        "status": "PENDING",
        "nodes": [{"nodeId": ID, "name": "web-1"}],
        "samples": [
            {"componentKey": "made", "nodeId": ID, "events": [{"a": 1}], "schema": [], "error": None},
            {
                "componentKey": "gone",
                "nodeId": None,
                "events": None,
                "schema": None,
                "error": "no event came",
            },
        ],
        "failures": [{"componentKey": "gone", "nodeId": ID, "error": "it broke"}],
    }
    scripted.answers = [*asked, answered(found), answered({**found, "status": "ERROR"})]
    result = lost.run("sample", ID, code=1)
    assert result.stdout.splitlines() == ["# made on web-1", '{"a": 1}', "# gone on -"]
    assert result.stderr.splitlines() == [
        "signalbox: gone: no event came",
        "signalbox: gone on web-1: it broke",
        "signalbox: The request ended as ERROR.",
    ]
    scripted.answers = [*asked, answered(found)]
    assert "has answered within 0 s" in lost.run("sample", ID, "--timeout", "0", code=1).stderr
