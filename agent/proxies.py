"""Through which proxy an address is reached. Pure, and asked for every kind of request, so that they cannot differ.

``HTTPS_PROXY`` is for https and wss, ``HTTP_PROXY`` for http and ws, ``ALL_PROXY`` for both where theirs is not
set, and ``NO_PROXY`` names who is reached without one. A name in lower case goes before the same in upper case,
also when it is empty.
"""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
VARIABLES = {"http": "HTTP_PROXY", "ws": "HTTP_PROXY", "https": "HTTPS_PROXY", "wss": "HTTPS_PROXY"}
FOR_ALL = "ALL_PROXY"
EXCEPTIONS = "NO_PROXY"


class ProxyRefusedError(ValueError):
    """A proxy that cannot be used; the message names the variable, not its value, which may hold a password."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy, spoken to without TLS. As text it shows no user and no password."""

    variable: str
    """Which variable named it."""
    host: str
    port: int
    credentials: str | None = field(default=None, repr=False)
    """``user:password``, each percent-encoded as it stood."""

    @property
    def url(self) -> str:
        """With its credentials: for whoever connects, never for a log."""
        return f"http://{f'{self.credentials}@' if self.credentials else ''}{self._address}"

    @property
    def headers(self) -> dict[str, str]:
        """What to send to it with a CONNECT."""
        if self.credentials is None:
            return {}
        user, _, password = self.credentials.partition(":")
        token = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {token}"}

    @property
    def _address(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    def __str__(self) -> str:
        return f"http://{'***@' if self.credentials else ''}{self._address}"


def proxy_for(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy through which ``url`` (http, https, ws, wss) is reached; ``None``: directly.

    ProxyRefusedError for one that cannot be used; ValueError for a ``url`` that is none.
    """
    parts = urlsplit(url)
    variable = VARIABLES.get(parts.scheme)
    if variable is None or not parts.hostname:
        raise ValueError("no http, https, ws or wss address")
    for name in (variable, FOR_ALL):
        text = _value(name, environment)
        if text:
            port = parts.port or DEFAULT_PORTS[parts.scheme]
            if is_excepted(parts.hostname, port, _value(EXCEPTIONS, environment)):
                return None
            return parse_proxy(name, text)
    return None


def parse_proxy(variable: str, text: str) -> Proxy:
    """The proxy that a variable's value names; ProxyRefusedError if it is none that we can use."""
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() != "http":
        # requests would take https, websocket-client would not; neither takes socks without another package.
        raise ProxyRefusedError(
            f"{variable} names a proxy of a kind that this agent cannot use ({scheme[:20]!r}): "
            "only http:// proxies can carry both its requests and its push channel"
        )
    try:
        parts = urlsplit(text if separator else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise ProxyRefusedError(
            f"{variable} is not the address of a proxy, such as http://proxy.example:3128"
        )
    credentials = parts.netloc.rpartition("@")[0] or None
    return Proxy(variable, host, port or DEFAULT_PORTS["http"], credentials)


def is_excepted(host: str, port: int, exceptions: str) -> bool:
    """Whether ``NO_PROXY``'s value names this host.

    Its parts, divided by commas or spaces: ``*`` for all; a name, with or without a dot or ``*.`` before it, for
    itself and all below it; an address, or a network such as ``10.0.0.0/8``; each with ``:port`` for that alone.
    Names are not looked up, so a network matches only addresses.
    """
    host = host.lower().rstrip(".")
    return any(_names(part, host, port) for part in exceptions.lower().replace(",", " ").split())


def without_credentials(text: str) -> str:
    """A proxy variable's value without user and password."""
    scheme, separator, rest = text.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def _names(part: str, host: str, port: int) -> bool:
    if part == "*":
        return True
    address = _address_of(host)
    try:
        network = ipaddress.ip_network(part.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address.version == network.version and address in network
    name, colon, wanted_port = part.rpartition(":")
    if colon and wanted_port.isdigit():
        return int(wanted_port) == port and _names(name, host, port)
    suffix = part.removeprefix("*").strip(".")
    return bool(suffix) and address is None and (host == suffix or host.endswith(f".{suffix}"))


def _address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _value(name: str, environment: Mapping[str, str]) -> str:
    return environment.get(name.lower(), environment.get(name, "")).strip()
