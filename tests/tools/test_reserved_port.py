"""A reserved port is ours alone, and can be listened on."""

import socket

import pytest

from tools.reserved_port import ReservedPort


def listen(port: int) -> socket.socket:
    """As gunicorn and Redis do."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    return listener


def test_a_server_listens_on_a_reserved_port_again_and_again() -> None:
    """The reservation is in nobody's way, also after a restart with a connection still closing."""
    reserved = ReservedPort()
    for _ in range(2):
        with listen(reserved.port) as listener, socket.create_connection(("127.0.0.1", reserved.port)):
            listener.accept()[0].close()
    reserved.release()


def test_nobody_is_handed_a_reserved_port() -> None:
    """Whoever binds it without SO_REUSEADDR is refused, reserved or not by name."""
    reserved = ReservedPort()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", reserved.port))
    reserved.release()


def test_a_port_that_someone_listens_on_cannot_be_reserved() -> None:
    """A remembered port that was taken meanwhile is refused, so that another one can be found."""
    reserved = ReservedPort()
    with listen(reserved.port), pytest.raises(OSError, match="in use"):
        ReservedPort(port=reserved.port)
    reserved.release()
