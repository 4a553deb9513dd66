"""Fetching and trusting: what an update's file goes through before anything is stopped."""

import base64
import hashlib
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import build, installation, updater
from agent.events import UpdateRefused, UpdateStaged
from agent.launcher import Launcher
from agent.protocol import DeploymentMode
from agent.settings import read_settings
from agent.update import Wanted
from agent.updater import Updater
from tests.agent.scripted_server import ScriptedServer
from tests.support.tls_server import self_signed

MakeUpdater = Callable[..., Updater]
FILE = b"print('signalbox-agent 9.9.9')\n"


@pytest.fixture
def launcher() -> Iterator[Launcher]:
    """The thread that forks."""
    launcher = Launcher()
    thread = threading.Thread(target=launcher.run)
    thread.start()
    yield launcher
    launcher.end()
    thread.join(10)


@pytest.fixture
def make_updater(tmp_path: Path, launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> MakeUpdater:
    """An updater on one data folder: `make_updater(mode=…, SIGNALBOX_…=…)`."""
    # As an agent was started, not a worker of pytest's.
    monkeypatch.setattr(sys, "orig_argv", [sys.executable])

    def make(mode: DeploymentMode = DeploymentMode.STANDALONE, **settings: str) -> Updater:
        environment = {"SIGNALBOX_URL": "https://server", "SIGNALBOX_DATA_DIR": str(tmp_path)} | settings
        return Updater(read_settings(environment), launcher, mode)

    return make


def wanted(url: str, content: bytes = FILE, version: str = "9.9.9") -> Wanted:
    return Wanted("u1", version, url, hashlib.sha256(content).hexdigest())


@pytest.fixture
def secure_url(
    tmp_path: Path, scripted_server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """An https server whose `/file` is the file, and which sends everybody else to the plain http one."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_file = self.path == "/file"
            self.send_response(200 if is_file else 302)
            self.send_header("Location", scripted_server.url + self.path)
            self.send_header("Content-Length", str(len(FILE) if is_file else 0))
            self.end_headers()
            self.wfile.write(FILE if is_file else b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    certificate = self_signed(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    yield f"https://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_https_leads_to_https_and_never_to_http(
    make_updater: MakeUpdater, scripted_server: ScriptedServer, secure_url: str
) -> None:
    """A redirect is as good as an address: http only where that was allowed."""
    scripted_server.files["/away"] = FILE
    assert make_updater().stage(wanted(f"{secure_url}/file")) == UpdateStaged("u1")

    other = FILE + b"#"
    scripted_server.files["/away"] = other
    refused = make_updater().stage(wanted(f"{secure_url}/away", other))
    assert isinstance(refused, UpdateRefused)
    assert "it would come over http" in refused.error
    assert scripted_server.downloads == []
    allowed = make_updater(SIGNALBOX_ALLOW_HTTP_UPDATE="1")
    assert allowed.stage(wanted(f"{secure_url}/away", other)) == UpdateStaged("u1")


def test_a_file_without_end_is_cut_off(
    make_updater: MakeUpdater,
    scripted_server: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In size and in time, and nothing of it stays."""
    make = make_updater(SIGNALBOX_ALLOW_HTTP_UPDATE="1")
    scripted_server.files["/file"] = b"x" * 200_000
    url = scripted_server.url + "/file"
    monkeypatch.setattr(updater, "MOST_BYTES", 100_000)
    refused = make.stage(wanted(url))
    assert isinstance(refused, UpdateRefused)
    assert refused.error == f"cannot update: what {url} answers is larger than 100000 bytes"

    monkeypatch.setattr(updater, "MOST_BYTES", 300_000)
    monkeypatch.setattr(updater, "DOWNLOAD_SECONDS", 0.5)
    scripted_server.sends_files.clear()
    refused = make.stage(wanted(url))
    scripted_server.sends_files.set()
    assert isinstance(refused, UpdateRefused)
    assert refused.error == f"cannot update: cannot fetch {url}: it took more than 0.5 s"
    assert list((tmp_path / "update").iterdir()) == []


def test_redirects_end(make_updater: MakeUpdater, scripted_server: ScriptedServer) -> None:
    """In a circle they would not."""
    url = scripted_server.url + "/file"
    scripted_server.files["/file"] = url.encode()
    refused = make_updater(SIGNALBOX_ALLOW_HTTP_UPDATE="1").stage(wanted(url))
    assert isinstance(refused, UpdateRefused)
    assert "more than 5 redirects" in refused.error


def test_once_a_key_was_seen_unsigned_files_are_refused(
    make_updater: MakeUpdater, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By setting, else built in, else remembered; a memory that is damaged trusts nobody."""
    keys = [Ed25519PrivateKey.generate().public_key().public_bytes_raw() for _ in range(2)]
    texts = [base64.b64encode(key).decode() for key in keys]
    assert make_updater().standing().keys == ()
    assert make_updater(SIGNALBOX_UPDATE_KEY=texts[0]).standing().keys == (keys[0],)
    assert make_updater().standing().keys == (keys[0],), "the setting was lost"
    monkeypatch.setattr(build, "UPDATE_KEY", texts[1])
    assert make_updater().standing().keys == (keys[1],), "an accepted file brings its own"
    monkeypatch.setattr(build, "UPDATE_KEY", None)
    assert make_updater().standing().keys == (keys[1],), "a later file without one"

    folder = installation.folder(tmp_path)
    installation.write(folder, installation.read(folder) | {"key": "damaged", "unknown": 1})
    assert make_updater().standing().keys != ()
    make_updater(SIGNALBOX_UPDATE_KEY=texts[0]).standing()
    assert installation.read(folder)["unknown"] == 1, "words of later versions are kept"


def test_containers_and_source_trees_are_told_what_to_do_instead(make_updater: MakeUpdater) -> None:
    """The first by the mode that heartbeats tell as well."""
    assert "start the container from a newer image" in str(
        make_updater(DeploymentMode.DOCKER).standing().refusal
    )
    assert "does not run from signalbox-agent.pyz" in str(make_updater().standing().refusal)
