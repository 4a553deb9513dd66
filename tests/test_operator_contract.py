"""The OpenAPI document against a real server: what it says is so, for data that nobody would think of."""

from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.api import Operator
from tests.support.contract_fuzzing import known_ids, run

LEAST_OPERATIONS = 60
MOST_OF_A_KIND = 1


@pytest.mark.long
def test_every_check_of_schemathesis_holds(
    tmp_path: Path, start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Few examples of each operation with a fixed seed, all checks on; `make fuzz` tries more.

    Of the cases that schemathesis counts up by itself each operation gets one of each kind, not one for each field.
    """
    server = start_server({"SIGNALBOX_API_RATE": "0"})
    operator = Operator(server.url, server.create_api_token())
    known = known_ids(server.url, operator)
    token = server.create_api_token()
    few = ("--max-examples=2", "--seed=1", "--workers=2")
    outcome = run(tmp_path, server.url, token, known, *few, most_of_a_kind=MOST_OF_A_KIND)
    with capsys.disabled():
        print(f"\nschemathesis: {outcome.counts}")
    assert outcome.code == 0, outcome.output[-20_000:]
    assert outcome.operations >= LEAST_OPERATIONS
    assert Operator(server.url, token).call("GET", "/environments", limit="1")["items"], (
        "it revoked its own token"
    )
    log = server.log.read_text(errors="replace")
    assert "Traceback" not in log, log[-5000:]
