"""What the tests of the agent share: a server that they script, and Vectors that misbehave."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.scripted_server import ScriptedServer

WriteVector = Callable[[str], str]

FAKE_VECTOR = """#!{python} -I
import http.server, os, signal, sys, threading, time
if "--version" in sys.argv:
    print("vector 0.50.0 (fake 2026-01-01)"); sys.exit(0)
import json
files = [path for path in sys.argv[1:] if path.endswith(".yaml")]
config = open(files[0]).read()
overlay = json.load(open(files[1]))
def port_of(address):
    return int(address.rsplit(":", 1)[1])
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{{"ok":true}}')
    def log_message(self, *args):
        pass
def serve():
    server = http.server.HTTPServer(("127.0.0.1", port_of(overlay["api"]["address"])), Health)
    # A process that was stopped gives a signal to whichever thread wakes first, and it shall interrupt the main one.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
validating = "validate" in sys.argv
{behaviour}
"""


@pytest.fixture
def scripted_server() -> Iterator[ScriptedServer]:
    """A server whose answers the test decides."""
    server = ScriptedServer().start()
    yield server
    server.stop()


@pytest.fixture
def write_vector(tmp_path: Path) -> WriteVector:
    """Writes an executable that takes Vector's arguments and behaves as the given Python lines say.

    They may use `config` (text of pipeline.yaml), `validating`, and `serve()`, which makes the API healthy.
    """

    def write(behaviour: str) -> str:
        path = tmp_path / "fake-vector"
        path.write_text(FAKE_VECTOR.format(python=sys.executable, behaviour=behaviour))
        path.chmod(0o755)
        return str(path)

    return write
