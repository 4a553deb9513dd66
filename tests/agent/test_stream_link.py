"""The push channel as server-sent events on real sockets: what is sent, read, refused and cut off."""

import base64
import datetime
import hashlib
import ipaddress
import queue
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent import link
from agent.actions import OpenLink
from agent.event_stream import MOST_LINE_BYTES
from agent.events import Event, LinkClosed, LinkOpened, Nudged, PollIntervalPushed
from agent.link import Link
from agent.protocol import CloseCode, Transport
from tests.agent.wire_server import Answer, Peer, WireServer
from tests.support.until import until
from tools.reserved_port import ReservedPort

Serve = Callable[..., WireServer]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
RAW = HEAD + b"Connection: close\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CONNECTED = b": connected\n\n"
DEPLOY = b'event: config_changed\ndata: {"type":"config_changed","pipelineId":"p1","reason":"deploy"}\n\n'
GOODBYE = b'event: close\ndata: {"type":"close","code":1001,"reason":"going away"}\n\n'
WAIT_SECONDS = 10.0


class Ends:
    """A link whose events are kept, in order."""

    def __init__(self, read_seconds: float = 45.0) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.link = Link("instance-1", self._events.put, read_seconds)

    def open(self, url: str, transport: Transport = Transport.SSE) -> None:
        self.link.open(OpenLink(1, url, "r1", transport), "sbx_node_n1_secret")

    def next(self) -> Event:
        return self._events.get(timeout=WAIT_SECONDS)

    def closed(self) -> LinkClosed:
        """The next event, which is the end."""
        event = self.next()
        assert isinstance(event, LinkClosed)
        return event


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server that gives everybody the same answer."""
    servers: list[WireServer] = []

    def start(answer: Answer, tls: ssl.SSLContext | None = None) -> WireServer:
        servers.append(WireServer(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own is."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def stream_url(server: WireServer) -> str:
    return f"http://{server.address}/api/agent/push"


def says(data: bytes) -> Answer:
    """Writes this and waits for the agent to end the connection."""

    def answer(peer: Peer) -> None:
        peer.send(data)
        peer.wait_end()

    return answer


@pytest.mark.parametrize("transport", list(Transport))
def test_both_forms_say_the_same_about_the_agent(serve: Serve, transport: Transport) -> None:
    """Token, instance (hazard 18) and revision; nothing packed, which would wait for more."""
    server = serve(says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
    scheme = "ws" if transport is Transport.WS else "http"
    ends = Ends()
    ends.open(f"{scheme}://{server.address}/api/agent/x", transport)
    assert ends.closed().error == "the server answered 400"

    (peer,) = server.peers
    assert peer.path == "/api/agent/x"
    assert peer.headers["authorization"] == "Bearer sbx_node_n1_secret"
    assert peer.headers["x-agent-instance"] == "instance-1"
    assert peer.headers["x-config-revision"] == "r1"
    assert peer.headers["user-agent"].startswith("signalbox-agent/")
    if transport is Transport.SSE:
        assert peer.headers["accept"] == "text/event-stream"
        assert peer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("is_chunked", [False, True], ids=["raw", "chunked"])
def test_events_are_understood_as_frames_are(serve: Serve, is_chunked: bool) -> None:
    """From our server, which writes to the end of the connection, and through a proxy that makes chunks."""

    def answer(peer: Peer) -> None:
        peer.send(CHUNKED if is_chunked else RAW)
        send = peer.send_chunk if is_chunked else peer.send
        send(CONNECTED)
        send(DEPLOY[:20])
        send(DEPLOY[20:] + b": keepalive\n\n")
        send(b"event: tomorrow\ndata: {}\n\n" + b'event:poll_interval\r\ndata:{"intervalMs":2000}\r\n\r\n')
        send(GOODBYE)
        peer.wait_end()

    server = serve(answer)
    ends = Ends()
    ends.open(stream_url(server))
    assert ends.next() == LinkOpened(1)
    assert ends.next() == Nudged("deploy", "p1")
    assert ends.next() == PollIntervalPushed(2.0)
    assert ends.closed() == LinkClosed(1, "closed by the server", CloseCode.GOING_AWAY, "going away")
    assert server.peers[0].has_ended.wait(WAIT_SECONDS), "the connection is given back"


@pytest.mark.parametrize("sent", [b"", RAW, RAW + CONNECTED + DEPLOY[:10]], ids=["nothing", "head", "half"])
def test_another_thread_ends_it_at_once(serve: Serve, sent: bytes) -> None:
    """Wherever it hangs: the owner of the link must not wait 45 s for the old one to go."""
    server = serve(says(sent))
    ends = Ends()
    ends.open(stream_url(server))
    until(lambda: server.peers, what="the request")
    if CONNECTED in sent:
        assert ends.next() == LinkOpened(1)
    ends.link.close(1)
    assert ends.closed().code is None
    assert server.peers[0].has_ended.wait(WAIT_SECONDS)
    ends.link.close(1)  # once more does nothing


def test_a_stream_that_falls_silent_is_dropped_and_comments_keep_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing read for 45 s, here 2, is a dead peer; a comment in time is a living one."""
    monkeypatch.setattr(link, "CONNECT_SECONDS", 1.0)

    def answer(peer: Peer) -> None:
        peer.send(RAW + CONNECTED)
        for data in (b": keepalive\n\n", DEPLOY):
            time.sleep(1.3)  # which is the keepalive's interval, not a wait for something
            peer.send(data)
        peer.wait_end()

    ends = Ends(read_seconds=2.0)
    ends.open(stream_url(serve(answer)))
    assert ends.next() == LinkOpened(1)
    assert ends.next() == Nudged("deploy", "p1")
    assert ends.closed() == LinkClosed(1, "nothing was heard in time")


def test_a_head_without_a_body_is_no_channel(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What buffers streams passes on the head and then nothing; polls must not become rare because of it."""
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.5)
    ends = Ends()
    ends.open(stream_url(serve(says(RAW))))
    assert ends.closed() == LinkClosed(1, "nothing was heard in time")


@pytest.mark.parametrize(
    ("answer", "closed"),
    [
        (b"401 Unauthorized\r\n", LinkClosed(1, "the server answered 401", unauthorized=True)),
        (b"503 Busy\r\nRetry-After: 7\r\n", LinkClosed(1, "the server answered 503", retry_after=7.0)),
        (b"302 Found\r\nLocation: %s\r\n", LinkClosed(1, "the server answered 302")),
    ],
    ids=["401", "503", "302"],
)
def test_an_answer_that_is_no_stream_says_why(serve: Serve, answer: bytes, closed: LinkClosed) -> None:
    """And the token goes to the address that the server named and nowhere else."""
    elsewhere = serve(says(RAW))
    target = stream_url(elsewhere).encode()
    ends = Ends()
    head = answer.replace(b"%s", target)
    ends.open(stream_url(serve(says(b"HTTP/1.1 " + head + b"Content-Length: 0\r\n\r\n"))))
    assert ends.closed() == closed
    assert elsewhere.peers == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>sign in</html>",
        HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b",
        RAW + b"data: " + b"x" * MOST_LINE_BYTES,
        CHUNKED + b"zz\r\n",
        b"\xff\xfe\r\n\r\n",
    ],
    ids=["a page", "packed", "a line without end", "no chunk", "no HTTP"],
)
def test_what_is_no_event_stream_ends_the_attempt(serve: Serve, answer: bytes) -> None:
    """One LinkClosed, with a reason, for whatever comes; it counts against the path, as somebody was reached."""
    ends = Ends()
    ends.open(stream_url(serve(says(answer))))
    event = ends.next()
    closed = ends.closed() if isinstance(event, LinkOpened) else event
    assert isinstance(closed, LinkClosed)
    assert closed.error
    assert not closed.unreachable


@pytest.mark.parametrize("transport", list(Transport))
def test_an_address_where_nobody_listens_is_unreachable(transport: Transport) -> None:
    """Which is how a server that is down looks, and no sign of a network that breaks WebSockets."""
    port = ReservedPort()
    ends = Ends()
    scheme = "ws" if transport is Transport.WS else "http"
    ends.open(f"{scheme}://127.0.0.1:{port.port}/api/agent/x", transport)
    assert ends.closed().unreachable
    port.release()


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 No\r\n\r\n", b"HTTP/1.1 302 Found\r\nLocation: ws://x/\r\n\r\n", b"nonsense\r\n"],
)
def test_an_upgrade_that_goes_wrong_has_reached_somebody(serve: Serve, answer: bytes) -> None:
    """Cut off, refused, sent away or not understood: that may well be the network's doing."""
    ends = Ends()
    server = serve(lambda peer: peer.send(answer))
    ends.open(f"ws://{server.address}/api/agent/ws", Transport.WS)
    closed = ends.closed()
    assert (closed.unreachable, closed.unauthorized, closed.retry_after) == (False, False, None)


def test_an_upgrade_that_is_never_answered_has_reached_somebody(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that swallows it."""
    monkeypatch.setattr(link, "CONNECT_SECONDS", 0.5)
    ends = Ends()
    ends.open(f"ws://{serve(Peer.wait_end).address}/api/agent/ws", Transport.WS)
    assert ends.closed() == LinkClosed(1, "nothing was heard in time")


@pytest.mark.parametrize("transport", list(Transport))
def test_over_tls_it_trusts_the_same_authorities_and_can_be_ended(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    """SIGNALBOX_CA_FILE, as for everything else that is asked of the server; without it the error names it."""
    answer = says(RAW + CONNECTED) if transport is Transport.SSE else accept_websocket
    server = serve(answer, tls=self_signed(tmp_path))
    url = f"{'https' if transport is Transport.SSE else 'wss'}://{server.address}/api/agent/push"
    stranger = Ends()
    stranger.open(url, transport)
    closed = stranger.closed()
    assert "CERTIFICATE_VERIFY_FAILED" in closed.error
    assert "SIGNALBOX_CA_FILE" in closed.error
    assert closed.unreachable

    monkeypatch.setenv("SIGNALBOX_CA_FILE", str(tmp_path / "cert.pem"))
    ends = Ends()
    ends.open(url, transport)
    assert ends.next() == LinkOpened(1)
    ends.link.close(1)
    assert ends.closed().code is None


@pytest.mark.parametrize("transport", list(Transport))
def test_a_proxy_that_takes_for_ever_over_its_tunnel_can_be_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, transport: Transport
) -> None:
    """In the middle of its answer to CONNECT; nobody waits for the rest."""
    proxy = serve(lambda peer: (peer.send(b"HTTP/1.1 200 OK\r\nX"), peer.wait_end()))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
    ends = Ends()
    scheme = "https" if transport is Transport.SSE else "wss"
    ends.open(f"{scheme}://signalbox.test/api/agent/x", transport)
    until(lambda: proxy.peers, what="the CONNECT")
    started = time.monotonic()

    ends.link.close(1)

    assert ends.closed().unreachable
    assert time.monotonic() - started < 10
    assert proxy.peers[0].request.startswith("CONNECT signalbox.test:443 ")


def accept_websocket(peer: Peer) -> None:
    """The handshake's answer, and then nothing."""
    key = peer.headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key).digest())
    peer.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    peer.wait_end()


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's context for 127.0.0.1, whose certificate is also its authority, in `cert.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
