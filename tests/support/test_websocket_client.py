"""The test client's own bytes are right, so that a failure is the server's."""

import socket
import threading
from collections.abc import Iterator

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)

from tests.support.websocket_client import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Frame,
    WebSocketClient,
    WebSocketRefusedError,
    frame_bytes,
)


class Peer:
    """A server of one connection by another implementation of the protocol."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/push"
        self.answer: AcceptConnection | RejectConnection = AcceptConnection()
        self.events: list[object] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def join(self) -> list[object]:
        """What was received once the client has gone."""
        self._thread.join(10)
        return self.events

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            protocol = WSConnection(ConnectionType.SERVER)
            while data := connection.recv(65536):
                protocol.receive_data(data)
                for event in protocol.events():
                    self.events.append(event)
                    connection.sendall(self._react(protocol, event))

    def _react(self, protocol: WSConnection, event: object) -> bytes:
        if isinstance(event, Request):
            return protocol.send(self.answer)
        if isinstance(event, Ping | CloseConnection):
            return protocol.send(event.response())
        if isinstance(event, TextMessage):
            return protocol.send(TextMessage(event.data))
        return b""


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.join()


def test_a_conversation_with_another_implementation(peer: Peer) -> None:
    """Handshake, text, ping and close agree with wsproto's reading of RFC 6455."""
    with WebSocketClient.connect(peer.url, "sbx_node_1_2") as client:
        client.send_frame(TEXT, b'{"type": "hello"}')
        assert client.read_message() == {"type": "hello"}
        client.send_frame(PING, b"still there?")
        assert client.read_frame() == Frame(PONG, b"still there?")
        client.send_frame(BINARY, b"x" * 70_000)
        client.send_close(1000, "done")
        closed = client.read_close()
        assert (closed.close_code, closed.close_reason) == (1000, "done")

    request, *_ = peer.join()
    assert isinstance(request, Request)
    assert (b"authorization", b"Bearer sbx_node_1_2") in request.extra_headers
    assert request.extensions == []
    sizes = [len(event.data) for event in peer.events if isinstance(event, BytesMessage)]
    assert sum(sizes) == 70_000


def test_a_refused_upgrade_shows_the_answer(peer: Peer) -> None:
    """Status and headers of the refusal can be asserted."""
    peer.answer = RejectConnection(status_code=401, headers=[(b"content-length", b"0")])

    with pytest.raises(WebSocketRefusedError) as refused:
        WebSocketClient.connect(peer.url, None)

    assert refused.value.answer.status == 401


@pytest.fixture
def pair() -> Iterator[tuple[WebSocketClient, socket.socket]]:
    ours, theirs = socket.socketpair()
    with WebSocketClient(ours) as client, theirs:
        yield client, theirs


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_of_every_length_form_are_read(size: int, pair: tuple[WebSocketClient, socket.socket]) -> None:
    """The three length encodings, masked and not."""
    client, theirs = pair
    payload = bytes(index % 251 for index in range(size))
    for masked in (False, True):
        theirs.sendall(frame_bytes(BINARY, payload, fin=False, rsv=4, masked=masked))
        assert client.read_frame() == Frame(BINARY, payload, fin=False, rsv=4, masked=masked)


def test_a_frame_that_came_in_part_is_not_lost(pair: tuple[WebSocketClient, socket.socket]) -> None:
    """A reader that ran out of time can go on where it was."""
    client, theirs = pair
    whole = frame_bytes(TEXT, b'"late"', masked=False)
    theirs.sendall(whole[:3])
    with pytest.raises(TimeoutError):
        client.read_frame(0.02)
    theirs.sendall(whole[3:])

    assert client.read_message() == "late"


def test_keepalive_is_passed_over_and_answered(pair: tuple[WebSocketClient, socket.socket]) -> None:
    """A message behind a ping and an unsolicited pong is the next message; the ping gets its pong."""
    client, theirs = pair
    theirs.sendall(frame_bytes(PING, b"1", masked=False) + frame_bytes(PONG, masked=False))
    theirs.sendall(frame_bytes(TEXT, b"{}", masked=False))

    assert client.read_message() == {}
    assert WebSocketClient(theirs).read_frame() == Frame(PONG, b"1", masked=True)


def test_the_end_of_the_connection_is_seen(pair: tuple[WebSocketClient, socket.socket]) -> None:
    """What came before the end is returned; a connection that stays open is a timeout."""
    client, theirs = pair
    with pytest.raises(TimeoutError):
        client.read_end(0.02)
    theirs.sendall(frame_bytes(CLOSE, masked=False))
    theirs.close()

    assert client.read_end() == b"\x88\x00"
