"""What ``doctor`` looks at of the push channel, in both of its forms."""

from __future__ import annotations

import os

import requests
import websocket
from urllib3.exceptions import HTTPError

from agent.doctor import Check, CheckFailedError, DoubtfulError, Facts
from agent.doctor_way import FAILURES, STEP_SECONDS, read_json
from agent.protocol import SSE_PATH, WEBSOCKET_PATH
from agent.proxies import proxy_for
from agent.session import USER_AGENT, Attempt, connect, open_session, root_cause


def web_socket(facts: Facts) -> str:
    """A WebSocket gets through. With the node's token where nobody uses it, and to the first frame."""
    url = _named(facts, "websocketUrl", _with_scheme(facts.settings.url, "ws") + WEBSOCKET_PATH)
    token = None if facts.has_agent else facts.node_token
    channel = websocket.WebSocket()
    try:
        channel.connect(  # type: ignore[no-untyped-call]  # theirs is not annotated
            url,
            header=_headers(token),
            suppress_origin=True,
            redirect_limit=0,
            timeout=STEP_SECONDS,
            socket=connect(url, Attempt(), STEP_SECONDS),
        )
        channel.recv_data_frame(control_frame=True)
    except websocket.WebSocketBadStatusException as error:
        body = error.resp_body if isinstance(error.resp_body, bytes) else b""
        return _refused(facts, url, token, error.status_code, body)
    except websocket.WebSocketTimeoutException as error:
        raise CheckFailedError(
            f"{url} opens, and then nothing comes through; something on the way swallows it{_proxied(url)}"
        ) from error
    except (websocket.WebSocketException, *FAILURES) as error:
        raise CheckFailedError(f"{url}: {root_cause(error)}{_proxied(url)}") from error
    finally:
        channel.shutdown()  # type: ignore[no-untyped-call]  # theirs is not annotated
    return f"opened and heard from, {url}{_proxied(url)}"


def event_stream(facts: Facts) -> str:
    """The same for the event stream, with which the agent makes do where WebSockets are broken."""
    url = _named(facts, "pushUrl", facts.settings.url + SSE_PATH)
    token = None if facts.has_agent else facts.node_token
    try:
        with (
            open_session(Attempt(), token) as session,
            session.get(
                url,
                headers={
                    "User-Agent": USER_AGENT,
                    "Accept": "text/event-stream",
                    "Accept-Encoding": "identity",
                },
                timeout=STEP_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as answer,
        ):
            if answer.status_code != 200:
                return _refused(facts, url, token, answer.status_code, answer.raw.read(4096))
            if not answer.raw.read1(1):
                raise CheckFailedError(
                    f"{url} ends at once; look at what is before the server{_proxied(url)}"
                )
    except (requests.Timeout, HTTPError) as error:
        raise CheckFailedError(
            f"{url}: nothing comes through ({root_cause(error)}); something on the way keeps it{_proxied(url)}"
        ) from error
    except FAILURES as error:
        raise CheckFailedError(f"{url}: {root_cause(error)}{_proxied(url)}") from error
    return f"opened and heard from, {url}{_proxied(url)}"


def _refused(facts: Facts, url: str, token: str | None, status: int, body: bytes) -> str:
    """What an answer other than the channel means.

    The server looks at the handshake before it looks at the token. So its own 401 for a request without one says
    that all that makes an upgrade has come through; where something on the way takes that out it is a 400.
    """
    is_ours = isinstance(read_json(body).get("error"), str)
    if status == 401 and token is None and is_ours:
        why = "the running agent holds the channel" if facts.has_agent else "this node has no token"
        return f"gets through to the server, not opened because {why}, {url}{_proxied(url)}"
    if status == 400 and is_ours:
        raise CheckFailedError(
            f"{url}: something on the way takes the WebSocket's headers out; let it pass on Upgrade and "
            f"Connection, as deploy/nginx.conf does{_proxied(url)}"
        )
    if status in (429, 503) and is_ours:
        raise DoubtfulError(
            f"{url}: the server is busy ({status}: {read_json(body)['error']}); try again in a minute"
        )
    raise CheckFailedError(
        f"{url} answered {status}; look at what is before the server, and at the server's SIGNALBOX_PUBLIC_URL"
        f"{_proxied(url)}"
    )


def _proxied(url: str) -> str:
    proxy = proxy_for(url, os.environ)
    return f", through the proxy {proxy}" if proxy is not None else ""


def _named(facts: Facts, field: str, otherwise: str) -> str:
    """The address of the push channel: as the server names it, else as it follows from its own."""
    url = facts.answer.get(field)
    return url if isinstance(url, str) and url else otherwise


def _with_scheme(url: str, scheme: str) -> str:
    return scheme + url.removeprefix("http")


def _headers(token: str | None) -> list[str]:
    bearer = [f"Authorization: Bearer {token}"] if token is not None else []
    return [f"User-Agent: {USER_AGENT}", *bearer]


CHECKS = (
    Check("websocket", web_socket, needs=("server",)),
    Check("event stream", event_stream, needs=("server",)),
)
