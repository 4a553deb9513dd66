"""What the command makes of answers, and of none: a server that says whatever a test wants, on a real socket."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import certifi
import pytest

from signalbox_cli import client, retries
from signalbox_cli.client import Api, Place
from signalbox_cli.failures import ConflictFailure, Failure, UnreachableFailure
from tests.cli.conftest import Cli
from tests.support.tls_server import self_signed

Answer = tuple[int, dict[str, str], bytes]

EMPTY = json.dumps({"items": [], "nextCursor": None}).encode()
JSON = {"Content-Type": "application/json"}


class ScriptedServer(ThreadingHTTPServer):
    """Gives the next answer of a list, the last one for ever; remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append((self.command, self.path, dict(self.headers)))
        answers = self.server.answers
        status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {"Connection": "close", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server
        server.shutdown()


@pytest.fixture
def lost(stranger: Cli, scripted: ScriptedServer) -> Cli:
    """Somebody whose server is the scripted one."""
    stranger.variables |= {"SIGNALBOX_URL": scripted.url, "SIGNALBOX_API_TOKEN": "sbx_api_x"}
    return stranger


@pytest.fixture
def api(scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """A client that waits, but not for long."""
    monkeypatch.setattr(retries, "FIRST_PAUSE_SECONDS", 0.001)
    api = Api(Place(scripted.url, "sbx_api_x"), read_seconds=5)
    yield api
    api.close()


def refusal(status: int, sentence: str = "No.", **headers: str) -> Answer:
    return status, {**JSON, **headers}, json.dumps({"error": sentence}).encode()


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (refusal(400), 2, "No."),
        (refusal(401), 4, "Sign in again"),
        (refusal(403, "This token has the role viewer."), 4, "role viewer"),
        (refusal(404, "There is no such node."), 5, "There is no such node."),
        (refusal(404, "There is nothing at this address."), 5, "older than this program"),
        (refusal(409), 6, "No."),
        (refusal(500), 7, "status 500"),
        ((200, {"Content-Type": "text/html"}, b"<html>Please pay"), 3, "answers with a page (status 200)"),
        ((403, {"Content-Type": "text/html"}, b"<html>"), 3, "a proxy or another"),
        ((404, {}, b""), 3, "nothing readable"),
        (
            (302, {"Location": "https://elsewhere.example/"}, b""),
            3,
            "sends its callers on to https://elsewhere",
        ),
        ((200, JSON, b'{"hello": 1}'), 3, "does not answer as Signalbox's API does"),
        ((200, JSON, b"[1"), 3, "not as Signalbox's API does"),
    ],
)
def test_each_answer_has_its_exit_code_and_a_sentence(
    lost: Cli, scripted: ScriptedServer, answer: Answer, code: int, sentence: str
) -> None:
    """Without a trace, at once, and without a second try, which would not help."""
    scripted.answers = [answer]
    said = lost.refused("environments", "list", code=code)
    assert said.startswith("signalbox: ")
    assert sentence in said
    assert len(scripted.asked) == 1


def test_details_are_lines_below_the_sentence(lost: Cli, scripted: ScriptedServer) -> None:
    """With whatever says where: line, component, field. Nothing in them steers the terminal."""
    details = [{"message": "bad\x1b[2J", "line": 3, "component": "x"}, {"message": "worse", "field": "name"}]
    scripted.answers = [(400, JSON, json.dumps({"error": "No.", "details": details}).encode())]
    lines = lost.refused("environments", "create", "x", code=2).splitlines()
    assert lines == ["signalbox: No.", "  line 3, component x: bad\\x1b[2J", "  name: worse"]


@pytest.mark.parametrize(
    "passing", [refusal(503, **{"Retry-After": "0"}), (502, {}, b"<html>"), (0, {}, b"")]
)
def test_what_only_reads_is_asked_again(api: Api, scripted: ScriptedServer, passing: Answer) -> None:
    """Three times at most."""
    scripted.answers = [passing, passing, (200, JSON, EMPTY)]
    assert list(api.rows("/nodes")) == []
    scripted.answers = [passing]
    with pytest.raises(UnreachableFailure):
        list(api.rows("/nodes"))
    assert len(scripted.asked) == 3 + client.MAX_TRIES


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (refusal(503, **{"Retry-After": "0"}), client.MAX_TRIES),
        (refusal(429, **{"Retry-After": "0"}), client.MAX_TRIES),
        (refusal(503), 1),
        ((502, {"Retry-After": "0"}, b""), 1),
        ((504, {"Retry-After": "0"}, b""), 1),
        ((0, {}, b""), 1),
    ],
)
def test_what_has_no_key_is_sent_again_only_if_it_was_turned_away(
    api: Api, scripted: ScriptedServer, answer: Answer, tries: int
) -> None:
    """What may have been done is not done twice, and it is said that it may."""
    scripted.answers = [answer]
    with pytest.raises(Failure) as failed:
        api.put("/pipelines/x", {})
    assert len(scripted.asked) == tries
    said = "Whether it was done is not known." in failed.value.details
    assert said == (answer[0] in (0, 502, 504))


@pytest.mark.parametrize(
    "passing",
    [refusal(503), refusal(429, **{"Retry-After": "0"}), (502, {}, b""), (504, {}, b""), (0, {}, b"")],
)
def test_a_post_is_sent_again_with_its_key(api: Api, scripted: ScriptedServer, passing: Answer) -> None:
    """With the same one, a few times; another thing that is meant has another one."""
    scripted.answers = [passing, passing, (200, JSON, b"{}"), passing]
    assert api.post("/pipelines/x/deploy") == {}
    with pytest.raises(UnreachableFailure) as failed:
        api.post("/pipelines/x/deploy")
    keys = [headers["Idempotency-Key"] for _, _, headers in scripted.asked]
    assert len(keys) == 3 + client.MAX_TRIES
    assert len(set(keys[:3])) == len(set(keys[3:])) == 1
    assert len(set(keys)) == 2
    assert failed.value.details[0].startswith(f"Given up after {client.MAX_TRIES} tries")


def test_what_is_still_being_done_is_waited_for(
    api: Api, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as it takes, up to the deadline; a conflict of another kind is told at once."""
    running = refusal(409, "The same request is being done just now.", **{"Retry-After": "0"})
    scripted.answers = [(0, {}, b""), *[running] * (2 * client.MAX_TRIES), (200, JSON, b"{}"), refusal(409)]
    assert api.post("/pipelines/x/deploy") == {}
    assert len(scripted.asked) == 2 + 2 * client.MAX_TRIES
    with pytest.raises(ConflictFailure) as refused:
        api.post("/pipelines/x/deploy")
    assert refused.value.details == []
    assert len(scripted.asked) == 3 + 2 * client.MAX_TRIES
    monkeypatch.setattr(retries, "PATIENCE_SECONDS", 0.2)
    scripted.answers = [running]
    with pytest.raises(ConflictFailure, match="being done just now") as given_up:
        api.post("/pipelines/x/deploy")
    assert any("Given up after" in line for line in given_up.value.details)


def test_a_wait_beyond_the_deadline_is_not_begun(api: Api, scripted: ScriptedServer) -> None:
    """Nor cut short: the server is not asked earlier than it said."""
    scripted.answers = [refusal(429, "Too many.", **{"Retry-After": "600"})]
    with pytest.raises(UnreachableFailure, match="Too many") as failed:
        list(api.rows("/nodes"))
    assert len(scripted.asked) == 1
    assert "which is too long for this program" in failed.value.details[0]


def test_what_has_no_tag_is_not_changed(api: Api, scripted: ScriptedServer) -> None:
    """A proxy that takes it out is named, rather than others' changes overwritten; a weak one is as good."""
    scripted.answers = [(200, JSON, b'{"id": "x"}'), (200, {**JSON, "ETag": 'W/"a.b"'}, b'{"id": "x"}')]
    with pytest.raises(UnreachableFailure, match="has no ETag"):
        api.see("/nodes/x", "the node x")
    api.patch("/nodes/x", {}, api.see("/nodes/x", "the node x"))
    assert scripted.asked[-1][2]["If-Match"] == 'W/"a.b"'


def test_a_list_is_read_to_its_end(api: Api, scripted: ScriptedServer) -> None:
    """Page after page, with the same filter; a list that does not end is noticed."""
    pages = [{"items": [1, 2], "nextCursor": "a b"}, {"items": [3], "nextCursor": None}]
    scripted.answers = [(200, JSON, json.dumps(page).encode()) for page in pages]
    assert list(api.rows("/nodes", {"label": "zone=a", "q": None})) == [1, 2, 3]
    assert [path.partition("?")[2] for _, path, _ in scripted.asked] == [
        "label=zone%3Da&limit=500",
        "label=zone%3Da&limit=500&cursor=a+b",
    ]
    scripted.answers = [(200, JSON, json.dumps(pages[0]).encode())]
    with pytest.raises(Failure, match="does not end"):
        list(api.rows("/nodes"))


def test_the_machines_netrc_does_not_replace_the_token(
    lost: Cli, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a habit of the library to prefer it."""
    netrc = lost.folder / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    scripted.answers = [(200, JSON, EMPTY)]
    lost.run("environments", "list")
    assert scripted.asked[0][2]["Authorization"] == "Bearer sbx_api_x"


def test_what_cannot_be_reached_says_why(lost: Cli, tmp_path: Path) -> None:
    """A closed port, an unknown name, no address, TLS where there is none, and a certificate that nobody trusts."""
    assert "no scheme: is https://x.example meant?" in lost.refused(
        "--url", "x.example", "nodes", "list", code=2
    )
    url = lost.variables["SIGNALBOX_URL"].replace("http:", "https:")
    assert "does not speak TLS" in lost.refused("--url", url, "nodes", "list", code=3)
    assert "Nothing listens at" in lost.refused("--url", "http://127.0.0.1:1", "secrets", "set", "x", code=3)
    # RFC 2606: never a name of anybody's.
    assert "is not known here" in lost.refused(
        "--url", "http://signalbox.invalid", "maintenance", "on", "-l", "", code=3
    )


def test_a_certificate_of_ones_own_authority_is_named(
    lost: Cli, scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how, and that helps, whatever other authorities the machine names."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    scripted.socket = context.wrap_socket(scripted.socket, server_side=True)
    scripted.answers = [(200, JSON, EMPTY)]
    lost.variables["SIGNALBOX_URL"] = scripted.url.replace("http://127.0.0.1", "https://localhost")
    assert "--ca-file FILE" in lost.refused("nodes", "list", code=3)
    lost.run("--ca-file", str(certificate), "nodes", "list")
    lost.variables["SIGNALBOX_CA_FILE"] = str(certificate)
    lost.run("nodes", "list")
