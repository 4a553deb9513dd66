import json
import struct
from typing import Any

import pytest

from agent.events import (
    ActionPushed,
    Event,
    Nudged,
    PollIntervalPushed,
    SampleRequested,
    TapRequested,
    TapStopRequested,
)
from agent.link import parse_close, understand
from agent.plan import PendingAction, SampleRequest
from agent.protocol import CloseCode


@pytest.mark.parametrize(
    ("message", "event"),
    [
        ({"type": "config_changed"}, Nudged()),
        (
            {"type": "config_changed", "pipelineId": "p1", "reason": "deploy", "spreadMs": 1500},
            Nudged("deploy", "p1", 1.5),
        ),
        ({"type": "config_changed", "spreadMs": -1, "reason": 1}, Nudged()),
        ({"type": "config_changed", "spreadMs": 1e12}, Nudged(spread_seconds=3600)),
        ({"type": "poll_interval", "intervalMs": 2000}, PollIntervalPushed(2.0)),
        ({"type": "poll_interval", "intervalMs": "2000"}, None),
        (
            {"type": "action", "action": "restart", "actionId": "a", "pipelineId": "p"},
            ActionPushed(PendingAction("restart", "a", "p")),
        ),
        ({"type": "action", "action": "restart"}, Nudged("restart")),
        ({"type": "action", "action": "self_update"}, None),
        (
            {
                "type": "sample_request",
                "requestId": "s",
                "pipelineId": "p",
                "componentKeys": ["a"],
                "limit": 5,
            },
            SampleRequested(SampleRequest("s", "p", ("a",), 5)),
        ),
        ({"type": "sample_request", "requestId": "s"}, None),
        (
            {"type": "tap_start", "requestId": "r", "pipelineId": "p", "componentId": "c"},
            TapRequested("r", "p", "c"),
        ),
        ({"type": "tap_start", "requestId": "r"}, None),
        ({"type": "tap_stop", "requestId": "r"}, TapStopRequested("r")),
        ({"type": "tap_stop", "requestId": 1}, None),
        ({"type": "tomorrow"}, None),
        ({}, None),
        ([], None),
    ],
)
def test_a_message_becomes_the_event_that_it_means(message: Any, event: Event | None) -> None:
    """Odd fields are passed over, odd messages ignored."""
    assert understand(json.dumps(message).encode()) == event


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_ignored(data: bytes) -> None:
    """A broken frame must not end the reader."""
    assert understand(data) is None


def test_a_close_has_a_code_and_a_reason_or_neither() -> None:
    """The code decides whether the agent comes back at once."""
    assert parse_close(struct.pack("!H", 1000) + b"replaced") == (CloseCode.NORMAL, "replaced")
    assert parse_close(struct.pack("!H", 4000)) == (4000, "")
    assert parse_close(b"") == (None, "")
