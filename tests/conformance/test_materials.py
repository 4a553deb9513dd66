"""Secrets, certificates and samples with agents that we did not write."""

import base64
import binascii
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conformance.conftest import StartGoAgent
from tests.conformance.go_agent import GoAgent
from tests.conformance.test_agents import Place, agent, connected, place
from tests.support.server import Server
from tests.support.until import until

__all__ = ["agent", "place"]

NAMING = """\
sources:
  made:
    type: demo_logs
    format: json
sinks:
  gone:
    type: http
    inputs: [made]
    uri: http://127.0.0.1:1
    encoding: {codec: json}
    auth: {strategy: bearer, token: "SECRET[api-key]"}
    tls: {ca_file: "CERT[upstream]"}
"""


def pem(name: str) -> bytes:
    """A certificate that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def put(place: Place, secret: str, certificate: bytes) -> None:
    path = f"/environments/{place.environment_id}"
    place.operator.call("PUT", f"{path}/secrets/api-key", {"value": secret})
    body = {"filename": "upstream.pem", "data": base64.b64encode(certificate).decode()}
    place.operator.call("PUT", f"{path}/certificates/upstream", body)


def test_secrets_and_certificates_arrive_and_a_new_value_restarts(agent: GoAgent, place: Place) -> None:
    """Padded base64; the path in the YAML is the one where they store the file; a rotation changes the checksum."""
    first, second = pem("first"), pem("second")
    put(place, 'quo"te\n', first)
    place.edit(NAMING)
    place.operator.deploy(place.pipeline_id)
    place.wait_running(2)
    running = agent.pipelines[place.pipeline_id]
    assert '"${VF_SECRET_API_KEY}"' in running.yaml
    assert '"${VF_DATA_DIR:-/var/lib/vf-agent}/certs/upstream.pem"' in running.yaml
    assert running.secrets["VF_SECRET_API_KEY"] == 'quo\\"te\\n'
    assert running.secrets["VECTOR_DANGEROUSLY_ALLOW_ENV_VAR_INTERPOLATION"] == "true"
    file = agent.folder / "certs" / "upstream.pem"
    assert file.read_bytes() == first
    (listed,) = agent.call("GET", "config")["pipelines"][0]["certFiles"]
    try:
        assert base64.b64decode(listed["data"], validate=True) == first
    except binascii.Error as error:
        pytest.fail(f"no standard padded base64: {error}")

    put(place, "new", second)
    until(
        lambda: (
            file.read_bytes() == second
            and agent.pipelines[place.pipeline_id].secrets.get("VF_SECRET_API_KEY") == "new"
        )
    )
    assert agent.pipelines[place.pipeline_id].starts > running.starts
    assert "secret" in [message.get("reason") for message in agent.messages]
    assert not agent.problems


def ended(place: Place, request_id: str) -> dict[str, object]:
    def probe() -> dict[str, object] | None:
        row: dict[str, object] = place.operator.call("GET", f"/samples/{request_id}")
        return row if row["finishedAt"] else None

    return until(probe)


def ask(place: Place, *keys: str) -> str:
    body = {"componentKeys": list(keys), "limit": 3}
    asked = place.operator.call("POST", f"/pipelines/{place.pipeline_id}/samples", body)
    request_id: str = asked["requestId"]
    return request_id


def test_pushed_samples_are_posted_one_by_one(agent: GoAgent, place: Place) -> None:
    """Several components; the request is done when each has its result, and once."""
    until(lambda: place.node["push"]["connected"])
    row = ended(place, ask(place, "made", "gone"))
    assert row["status"] == "COMPLETED", row
    assert not agent.problems


def transitions(server: Server, request_id: str) -> int:
    """How often the server has ended it."""
    return server.log.read_text().count(f"samples ended id={request_id} ")


def test_a_component_that_fails_is_an_error_beside_the_others_events(
    agent: GoAgent, place: Place, server: Server
) -> None:
    """The request ends once, with ERROR, when each component has its result; why it failed stands beside it."""
    why = "error sending request for url (http://127.0.0.1:8686/graphql)"
    agent.untappable["gone"] = why
    until(lambda: place.node["push"]["connected"])
    request_id = ask(place, "gone", "made")
    row = ended(place, request_id)
    assert row["status"] == "ERROR", row
    shown = {each["componentKey"]: each for each in row["samples"]}
    assert (shown["gone"]["error"], shown["gone"]["events"]) == (why, None)
    assert (shown["made"]["error"], len(shown["made"]["events"])) == (None, 3)
    assert transitions(server, request_id) == 1
    assert not agent.problems


def test_what_is_run_again_at_each_poll_changes_nothing(agent: GoAgent, place: Place, server: Server) -> None:
    """While a tap takes its seconds the request is listed at each poll, and each time it is run once more.

    The first result of a component counts, whether it was posted or came in a heartbeat; what comes behind it,
    an error too, is skipped, before the request has ended and afterwards; and it ends once.
    """
    until(lambda: place.node["push"]["connected"])
    agent.holds_taps = True

    def poll() -> None:
        """One more poll, after a nudge."""
        polls = agent.counts["polls"]
        place.operator.deploy(place.pipeline_id)
        until(lambda: agent.counts["polls"] > polls)

    def told() -> None:
        """All that has ended is at the server, after one more poll."""
        poll()
        until(lambda: not agent.sample_results and not agent.is_beating, what="the heartbeat")

    def show() -> dict[str, list[int]]:
        """The runs whose events are shown, by component."""
        samples = place.operator.call("GET", f"/samples/{request_id}")["samples"]
        return {each["componentKey"]: [event["run"] for event in each["events"] or []] for each in samples}

    def runs(key: str) -> list[int]:
        """The runs of which a tap of that component is held, oldest first."""
        return [each.run for each in agent.taps_held if each.result["componentKey"] == key]

    request_id = ask(place, "made", "gone")
    until(lambda: any(each.is_pushed for each in agent.taps_held), what="what was pushed")

    def poll_and_run() -> None:
        held = len(runs("gone"))
        poll()
        until(lambda: len(runs("gone")) > held, what="once more at each poll")

    for _ in range(3):  # besides these there may be polls of its connecting: a duplicate nudge is legal
        poll_and_run()
    first = runs("made")[0]
    agent.end_taps("made", first)
    told()
    assert show()["made"] == [first] * 3
    late = [each.result for each in agent.taps_held if each.result["componentKey"] == "made"]
    late[-1].pop("events")
    late[-1]["error"] = "broken by now"
    agent.end_taps("made")
    told()
    assert show()["made"] == [first] * 3
    assert not runs("made"), "made has its result and is asked for no more"
    assert transitions(server, request_id) == 0

    shown = runs("gone")[2]
    agent.end_taps("gone", shown)
    told()
    row = ended(place, request_id)
    assert (row["status"], show()) == ("COMPLETED", {"made": [first] * 3, "gone": [shown] * 3})
    agent.end_taps("gone")
    told()
    samplings = agent.counts["samplings"]
    told()
    assert ended(place, request_id) == row, "what is done stays as it is"
    assert transitions(server, request_id) == 1
    assert agent.counts["samplings"] == samplings, "it is no longer listed"
    assert not agent.problems


def test_polled_samples_come_with_heartbeats_again_and_again(
    kind: type[GoAgent], server: Server, place: Place, start_go: StartGoAgent
) -> None:
    """Listed in the answer until the request has ended; duplicates change nothing, an error is one component's."""
    place.operator.deploy(place.pipeline_id)
    agent = start_go(kind, server.url, place.token)
    connected(agent)
    place.wait_running(1)
    agent.stop()
    request_id = ask(place, "made", "gone")
    agent.start()  # what was pushed meanwhile nobody has heard: its first poll lists it
    row = ended(place, request_id)
    assert row["status"] == "COMPLETED", row
    result = {"requestId": request_id, "componentKey": "made", "error": "pipeline not running"}
    for _ in range(3):
        agent.sample_results.append(result)
    heartbeats = agent.counts["heartbeats"]
    place.change(labels={"again": "1"})
    place.operator.deploy(place.pipeline_id)
    until(lambda: agent.counts["heartbeats"] > heartbeats and not agent.sample_results)
    assert ended(place, request_id) == row, "what is done stays as it is"
    answer = agent.call("GET", "config")
    assert request_id not in [each["requestId"] for each in answer.get("sampleRequests") or []]
