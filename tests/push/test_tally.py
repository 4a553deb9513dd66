"""How long nudges take, counted cheaply and told truly."""

import time

import pytest
from prometheus_client import REGISTRY

from app.push import messages
from app.push.inbox import gather
from app.push.messages import Nudge, Receipt
from app.push.tally import Tally


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"signalbox_{name}", labels) or 0.0


def test_what_is_poured_is_what_was_counted() -> None:
    """Each in its bucket, bounds included; clocks that disagree make no time negative; others only count."""
    names = [("nudge_seconds_bucket", {"le": le}) for le in ("0.0005", "1.0", "2.5", "30.0", "+Inf")]
    names += [("nudge_seconds_count", {}), ("nudges_written_total", {}), ("nudge_seconds_sum", {})]
    before = [sample(name, **labels) for name, labels in names]
    now_us = time.time_ns() // 1000
    tally = Tally()
    for published_us in (now_us + 60_000_000, now_us - 2_000_000, now_us - 60_000_000, None):
        tally.add(published_us, now_us / 1e6)
    tally.pour()
    tally.pour()  # empty by now
    after = [sample(name, **labels) for name, labels in names]
    *counts, total = (new - old for new, old in zip(after, before, strict=True))
    assert counts == [1, 1, 2, 2, 3, 3, 4]
    assert total == pytest.approx(62, abs=1)


def test_an_envelope_of_an_older_release_is_understood_and_the_newer_one_by_it() -> None:
    """A rolling upgrade: without a time it is not measured; with one, it hangs on the deployment's id."""
    message = messages.config_changed("deploy", "p")
    older = f"nudge d config_changed {message.text}".encode()
    assert messages.unpack(older) == Nudge(message, "d", None)
    newer = messages.pack(messages.stamped(Nudge(message, "d"), 123))
    assert messages.unpack(newer) == Nudge(message, "d", 123)
    kind, deployment, type_, text = newer.decode().split(" ", 3)  # as an older release reads it
    assert (kind, type_, text) == ("nudge", "config_changed", message.text)
    assert deployment.startswith("d")


def test_a_nudge_that_stands_for_several_is_as_old_as_the_oldest() -> None:
    """Coalescing may not hide a wait."""
    sent = [
        ("n", messages.pack(Nudge(messages.config_changed("deploy", f"p{us}"), None, us)))
        for us in (70, 50, 60)
    ]
    ((_, receipt),) = gather(sent).nudges["n"]
    assert receipt.published_us == 50
    assert Receipt((), None).merged(Receipt((), 5)).published_us == 5
