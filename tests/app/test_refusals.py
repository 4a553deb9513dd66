"""The order in which an upgrade is refused: whatever costs least and passes by itself comes first."""

from types import SimpleNamespace
from typing import Any

from flask import Flask

from app.push import meters
from app.upgrade_rate import UpgradeRate
from tests.app.conftest import Script, enroll


def test_draining_comes_before_all_and_the_rate_before_the_token(
    app: Flask, script: Script, environment_id: str
) -> None:
    """Each time one more thing is put right; the next one says so, in both forms of the channel."""
    (agent,) = enroll(script, environment_id, "n")
    worker = SimpleNamespace(draining=True, hub=[])
    app.extensions["switchboard"].worker = worker
    app.extensions["upgrade_rate"] = UpgradeRate(1, lambda: 1.0)
    app.extensions["upgrade_rate"].retry_after()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
    handshake = {"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyEhIQ=="}

    def refused(path: str, token: str, reason: str, **more: Any) -> tuple[int, str, str | None]:
        counter = meters.REFUSALS.labels(reason)
        before = counter._value.get()
        answer = app.test_client().open(
            f"/api/agent/{path}",
            headers={
                "Authorization": f"Bearer {token}",
                **(upgrade if path == "ws" else {}),
                **more.pop("headers", {}),
            },
            **more,
        )
        assert counter._value.get() == before + 1, f"{path} was not counted as {reason}"
        sentence = answer.get_json()["error"]
        assert sentence.endswith(".")
        return answer.status_code, sentence, answer.headers.get("Retry-After")

    bad = f"{agent.token}"[:-64] + "0" * 64
    for path in ("ws", "push"):
        assert refused(path, bad, "draining", data=b"body")[::2] == (503, "1")
        worker.draining = False
        assert refused(path, bad, "handshake", data=b"body", headers=handshake)[0] == 400
        status, sentence, seconds = refused(path, bad, "rate", headers=handshake)
        assert (status, seconds is not None) == (503, True)
        assert "than it takes a second" in sentence
        app.extensions["upgrade_rate"], slow = UpgradeRate(1000), app.extensions["upgrade_rate"]
        assert refused(path, bad, "token", headers=handshake)[0] == 401
        app.extensions["upgrade_rate"], worker.draining = slow, True
