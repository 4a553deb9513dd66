"""Requests to the agent API that no agent sends: made from its schemas, then spoiled."""

import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.alias_generators import to_camel

from app.agent_api.schemas import Enrollment
from app.heartbeat_body import Heartbeat
from app.node_logs import PipelineLines
from app.sample_results import ReportedResult, ReportedResults
from app.taps import TapEvents

MODELS: dict[str, Any] = {
    "enroll": Enrollment,
    "heartbeat": Heartbeat,
    "samples": ReportedResults,
    "logs": list[PipelineLines],  # type: ignore[misc]
    "tap-events": TapEvents,
}
"""What each endpoint takes."""
BIG_BYTES = 10 * 1024 * 1024
CONTENT_TYPES = [
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "",
    "é",
]
ODD_TEXTS = [
    "",
    "\0",
    "\ud800",
    "a" * 100_000,
    "é" * 300,
    "\u202e",
    "true",
    "0",
    "\r\n",
    "../../etc",
    "' OR 1=1--",
]
ODD_NUMBERS = [0, -1, 1.5, 1e308, -0.0, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400]
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(ODD_NUMBERS)
    | st.sampled_from(ODD_TEXTS)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
RAW = [
    b"", b"{", b"[]", b"null", b'"x"', b"NaN", b'{"pipelines": NaN}', b'{"a": Infinity}', b"1e999", b"\xff\xfe",
    b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 50_000, b"[" * 65 + b"]" * 65, b'{"a": "\\ud800"}',
    b'{"a": "\xff"}', b"{} {}", b'{"a": 1' + b"0" * 5000 + b"}", b'{"pipelines": [], "pipelines": 1}', b"\0" * 100,
    b"--x\r\n\r\n--x--", b"a=b&c=d",
]  # fmt: skip


@dataclass
class HostileRequest:
    """One request, written to the socket as it stands."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    kinds: tuple[str, ...] = ()
    """In what ways it is spoiled."""

    def __repr__(self) -> str:
        return f"{self.method} {self.path} {self.headers} {self.body[:2000]!r} ({len(self.body)} bytes)"

    @property
    def data(self) -> bytes:
        """Its bytes."""
        head = b"".join(name + b": " + value + b"\r\n" for name, value in self.headers)
        return f"{self.method} /api/agent/{self.path} HTTP/1.1\r\n".encode() + head + b"\r\n" + self.body


_EACH_IS: dict[str, Any] = {"sample_results": list[ReportedResult]}
"""Fields that are read one by one, so that their model says less than there is to say."""


def values_of(annotation: Any, known: list[str]) -> st.SearchStrategy[Any]:
    """JSON values for a field of this type, now and then of another; texts are often of *known*."""
    return _fitting(annotation, known) | st.sampled_from([0, 0, 0]).flatmap(lambda _: JUNK)


def _fitting(annotation: Any, known: list[str]) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _fitting(arguments[0], known)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(_fitting(each, known) for each in arguments))
    if origin is list:
        return st.lists(values_of(arguments[0], known), max_size=4)
    if origin is dict:
        return st.dictionaries(
            st.sampled_from(ODD_TEXTS) | st.text(max_size=10), values_of(arguments[1], known), max_size=4
        )
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = {
            each.alias or to_camel(name): values_of(_EACH_IS.get(name, each.annotation), known)
            for name, each in annotation.model_fields.items()
        }
        needed = {
            each.alias or to_camel(name): fields[each.alias or to_camel(name)]
            for name, each in annotation.model_fields.items()
            if each.is_required()
        }
        return st.fixed_dictionaries(needed, optional={n: s for n, s in fields.items() if n not in needed})
    if annotation is str:
        return st.sampled_from(known) | st.sampled_from(ODD_TEXTS) | st.text(max_size=30)
    if annotation is bool:
        return st.booleans()
    if annotation in (int, float):
        return st.integers(0, 2**40) | st.sampled_from(ODD_NUMBERS)
    return JUNK if annotation is Any else st.none()


@st.composite
def requests(
    draw: st.DrawFn, host: str, tokens: list[str], known: list[str], enrollment_token: str
) -> HostileRequest:
    """Any of the endpoints, any body, any headers; *tokens* are node tokens, the first of them good."""
    path = draw(st.sampled_from([*MODELS, *MODELS, "config"]))
    kind, body = draw(_bodies(path, known, enrollment_token)) if path in MODELS else ("none", b"")
    kinds = [f"body: {kind}"]
    usual = "GET" if path == "config" else "POST"
    method = draw(st.sampled_from([usual] * 20 + ["GET", "POST", "PUT", "DELETE", "OPTIONS"]))
    if method != usual:
        kinds.append("method")
    headers = [(b"Host", host.encode())] * draw(st.sampled_from([1] * 40 + [0, 2]))
    if len(headers) != 1:
        kinds.append("Host missing" if not headers else "Host doubled")
    token = draw(st.sampled_from(tokens))
    if token != tokens[0]:
        kinds.append("token bad")
    count = draw(st.sampled_from([1] * 30 + [0, 2]))
    headers += [(b"Authorization", f"Bearer {token}".encode("latin-1"))] * count
    if count != 1:
        kinds.append("token doubled" if count else "token missing")
    content_type = draw(st.sampled_from(["application/json"] * 10 + CONTENT_TYPES))
    count = draw(st.sampled_from([1] * 20 + [0, 2]))
    headers += [(b"Content-Type", content_type.encode("latin-1"))] * count
    if count != 1 or content_type != "application/json":
        kinds.append("content type")
    for name, value in draw(st.lists(st.sampled_from(_ODD_HEADERS), max_size=1)):
        headers.append((name, value))
        kinds.append("odd header")
    lengths: list[object] = draw(
        st.sampled_from(
            [[len(body)]] * 40 + [[], [len(body)] * 2, [len(body), 0], ["x"], [-1], [10**30], ["+5"]]
        )
    )
    if lengths != [len(body)]:
        kinds.append("length missing" if not lengths else "length doubled or bad")
    headers += [(b"Content-Length", str(length).encode()) for length in lengths]
    return HostileRequest(method, path, headers, body, tuple(kinds))


_ODD_HEADERS = [
    (b"Accept", b"text/html"),
    (b"If-None-Match", b'W/"' + b"x" * 5000 + b'"'),
    (b"If-None-Match", b"\xff\x00"[:1]),
    (b"Content-Encoding", b"gzip"),
    (b"Expect", b"200-ok"),
    (b"X-Forwarded-For", b"\xe9, 1.2.3.4"),
    (b"Cookie", b"session=" + b"\xff" * 20),
    (b"X-Config-Revision", b"\xff" * 100),
    (b"Range", b"bytes=0-"),
    (b"Accept-Encoding", b"gzip;q=x"),
    (b"Content-Type", b"text/plain"),
    (b"Transfer-Encoding", b"gzip"),
]


_PIECES = [b"", b"\xff", b"\0", b"NaN", b"}", b'"', b"\\u0000", b"\\ud800", b"-", b"1e999", b"[" * 200]


@st.composite
def _bodies(draw: st.DrawFn, path: str, known: list[str], enrollment_token: str) -> tuple[str, bytes]:
    """How it was made, and the body."""
    kind = draw(st.sampled_from(["schema"] * 12 + ["junk", "raw", "raw", "spoiled", "spoiled"]))
    if kind == "raw":
        return kind, draw(st.sampled_from(RAW) | st.binary(max_size=100))
    value = draw(JUNK if kind == "junk" else _fitting(MODELS[path], known))
    if path == "enroll" and isinstance(value, dict) and draw(st.booleans()):
        value["token"] = enrollment_token
    if draw(st.integers(0, 300)) == 170:  # Hypothesis likes the ends
        kind, value = "10 MB", {"padding": "x" * BIG_BYTES, "value": value}
    data = json.dumps(value).encode()
    if kind != "spoiled" or not data:
        return kind, data
    at = draw(st.integers(0, len(data) - 1))
    piece = draw(st.sampled_from(_PIECES))
    return kind, data[:at] if draw(st.booleans()) else data[:at] + piece + data[at + 1 :]
