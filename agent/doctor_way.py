"""What ``doctor`` looks at on the way to the server: each step alone, so that the one that fails is seen."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError

from agent.authorities import named_authorities
from agent.doctor import Check, CheckFailedError, DoubtfulError, Facts, NotApplicableError
from agent.protocol import CONFIG_PATH
from agent.proxies import DEFAULT_PORTS, proxy_for
from agent.session import USER_AGENT, Attempt, connect, open_session, root_cause
from agent.store import Store, StoreError

STEP_SECONDS = 4.0
"""Of each wait; a check as a whole has the doctor's deadline."""
DOUBTFUL_SKEW_SECONDS = 5.0
MOST_SKEW_SECONDS = 60.0
LAST_DAYS = 14
MOST_ANSWER_BYTES = 64 * 1024 * 1024

FAILURES = (requests.RequestException, HTTPError, OSError, ValueError)


def name(facts: Facts) -> str:
    """Whoever is connected to first has an address."""
    host, port, who = _first(facts.settings.url)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise CheckFailedError(
            f"{who} {host!r} has no address ({error}); look at /etc/resolv.conf"
        ) from error
    addresses = sorted({str(entry[4][0]) for entry in found})
    return f"{who} {host} is {', '.join(addresses[:4])}"


def connection(facts: Facts) -> str:
    """It takes a connection."""
    host, port, who = _first(facts.settings.url)
    try:
        socket.create_connection((host, port), timeout=STEP_SECONDS).close()
    except OSError as error:
        raise CheckFailedError(
            f"{who} takes no connection at {host} port {port} ({error}); "
            "is it up, does a firewall forbid it, or is there a proxy to go through (HTTPS_PROXY)?"
        ) from error
    return f"to {who} at {host} port {port}"


def tls(facts: Facts) -> str:
    """The server's certificate is good, against the authorities that the agent trusts."""
    url = facts.settings.url
    if urlsplit(url).scheme != "https":
        raise NotApplicableError("the server's address begins with http")
    try:
        connected = connect(url, Attempt(), STEP_SECONDS)
    except FAILURES as error:
        raise CheckFailedError(f"{root_cause(error)} ({_trusted()})") from error
    with connected:
        certificate = connected.getpeercert() if isinstance(connected, ssl.SSLSocket) else None
        version = connected.version() if isinstance(connected, ssl.SSLSocket) else None
    ends = str((certificate or {}).get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400 if ends else LAST_DAYS
    if days < LAST_DAYS:
        raise DoubtfulError(f"the server's certificate ends in {days:.0f} days; renew it there")
    return f"{version}, {_trusted()}"


def server(facts: Facts) -> str:
    """It is a Signalbox, and up."""
    answer, content = ask(f"{facts.settings.url}/healthz", None)
    date = answer.headers.get("Date")
    if date is not None:
        try:
            facts.skew_seconds = (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            # The next check says that there is none.
            facts.skew_seconds = None
    if 300 <= answer.status_code < 400:
        raise CheckFailedError(
            f"/healthz answered {answer.status_code}, a redirect; set SIGNALBOX_URL to where it leads"
        )
    if answer.status_code != 200:
        raise CheckFailedError(
            f"/healthz answered {answer.status_code}; look at the server, or at what is before it"
        )
    if read_json(content).get("status") != "ok":
        raise CheckFailedError("something else than a Signalbox server answers there; look at SIGNALBOX_URL")
    proxy = proxy_for(facts.settings.url, os.environ)
    return "answers " + (
        f"through the proxy {proxy} ({proxy.variable})" if proxy is not None else "without a proxy"
    )


def clock(facts: Facts) -> str:
    """Ours and the server's agree; the header has whole seconds."""
    if facts.skew_seconds is None:
        raise NotApplicableError("the server does not say its time")
    ours = "behind" if facts.skew_seconds > 0 else "ahead"
    text = f"this node is {abs(facts.skew_seconds):.0f} s {ours} of the server"
    if abs(facts.skew_seconds) > MOST_SKEW_SECONDS:
        raise CheckFailedError(f"{text}; set it by NTP: timedatectl set-ntp true")
    if abs(facts.skew_seconds) > DOUBTFUL_SKEW_SECONDS:
        raise DoubtfulError(f"{text}; set it by NTP: timedatectl set-ntp true")
    return "agrees with the server's"


def token(facts: Facts) -> str:
    """The server knows the node; one that has not enrolled does not do so here."""
    settings = facts.settings
    try:
        facts.node_token = Store(settings.data_dir).node_token()
    except StoreError as error:
        raise CheckFailedError(f"{error}; run doctor as root") from error
    if facts.node_token is None:
        if settings.token is None:
            raise CheckFailedError(
                "this node has not enrolled, and SIGNALBOX_TOKEN is not set: make an enrollment token in the server"
            )
        if not settings.token.startswith("sbx_enroll_"):
            raise DoubtfulError(
                "this node has not enrolled, and SIGNALBOX_TOKEN looks like no enrollment token"
            )
        return "this node has not enrolled; the agent will, with SIGNALBOX_TOKEN"
    answer, content = ask(settings.url + CONFIG_PATH, facts.node_token)
    if answer.status_code == 401:
        facts.node_token = None
        raise CheckFailedError(
            "the server does not know this node's token (any more): was it revoked, or is this another server? To "
            f"enroll anew, stop the agent, remove {settings.data_dir / 'node-token'} and set SIGNALBOX_TOKEN"
        )
    if answer.status_code != 200:
        facts.node_token = None
        raise CheckFailedError(f"the configuration cannot be had: the server answered {answer.status_code}")
    facts.answer = read_json(content)
    return f"good, {len(_list(facts.answer.get('pipelines')))} pipelines are wanted here"


def _first(url: str) -> tuple[str, int, str]:
    """Host and port of whoever is connected to, and what that is."""
    proxy = proxy_for(url, os.environ)
    if proxy is not None:
        return proxy.host, proxy.port, f"the proxy of {proxy.variable}"
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme], "the server"


def _trusted() -> str:
    named = named_authorities(os.environ)
    return f"authorities of {named[0]}, {named[1]}" if named is not None else "the usual authorities"


def ask(url: str, token: str | None) -> tuple[requests.Response, bytes]:
    """The answer to a GET, and its body; CheckFailedError if there is none."""
    try:
        with open_session(Attempt(), token) as session:
            answer = session.get(
                url,
                headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity", "Connection": "close"},
                timeout=STEP_SECONDS,
                allow_redirects=False,
                stream=True,
            )
            return answer, answer.raw.read(MOST_ANSWER_BYTES)
    except FAILURES as error:
        raise CheckFailedError(f"no answer: {root_cause(error)}") from error


def read_json(content: bytes) -> dict[str, Any]:
    """The object that a body holds, or an empty one."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


CHECKS = (
    Check("name", name, needs=("settings",)),
    Check("connection", connection, needs=("name",)),
    Check("tls", tls, needs=("connection",)),
    Check("server", server, needs=("tls",)),
    Check("clock", clock, needs=("server",)),
    Check("token", token, needs=("server",)),
)
