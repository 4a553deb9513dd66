"""HTTP requests to addresses that operators typed: never into networks that are the server's own.

Where a name leads is looked up once, checked, and connected to as that address, so that a name that leads elsewhere
a moment later (DNS rebinding) leads nowhere. Redirects are not followed, proxies from the environment not used.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from app.push.deadlines import deadline

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 10.0
MOST_ANSWER_BYTES = 4096
"""Read of an answer, for the log; the rest is not wanted."""
MOST_URL_CHARACTERS = 2000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")


class OutboundError(Exception):
    """The request could not be made, or was not answered; the message is the end of a sentence."""


class ForbiddenAddressError(OutboundError):
    """The name leads into a network that is not allowed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    """The beginning of the body."""
    retry_after: str | None
    milliseconds: int


def problem_of(url: str) -> str | None:
    """Why *url* cannot be posted to, as the end of a sentence; ``None`` if nothing is known against it.

    Looks nothing up: where a name leads is checked at each request.
    """
    if len(url) > MOST_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return f"it is not an address of at most {MOST_URL_CHARACTERS} printable ASCII characters"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "it is not a web address"
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        return "it must begin with https:// (or http://) and name a host"
    if parts.username is not None or parts.password is not None:
        return "it must not hold a user name or password"
    if parts.fragment:
        return "it must not have a part behind #"
    return None


def is_allowed(address: str, allowed: Sequence[Network] = ()) -> bool:
    """Whether a request may go to *address*: one of the public internet, or of a network that is *allowed*."""
    return _is_public(ipaddress.ip_address(address)) or _is_within(address, allowed)


def post(url: str, body: bytes, headers: dict[str, str], allowed: Sequence[Network] = ()) -> Answer:
    """POST *body*; plain http only into *allowed* networks.

    :raises OutboundError: no answer within ten seconds, or none at all.
    :raises ForbiddenAddressError: the name leads where requests must not go.
    """
    if (problem := problem_of(url)) is not None:
        raise OutboundError(f"the address cannot be used: {problem}")
    begin = time.monotonic()
    with _Session() as session:
        session.trust_env = False
        session.mount("https://", _GuardedAdapter(allowed, is_plain=False))
        session.mount("http://", _GuardedAdapter(allowed, is_plain=True))
        try:
            with deadline(TOTAL_SECONDS):
                answer = session.post(
                    url,
                    data=body,
                    headers=headers,
                    timeout=(CONNECT_SECONDS, TOTAL_SECONDS),
                    allow_redirects=False,
                    stream=True,
                )
                text = answer.raw.read(MOST_ANSWER_BYTES, decode_content=False)
        except TimeoutError:
            raise OutboundError(f"no answer within {TOTAL_SECONDS:g} s") from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            refusal = _refusal_in(error)
            if refusal is not None:
                raise refusal from None
            raise OutboundError(_in_words(error)) from None
    return Answer(
        answer.status_code,
        text.decode("utf-8", "replace").replace("\0", ""),
        answer.headers.get("Retry-After"),
        round((time.monotonic() - begin) * 1000),
    )


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is None and address in _SIX_TO_FOUR:
            inner = address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not (
        address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or address.is_link_local
        or address.is_loopback
        or address.is_private
    )


def _is_within(address: str, networks: Sequence[Network]) -> bool:
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return any(found.version == network.version and found in network for network in networks)


class _Guard:
    """Mixed into urllib3's connections: connects to an address that was checked, and to no other."""

    allowed: Sequence[Network] = ()
    is_plain = False

    def _new_conn(self: Any) -> socket.socket:
        host = self._dns_host.strip("[]")
        try:
            found = socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise urllib3.exceptions.NameResolutionError(host, self, socket.gaierror("unknown")) from None
        problem: OSError | None = None
        addresses = [str(entry[4][0]).partition("%")[0] for entry in found]
        for address in addresses:
            # One forbidden address among several is enough: which one is used is for us to say, not for DNS.
            if self.is_plain and not _is_within(address, self.allowed):
                raise _Refused(f"{host} leads to {address}, and outside of allowed networks it must be https")
            if not is_allowed(address, self.allowed):
                raise _Refused(f"{host} leads to {address}, which is not an address of the public internet")
        for address in addresses:
            try:
                return socket.create_connection((address, self.port), CONNECT_SECONDS)
            except OSError as error:
                problem = error
        raise urllib3.exceptions.NewConnectionError(self, f"{problem}")


class _Session(requests.Session):
    def get_redirect_target(self, resp: Any) -> None:
        """None: requests would read the whole body of a redirect, also of one that it is not to follow."""


class _Refused(urllib3.exceptions.HTTPError):
    """A guard has refused; carried through urllib3 and requests."""


class _GuardedAdapter(HTTPAdapter):
    def __init__(self, allowed: Sequence[Network], is_plain: bool) -> None:
        self._members = {"allowed": allowed, "is_plain": is_plain}
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(self, *arguments: Any, **more: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **more)
        base = HTTPSConnection if pool.scheme == "https" else HTTPConnection
        pool.ConnectionCls = type("GuardedConnection", (_Guard, base), dict(self._members))
        return pool


def _refusal_in(error: BaseException) -> ForbiddenAddressError | None:
    """The guard's refusal among the causes of *error*, however deep libraries have wrapped it."""
    seen: list[BaseException] = [error]
    for _ in range(10):
        cause = seen[-1]
        if isinstance(cause, _Refused):
            return ForbiddenAddressError(str(cause))
        inner = getattr(cause, "reason", None) or (cause.args[0] if cause.args else None) or cause.__cause__
        if not isinstance(inner, BaseException):
            return None
        seen.append(inner)
    return None


def _in_words(error: BaseException) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its TLS certificate could not be verified"
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)):
        return f"no answer within {TOTAL_SECONDS:g} s"
    if "NameResolutionError" in repr(error):
        return "its name is not known"
    if isinstance(error, (requests.exceptions.ConnectionError, OSError)):
        return "it cannot be connected to"
    return "its answer was not HTTP"
