"""Requests to addresses that operators typed: never into the server's own networks, however they are spelled."""

import ipaddress
import socket

import pytest

from app import outbound
from app.outbound import ForbiddenAddressError, OutboundError
from tests.support.receiver import LOOPBACK, receiver

ALLOWED = (ipaddress.ip_network(LOOPBACK),)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.31.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "2001:db8::1",
    ],
)
def test_no_address_that_is_not_public_is_allowed(address: str) -> None:
    """Also where one kind of address hides in another; unless its network is allowed, and only then."""
    assert not outbound.is_allowed(address)
    own = ipaddress.ip_address(address)
    assert outbound.is_allowed("8.8.8.8")
    assert outbound.is_allowed("2606:4700:4700::1111")
    if not (isinstance(own, ipaddress.IPv6Address) and own.ipv4_mapped):
        assert outbound.is_allowed(address, [ipaddress.ip_network(address)])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "0x7f.1", "2130706433", "127.1", "[::ffff:127.0.0.1]", "0"]
)
def test_no_spelling_of_this_machine_is_connected_to(host: str) -> None:
    """The receiver gets nothing; the sentence says where the name leads."""
    with receiver() as own:
        port = own.url.rsplit(":", 1)[1]
        for scheme in ("http", "https"):
            with pytest.raises(ForbiddenAddressError, match="leads to"):
                outbound.post(f"{scheme}://{host}:{port}", b"{}", {})
        assert own.received() == []


def test_a_name_is_looked_up_once_and_that_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: what leads to a public address when it is checked cannot lead elsewhere a moment later."""
    answers = ["198.51.100.7", "127.0.0.1"]
    asked: list[str] = []
    tried: list[str] = []

    def look_up(host: str, port: int, *_: object, **__: object) -> list[object]:
        asked.append(host)
        address = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def connect(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        tried.append(address[0])
        raise OSError("nobody there")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "create_connection", connect)
    network = ipaddress.ip_network("198.51.100.0/24")
    with pytest.raises(OutboundError, match="cannot be connected to"):
        outbound.post("https://rebinding.example/", b"{}", {}, [network])
    assert (asked, tried) == (["rebinding.example"], ["198.51.100.7"])
    # one forbidden address among several is enough to refuse
    answers[:] = ["127.0.0.1"]
    with pytest.raises(ForbiddenAddressError):
        outbound.post("https://rebinding.example/", b"{}", {}, [network])
    assert tried == ["198.51.100.7"]


def test_redirects_are_not_followed_and_little_of_an_answer_is_read() -> None:
    """Neither to another place nor to the same; a body without end costs four kilobytes."""
    with receiver() as own, receiver() as other:
        own.answers.append((302, {"Location": other.url}))
        own.body = b"x" * 10_000_000
        answer = outbound.post(own.url, b"{}", {}, ALLOWED)
        assert (answer.status, len(answer.text)) == (302, outbound.MOST_ANSWER_BYTES)
        assert other.received() == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hooks.example",
        "ftp://hooks.example/",
        "https://",
        "https://hooks.example:99999/",
        "https://hooks.example:0/",
        "https://user:password@hooks.example/",
        "https://hooks.example/#part",
        "https://hooks.example/a b",
        "https://hooks.example/\n",
        "https://häks.example/",
        "https://[::1/",
        "https://hooks.example/" + "x" * 2000,
    ],
)
def test_what_is_no_address_is_refused_before_it_is_used(url: str) -> None:
    """With the end of a sentence."""
    assert outbound.problem_of(url)
    with pytest.raises(OutboundError):
        outbound.post(url, b"{}", {})
    assert outbound.problem_of("https://hooks.example:8443/path?token=1") is None


def test_errors_are_in_words() -> None:
    """Nobody there, a name that nobody knows, TLS that is none."""
    with receiver() as own:
        port = own.url.split(":")[2].split("/")[0]
        with pytest.raises(OutboundError, match="TLS"):
            outbound.post(f"https://127.0.0.1:{port}/", b"{}", {}, ALLOWED)
    with pytest.raises(OutboundError, match="cannot be connected to"):
        outbound.post(f"http://127.0.0.1:{port}/", b"{}", {}, ALLOWED)
    with pytest.raises(OutboundError, match="its name is not known"):
        outbound.post("https://nowhere.invalid/", b"{}", {})
