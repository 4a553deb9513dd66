"""Messages: what replaces what, and what travels between processes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.push import messages
from app.push.connection import MAX_WAITING_BYTES, Outbox, OutboxFullError
from app.push.inbox import gather
from app.push.messages import NO_RECEIPT, Claimed, Close, Nudge, Receipt


def test_a_newer_nudge_of_the_same_pipeline_replaces_the_older() -> None:
    """The latest reason wins."""
    merged = messages.merge(messages.config_changed("deploy", "p"), messages.config_changed("undeploy", "p"))
    assert merged is not None
    assert merged.fields == {"type": "config_changed", "pipelineId": "p", "reason": "undeploy"}


def test_nudges_of_different_pipelines_become_one_without_a_pipeline() -> None:
    """The agent looks at everything; the larger spread is kept."""
    merged = messages.merge(
        messages.config_changed("deploy", "p", spread_ms=500), messages.config_changed("deploy", "q")
    )
    assert merged is not None
    assert merged.fields == {"type": "config_changed", "reason": "resync", "spreadMs": 500}


def test_a_nudge_never_replaces_anything_else() -> None:
    """A changed poll interval is not lost because a deploy came after it."""
    assert messages.merge(messages.poll_interval(5000), messages.RESYNC) is None
    assert messages.merge(messages.RESYNC, messages.poll_interval(5000)) is None


def test_an_outbox_keeps_a_begun_frame_and_merges_only_what_waits_behind_it() -> None:
    """The pinned bytes stay first and untouched; both deployments learn when the merged nudge is out."""
    outbox = Outbox(since=0.0, pinned=b"rest of a frame", pinned_receipt=Receipt(("d0",)))
    assert not outbox.add(messages.config_changed("deploy", "p"), Receipt(("d1",)))
    assert outbox.add(messages.config_changed("deploy", "q"), Receipt(("d2",)))
    assert outbox.pinned == b"rest of a frame"
    assert [item.receipt.subjects for item in outbox.waiting] == [("d1", "d2")]
    assert outbox.waiting[0].message.fields["reason"] == "resync"


def test_an_outbox_is_bounded() -> None:
    """Past its bound it says so, and the socket is closed."""
    outbox = Outbox(since=0.0, pinned=b"x" * (MAX_WAITING_BYTES - 50))
    outbox.pinned = outbox.pinned[60:]
    outbox.add(messages.poll_interval(1000), NO_RECEIPT)
    with pytest.raises(OutboxFullError):
        outbox.add(messages.poll_interval(1001), NO_RECEIPT)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n")), st.integers(0, 2**62))
def test_envelopes_survive_the_journey(reason: str, number: int) -> None:
    """What one process packs another unpacks, whatever the text."""
    for envelope in (
        Nudge(messages.config_changed(reason, "p"), "d"),
        Nudge(messages.poll_interval(number), None),
        Close(1008, reason),
        Claimed(number, "127.0.0.1"),
    ):
        assert messages.unpack(messages.pack(envelope)) == envelope


STRANGE = [b"", b"nonsense", b"close x", b"nudge", b"\xff", b"claimed x y", b"nudge - t {", b"nudge - t []"]


@pytest.mark.parametrize("data", STRANGE)
def test_a_strange_envelope_is_refused(data: bytes) -> None:
    """Whoever else writes to our channels cannot end the listener."""
    with pytest.raises(ValueError):
        messages.unpack(data)


def test_what_one_turn_brought_is_merged_per_node_before_it_is_written() -> None:
    """Hazard 10: twenty deploys in a turn are one write for each node, and strange bytes are passed over."""
    deploys = [pack_deploy(f"p{number % 2}", f"d{number}") for number in range(20)]
    received = [(node, data) for data in deploys for node in ("n1", "n2")]
    inbox = gather([*received, ("n1", b"\xff strange"), ("n2", messages.pack(Close(1008, "revoked")))])
    assert inbox.orders == [("n2", Close(1008, "revoked"))]
    assert set(inbox.nudges) == {"n1", "n2"}
    for waiting in inbox.nudges.values():
        ((message, receipt),) = waiting
        assert message.fields == {"type": "config_changed", "reason": "resync"}
        assert receipt.subjects == tuple(f"d{number}" for number in range(20))


def pack_deploy(pipeline_id: str, deployment_id: str) -> bytes:
    return messages.pack(Nudge(messages.config_changed("deploy", pipeline_id), deployment_id))
