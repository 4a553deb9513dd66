import json
import socket
from pathlib import Path

import pytest

from agent.vector import (
    COMPONENT_PREFIX,
    Redactor,
    child_environment,
    free_ports,
    has_own_data_dir,
    is_port_taken,
    overlay,
)
from tests.agent.playbook import spec


def test_the_overlay_turns_on_what_the_agent_needs() -> None:
    """API, metrics, a data folder of its own; every component id has our prefix."""
    text = json.loads(overlay(spec(), Path("/d/pipelines/p1/data"), 8001, 9001))

    assert text["api"] == {"enabled": True, "address": "127.0.0.1:8001"}
    assert text["data_dir"] == "/d/pipelines/p1/data"
    assert [*text["sources"], *text["sinks"]] == [f"{COMPONENT_PREFIX}metrics", f"{COMPONENT_PREFIX}exporter"]
    assert text["sinks"][f"{COMPONENT_PREFIX}exporter"]["address"] == "127.0.0.1:9001"


@pytest.mark.parametrize(
    ("yaml", "has"),
    [
        ("data_dir: /x\nsources: {}\n", True),
        ('sources: {}\n"data_dir" : /x\n', True),
        ('{"data_dir": "/x", "sources": {}}', True),
        ("sources:\n  data_dir: {type: file}\n", False),
        ("# data_dir: /x\nsources: {}\n", False),
        ("", False),
    ],
)
def test_a_pipeline_with_a_data_dir_of_its_own_keeps_it(yaml: str, has: bool) -> None:
    """Vector refuses two files that name two."""
    assert has_own_data_dir(yaml) is has


def test_a_child_gets_nothing_of_the_agents_own_environment_but_what_it_needs() -> None:
    """Whoever writes a pipeline can read its whole environment."""
    ours = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "SIGNALBOX_TOKEN": "secret",
        "VF_TOKEN": "secret",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "HTTPS_PROXY": "http://user:secret@proxy:3128",
        "SIGNALBOX_CA_FILE": "/ca.pem",
    }
    pipeline = spec(log_level="DEBUG", secrets={"VF_SECRET_A": "x", "VECTOR_SWITCH": "true"})

    environment = child_environment(pipeline, Path("/d"), ours)

    assert environment.pop("VECTOR_GRACEFUL_SHUTDOWN_LIMIT_SECS")
    assert environment == {
        "PATH": "/bin",
        "LC_ALL": "C",
        "HTTPS_PROXY": "http://proxy:3128",
        "VF_DATA_DIR": "/d",
        "VECTOR_LOG": "debug",
        "VF_SECRET_A": "x",
        "VECTOR_SWITCH": "true",
    }


def test_free_ports_are_free_and_differ() -> None:
    """API and metrics never get the same one."""
    first, second = free_ports(2)

    assert first != second
    assert not is_port_taken(first)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", second))
        listener.listen()
        assert is_port_taken(second)


def test_secrets_are_taken_out_of_what_a_child_says() -> None:
    """As they travel and as the child reads them; switches are no secrets."""
    redactor = Redactor(spec(secrets={"VF_SECRET_A": 'pass\\"word', "VF_SECRET_B": "pass", "SWITCH": "true"}))

    said = redactor.redact('a pass\\"word b pass"word c pass d true')

    assert said == "a *** b *** c *** d true"
