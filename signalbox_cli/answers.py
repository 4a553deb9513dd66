"""What an answer, or its absence, means: the content, or a failure with a sentence that says what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import requests

from signalbox_cli.failures import (
    ConflictFailure,
    Failure,
    RefusedFailure,
    ServerFailure,
    UnknownFailure,
    UnreachableFailure,
    UsageFailure,
)

Kind = TypeVar("Kind", bound=Failure)


class LastingFailure(UnreachableFailure):
    """One that no other try will mend."""

    is_lasting: ClassVar[bool] = True


def content(response: requests.Response, url: str) -> Any:
    """The JSON of an answer that is a success; ``None`` where it has no body.

    :raises UnreachableFailure: it is none of the API's.
    """
    if response.status_code == 204 or not response.content:
        return None
    try:
        return response.json()
    except ValueError:
        raise _another_program(response, url) from None


def failure(response: requests.Response, url: str) -> Failure:
    """What an answer means that is no success."""
    status = response.status_code
    if 300 <= status < 400:
        where = response.headers.get("Location", "another address")
        return LastingFailure(
            f"{url} sends its callers on to {where}. Sign in with the address that is meant: signalbox login URL"
        )
    try:
        body = response.json()
        sentence = body["error"]
    except (ValueError, TypeError, KeyError):
        if status in (502, 503, 504):
            return _with_pause(_perhaps_done(UnreachableFailure(_away(url, status)), status), response)
        return _another_program(response, url)
    sentence, details = str(sentence), _details(body.get("details"))
    match status:
        case 401:
            return RefusedFailure(
                f"{url} does not take this token: it has expired, was revoked, or is another server's."
                " Sign in again: signalbox login"
            )
        case 403:
            return RefusedFailure(sentence, details)
        case 404 if "at this address" in sentence:
            return UnknownFailure(
                f"{url} has no such call: it is older than this program, or its address has a path too many."
            )
        case 404 | 410:
            return UnknownFailure(sentence, details)
        case 409 | 412:
            # With a pause: the same request, by its key, is being done just now.
            return _with_pause(ConflictFailure(sentence, details), response)
        case 429 | 502 | 503 | 504:
            return _with_pause(_perhaps_done(UnreachableFailure(sentence, details), status), response)
        case _ if status < 500:
            return UsageFailure(sentence, details)
        case _:
            return ServerFailure(f"{sentence} (status {status})", details)


def another_program(url: str) -> Failure:
    """What it means that the content of an answer is not as the API's are."""
    return LastingFailure(f"{url} does not answer as Signalbox's API does. Is the address right?")


def no_tag(url: str) -> Failure:
    """What it means that an answer has no ``ETag`` where the API's have one."""
    return LastingFailure(
        f"An answer of {url} has no ETag, without which others' changes could be overwritten unseen: a proxy on the"
        " way takes it out."
    )


def no_answer(error: Exception, url: str) -> Failure:
    """What it means that none came."""
    host = urlsplit(url).hostname or url
    chain = _chain(error)
    text = " ".join(str(each) for each in chain)
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, UnicodeError)):
        return UsageFailure(f"{url} is no address of a server; one looks like https://signalbox.example")
    if isinstance(error, requests.exceptions.SSLError) or ("SSL" in text and "certificate" in text):
        return LastingFailure(_tls(text, url, host))
    if isinstance(error, OSError) and "CA certificate bundle" in text:
        return UsageFailure(f"The file of authorities cannot be read: {error}")
    if isinstance(error, requests.exceptions.ProxyError):
        return UnreachableFailure(
            f"The proxy that HTTPS_PROXY or HTTP_PROXY names does not lead to {url}. NO_PROXY={host} goes around it."
        )
    if any(type(each).__name__ in ("NameResolutionError", "gaierror") for each in chain):
        return LastingFailure(f"The name {host} is not known here. Is the address right: {url}?")
    if any(isinstance(each, ConnectionRefusedError) for each in chain):
        return UnreachableFailure(f"Nothing listens at {url}. Is the server running, and the port right?")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return UnreachableFailure(f"{url} did not answer in time.")
    sentence = f"The connection to {url} broke before an answer came."
    if isinstance(error, requests.exceptions.Timeout):
        sentence = f"{url} did not answer in time."
    failure = UnreachableFailure(sentence)
    failure.may_be_done = True
    return failure


def _tls(text: str, url: str, host: str) -> str:
    if "WRONG_VERSION_NUMBER" in text or "wrong version number" in text:
        return f"What listens at {url} does not speak TLS. Is it http:// there, or another port?"
    if "mismatch" in text or "doesn't match" in text:
        return f"The certificate at {url} is not for {host}. Is the address right?"
    if "expired" in text:
        return f"The certificate of {host} has expired."
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            f"The certificate of {host} is signed by nobody who is trusted here. If it is your own authority's, name"
            " that one's file: --ca-file FILE, or SIGNALBOX_CA_FILE."
        )
    return f"No TLS connection to {url} could be made."


def _away(url: str, status: int) -> str:
    return f"The proxy at {url} answers ({status}), and the server behind it does not."


def _another_program(response: requests.Response, url: str) -> Failure:
    kind = response.headers.get("Content-Type", "").partition(";")[0] or "nothing readable"
    what = "a page" if kind == "text/html" else kind
    return LastingFailure(
        f"{url} answers with {what} (status {response.status_code}), not as Signalbox's API does: a proxy or another"
        " program stands there. Is the address right?"
    )


def _perhaps_done(failure: UnreachableFailure, status: int) -> UnreachableFailure:
    """A proxy's word that it lost the server says nothing of what that did."""
    failure.may_be_done = status in (502, 504)
    return failure


def _with_pause(failure: Kind, response: requests.Response) -> Kind:
    text = response.headers.get("Retry-After", "")
    failure.retry_after = float(text) if text.isascii() and text.isdecimal() and len(text) < 9 else None
    return failure


def _details(details: object) -> list[str]:
    """``line 3, component x: message`` of each, where it says more than the sentence."""
    lines = []
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, Mapping) and "message" in detail:
            where = ", ".join(
                f"{word} {detail[key]}" if word else str(detail[key])
                for key, word in (("line", "line"), ("component", "component"), ("field", ""))
                if detail.get(key) is not None
            )
            lines.append(f"{where}: {detail['message']}" if where else str(detail["message"]))
    return lines


def _chain(error: BaseException) -> list[BaseException]:
    """The error and everything that it came of."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(found) < 20:
        each = waiting.pop(0)
        if each not in found:
            found.append(each)
            inner = [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
            waiting += [other for other in inner if isinstance(other, BaseException)]
    return found
