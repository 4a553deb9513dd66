"""Webhooks across processes: two real workers, a receiver, and a server that is killed in the middle."""

from tests.conftest import StartServer
from tests.support.api import AgentByHand, Operator
from tests.support.receiver import LOOPBACK, receiver
from tests.support.until import until

YAML = """
sources: {made: {type: demo_logs, format: json}}
sinks: {gone: {type: blackhole, inputs: [made]}}
"""


def test_an_event_is_delivered_signed_and_survives_a_killed_server(start_server: StartServer) -> None:
    """Refused at first; the server is killed and started anew; the same delivery arrives, and it alone."""
    server = start_server({"SIGNALBOX_WEBHOOK_NETWORKS": LOOPBACK})
    operator = Operator(server.url, server.create_api_token())
    environment = operator.create_environment("orders")
    agent = AgentByHand(server.url)
    agent.enroll(operator.enrollment_token(environment["id"]))
    pipeline = operator.create_pipeline(environment["id"], "errors", YAML)
    with receiver() as own:
        own.answers.append((500, {}))
        hook = operator.call(
            "POST", "/webhooks", {"name": "n", "url": own.url, "events": ["deployment.finished"]}
        )
        deployment = operator.deploy(pipeline["id"])["deploymentId"]
        running = {"pipelineId": pipeline["id"], "version": 1, "status": "RUNNING"}
        assert agent.heartbeat([running]).status_code == 200
        until(own.received, seconds=30, what="the first attempt")
        until(
            lambda: operator.call("GET", f"/webhooks/{hook['id']}/deliveries")["items"][0]["attempts"] == 1,
            seconds=10,
            what="that it was noted",
        )
        server.kill()
        server.start()
        first, second = until(
            lambda: got if len(got := own.received()) > 1 else None, seconds=60, what="the second attempt"
        )
        assert second.event == first.event
        assert second.event["data"]["deploymentId"] == deployment
        assert second.event["data"]["outcome"] == "succeeded"
        assert second.headers["webhook-id"] == first.headers["webhook-id"]
        for each in (first, second):
            assert each.is_signed_by(hook["secret"])
            assert not each.is_signed_by("whsec_b3RoZXI=")
        (row,) = until(
            lambda: (
                items
                if (items := operator.call("GET", f"/webhooks/{hook['id']}/deliveries")["items"])[0]["status"]
                == "DELIVERED"
                else None
            ),
            seconds=10,
            what="that it was delivered",
        )
        assert (row["attempts"], row["lastStatus"], row["lastError"]) == (2, 204, None)

        # gone for good: the webhook is disabled, and says why
        own.answers.append((410, {}))
        operator.call("POST", f"/webhooks/{hook['id']}/test")
        until(
            lambda: operator.call("GET", f"/webhooks/{hook['id']}")["enabled"] is False,
            seconds=30,
            what="that it is disabled",
        )
        assert "410" in operator.call("GET", f"/webhooks/{hook['id']}")["disabledReason"]
