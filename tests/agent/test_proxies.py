"""Which proxy is taken for which address, and which not at all."""

import pytest

from agent.proxies import ProxyRefusedError, is_excepted, parse_proxy, proxy_for, without_credentials

HTTPS = "https://signalbox.example/api"
PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "environment", "wanted"),
    [
        (HTTPS, {}, None),
        (HTTPS, {"HTTPS_PROXY": PROXY}, PROXY),
        (HTTPS, {"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        (HTTPS, {"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        (HTTPS, {"HTTP_PROXY": PROXY}, None),
        (HTTPS, {"ALL_PROXY": PROXY}, PROXY),
        (HTTPS, {"all_proxy": "http://other:1", "HTTPS_PROXY": PROXY}, PROXY),
        (HTTPS, {"HTTPS_PROXY": "proxy.example:3128"}, PROXY),
        (HTTPS, {"HTTPS_PROXY": "http://proxy.example/"}, "http://proxy.example:80"),
        (HTTPS, {"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
        ("wss://signalbox.example", {"HTTPS_PROXY": PROXY, "HTTP_PROXY": "http://other:1"}, PROXY),
        ("ws://signalbox.example", {"HTTP_PROXY": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ("http://signalbox.example", {"HTTP_PROXY": PROXY}, PROXY),
        (HTTPS, {"HTTPS_PROXY": PROXY, "NO_PROXY": "signalbox.example"}, None),
        (HTTPS, {"HTTPS_PROXY": PROXY, "NO_PROXY": "other", "no_proxy": "signalbox.example"}, None),
        ("wss://signalbox.example", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example:443"}, None),
        ("wss://signalbox.example:8443", {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example:443"}, PROXY),
    ],
)
def test_the_proxy_of_an_address(url: str, environment: dict[str, str], wanted: str | None) -> None:
    """Alike for HTTP and its WebSocket; lower case goes first."""
    proxy = proxy_for(url, environment)

    assert (str(proxy) if proxy is not None else None) == wanted


@pytest.mark.parametrize(
    ("host", "exceptions", "is_one"),
    [
        ("a.example", "", False),
        ("a.example", "*", True),
        ("a.example", "b.example, a.example", True),
        ("a.example", "b.example a.example", True),
        ("a.example", "example", True),
        ("a.example", ".example", True),
        ("a.example", "*.example", True),
        ("A.Example.", "a.EXAMPLE", True),
        ("notexample", ".example", False),
        ("a.example", ".", False),
        ("a.example", "a.example:8000", True),
        ("a.example", "a.example:8001", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:8000", True),
        ("10.1.2.3", "10.1.2.3:1", False),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "3", False),
        ("ten.example", "10.0.0.0/8", False),
        ("fe80::1", "fe80::/10", True),
        ("fe80::1", "[fe80::1]", True),
        ("fe80::1", "[fe80::1]:8000", True),
        ("fe80::1", "10.0.0.0/8", False),
    ],
)
def test_who_is_reached_without_one(host: str, exceptions: str, is_one: bool) -> None:
    """NO_PROXY's forms; the port asked for is 8000."""
    assert is_excepted(host, 8000, exceptions) is is_one


@pytest.mark.parametrize(
    "value", ["socks5://u:hunter2@proxy:1080", "https://u:hunter2@proxy", "http://", ":1"]
)
def test_a_proxy_that_cannot_be_used_is_refused_without_showing_it(value: str) -> None:
    """The sentence names the variable; its value may hold a password."""
    with pytest.raises(ProxyRefusedError) as refusal:
        proxy_for(HTTPS, {"HTTPS_PROXY": value})

    assert str(refusal.value).startswith("HTTPS_PROXY ")
    assert "hunter2" not in str(refusal.value)


def test_credentials_are_sent_and_never_shown() -> None:
    """Percent-encoded in the variable, decoded on the wire."""
    proxy = parse_proxy("HTTPS_PROXY", "http://user:hunter%402@proxy:3128")

    assert proxy.headers == {"Proxy-Authorization": "Basic dXNlcjpodW50ZXJAMg=="}
    assert proxy.url == "http://user:hunter%402@proxy:3128"
    assert str(proxy) == "http://***@proxy:3128"
    assert "hunter" not in repr(proxy)


@pytest.mark.parametrize(
    ("value", "left"),
    [
        ("http://u:p@proxy:3128", "http://proxy:3128"),
        ("u:p@proxy:3128", "proxy:3128"),
        ("http://u:p/q@proxy:3128/", "http://proxy:3128/"),
        ("socks5://proxy:1080", "socks5://proxy:1080"),
        ("", ""),
    ],
)
def test_what_is_left_of_a_proxy_for_the_children(value: str, left: str) -> None:
    """Whatever stands before the last @ is gone."""
    assert without_credentials(value) == left
