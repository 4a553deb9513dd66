"""Hazards 14, 15 and 16: a socket goes from gunicorn to the hub whole, or not at all; and it is told goodbye."""

import json
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.hazards.conftest import Fleet
from tests.support import PROJECT
from tests.support.server import Server, clean_environment
from tests.support.until import until
from tests.support.websocket_client import (
    PING,
    PONG,
    TEXT,
    WebSocketClient,
    WebSocketRefusedError,
    frame_bytes,
    handshake_headers,
    upgrade_request,
)
from tools.child_process import ChildProcess


def test_no_byte_of_anybody_else_reaches_a_handed_over_socket(fleet: Fleet) -> None:
    """Hazard 14: gunicorn that still owned the descriptor would close it, or answer on it, under its number.

    Sockets come and go by the hundred amid plain requests; each that stays hears its own nudges and nothing else.
    """
    agents = fleet.agents(20)
    staying: dict[str, WebSocketClient] = {}
    stop = threading.Event()
    failures: list[str] = []

    def plain_requests() -> None:
        while not stop.is_set():
            answer = requests.get(f"{fleet.operator.url}/healthz", timeout=30)
            if answer.status_code != 200:
                failures.append(answer.text)

    others = [threading.Thread(target=plain_requests) for _ in range(3)]
    for thread in others:
        thread.start()
    try:
        for _ in range(5):
            for agent in agents:
                passing = agent.connect()
                passing.reset() if agents.index(agent) % 2 else passing.close()
        for agent in agents:
            staying[agent.node_id] = fleet.connect(agent)
        fleet.until_connected(agents)
        for _ in range(5):
            pushed = fleet.operator.deploy(fleet.pipeline_id)
            assert pushed["pushed"] == len(agents)
            for client in staying.values():
                assert client.read_message() == {
                    "type": "config_changed", "pipelineId": fleet.pipeline_id, "reason": "deploy",
                }  # fmt: skip
    finally:
        stop.set()
        for thread in others:
            thread.join(30)
    assert failures == []


def test_an_established_channel_outlives_the_requests_time_limits(fleet: Fleet) -> None:
    """Hazard 14: past gunicorn's keep-alive limit of five seconds the socket is nobody's but the hub's."""
    agent = fleet.agent()
    client = fleet.connect(agent)
    with pytest.raises(TimeoutError):
        client.read_message(seconds=8)
    fleet.operator.deploy(fleet.pipeline_id)
    assert client.read_message()["reason"] == "deploy"


def test_a_ping_is_answered_and_a_close_too(fleet: Fleet) -> None:
    """The hub speaks the protocol: the ping's payload comes back, the close code too, then the end."""
    client = fleet.connect(fleet.agent(), up_to_date=False)
    assert client.read_message()["reason"] == "connected"
    client.send_frame(PING, b"are you there")
    frame = client.read_frame()
    assert (frame.opcode, frame.payload) == (PONG, b"are you there")
    client.send_close(1000, "done")
    assert client.read_close().close_code == 1000
    assert client.read_end() == b""


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame_bytes(TEXT, b"x", masked=False), 1002),
        (frame_bytes(TEXT, b"\xff"), 1007),
        (b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01\0\0\0\0", 1009),
    ],
    ids=["unmasked", "not UTF-8", "oversize"],
)
def test_a_broken_frame_ends_the_channel_with_its_code(fleet: Fleet, data: bytes, code: int) -> None:
    """What test_frames shows for the reader, seen on the wire."""
    client = fleet.connect(fleet.agent(), up_to_date=False)
    client.send_bytes(data)
    assert client.read_close().close_code == code


class TlsServer(Server):
    """A server that speaks TLS itself, which production leaves to a proxy."""

    def __init__(self, folder: Path, settings: Mapping[str, str], certificate: Path) -> None:
        tls = f"--certfile={certificate} --keyfile={certificate}"
        super().__init__(folder, {**settings, "GUNICORN_CMD_ARGS": tls}, workers=1)
        self._certificate = certificate

    @property
    def url(self) -> str:
        return super().url.replace("http://127.0.0.1", "https://localhost")

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5, verify=str(self._certificate)).ok
        except (requests.ConnectionError, requests.Timeout):  # nothing listens yet
            return False


def test_a_tls_socket_stays_with_flask_socks_own_loop_and_thread(fleet: Fleet, tmp_path: Path) -> None:
    """Hazard 14: a TLS socket's bytes live in the process, so it is not handed over; it serves all the same.

    flask-sock's real reader thread answers pings there.
    """
    agent = fleet.agent()
    certificate = self_signed(tmp_path)
    other = TlsServer(tmp_path, fleet.server.settings, certificate)
    try:
        other.start()
        raw = socket.create_connection(("127.0.0.1", urlsplit(other.url).port or 0), timeout=10)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(certificate)
        client = WebSocketClient(context.wrap_socket(raw, server_hostname="localhost"))
        fleet.opened.append(client)
        url = f"{other.url}/api/agent/ws"
        client.send_bytes(upgrade_request(url, handshake_headers(url, agent.token)))
        assert client.read_answer().status == 101
        assert client.read_message()["reason"] == "connected"
        fleet.until_connected([agent])
        assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 1
        assert client.read_message()["reason"] == "deploy"
        client.send_frame(PING, b"there?")
        frame = client.read_frame()
        assert (frame.opcode, frame.payload) == (PONG, b"there?")
        fleet.operator.call("POST", f"/nodes/{agent.node_id}/revoke")
        assert client.read_close().close_code == 1008
    finally:
        other.close()


def test_the_development_server_serves_the_same_endpoint(fleet: Fleet, tmp_path: Path) -> None:
    """Where there is no gunicorn, flask-sock's loop and real threads do it."""
    agent = fleet.agent()
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    settings = {**clean_environment(), **fleet.server.settings}
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(port)]
    process = ChildProcess(command, log=tmp_path / "flask.log", env=settings, cwd=PROJECT)
    try:
        url = f"http://127.0.0.1:{port}/api/agent/ws"
        client = until(
            lambda: WebSocketClient.connect(url, agent.token),
            seconds=30,
            what="the development server",
            tolerate=(OSError,),
        )
        fleet.opened.append(client)
        assert client.read_message()["reason"] == "connected"
        fleet.until_connected([agent])
        assert fleet.operator.deploy(fleet.pipeline_id)["pushed"] == 1
        assert client.read_message()["reason"] == "deploy"
    finally:
        process.stop(10)


def self_signed(folder: Path) -> Path:
    """A certificate for localhost and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "localhost.pem"
    file.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return file


def test_every_socket_is_told_goodbye_when_the_server_stops(own_fleet: Fleet) -> None:
    """Hazard 15: gunicorn does not see these sockets; without the drain they end without a close frame."""
    agents = own_fleet.agents(60)
    clients = [own_fleet.connect(agent) for agent in agents]
    own_fleet.until_connected(agents)
    server = own_fleet.server
    server.process.send_signal(signal.SIGTERM)
    codes = [client.read_close(seconds=20).close_code for client in clients]
    assert codes == [1001] * 60
    assert server.process.wait(30) == 0
    log = server.log.read_text()
    assert "graceful timeout" not in log


UPGRADE_FAULTS = {
    "no key": {"Sec-WebSocket-Key": None},
    "a key of the wrong length": {"Sec-WebSocket-Key": "c2hvcnQ="},
    "a key that is not base64": {"Sec-WebSocket-Key": "not base64 at all!!!!!!!"},
    "no version": {"Sec-WebSocket-Version": None},
    "another version": {"Sec-WebSocket-Version": "8"},
    "a body": {"Content-Length": "3"},
    "a chunked body": {"Transfer-Encoding": "chunked"},
}


@pytest.mark.parametrize("fault", UPGRADE_FAULTS)
def test_a_handshake_that_breaks_the_rules_is_refused_before_the_upgrade(fleet: Fleet, fault: str) -> None:
    """Hazard 16: 400 with a sentence, never a 101 and never a 500, and the node is not shown as connected."""
    agent = fleet.agent()
    url = f"{fleet.operator.url}/api/agent/ws"
    headers = handshake_headers(url, agent.token)
    for name, value in UPGRADE_FAULTS[fault].items():
        if value is None:
            del headers[name]
        else:
            headers[name] = value
    client = fleet.dial(upgrade_request(url, headers) + (b"abc" if "body" in fault else b""))
    answer = client.read_answer()
    assert answer.status == 400
    assert "error" in json.loads(answer.body)
    assert fleet.operator.node(agent.node_id)["push"]["connected"] is False


def test_bytes_behind_the_handshake_are_refused_not_swallowed(fleet: Fleet) -> None:
    """Hazard 16: what gunicorn's parser has read already would vanish with it."""
    agent = fleet.agent()
    url = f"{fleet.operator.url}/api/agent/ws"
    client = fleet.dial(
        upgrade_request(url, handshake_headers(url, agent.token)) + frame_bytes(TEXT, b"early")
    )
    assert client.read_answer().status == 400


@pytest.mark.parametrize("token", [None, "nonsense", "sbx_node_0_" + "0" * 64, "sbx_enroll_0_" + "0" * 64])
def test_a_bad_token_is_refused_before_the_upgrade(fleet: Fleet, token: str | None) -> None:
    """A plain 401, not a 101 and a close."""
    with pytest.raises(WebSocketRefusedError) as refused:
        WebSocketClient.connect(f"{fleet.operator.url}/api/agent/ws", token)
    assert refused.value.answer.status == 401


def test_compression_is_never_agreed_to(fleet: Fleet) -> None:
    """An offer of permessage-deflate is passed over: it would cost 100 KiB a socket."""
    agent = fleet.agent()
    url = f"{fleet.operator.url}/api/agent/ws"
    headers = {**handshake_headers(url, agent.token), "Sec-WebSocket-Extensions": "permessage-deflate"}
    client = fleet.dial(upgrade_request(url, headers))
    answer = client.read_answer()
    assert answer.status == 101
    assert "sec-websocket-extensions" not in answer.headers
