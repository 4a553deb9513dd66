"""The rules of the layout: who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

from tests.support import PROJECT

AGENT_LIBRARIES = {"requests", "urllib3", "certifi", "websocket"}
"""The two libraries, and what requests itself brings along."""
PUSH_TRIO = {"app.push.hub", "app.push.broker", "app.push.presence"}


def imports_of(file: Path) -> set[str]:
    """The full names of all modules that *file* imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: imports are written in full"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def files(folder: str) -> list[Path]:
    found = sorted((PROJECT / folder).rglob("*.py"))
    assert found, f"{folder} holds no Python file"
    return found


def named(file: Path) -> str:
    return str(file.relative_to(PROJECT))


@pytest.mark.parametrize("file", files("agent"), ids=named)
def test_the_agent_travels_alone(file: Path) -> None:
    """Standard library, requests, websocket-client, itself: it ships as one zipapp of pure Python."""
    for name in imports_of(file):
        root = name.partition(".")[0]
        assert root in sys.stdlib_module_names | AGENT_LIBRARIES | {"agent"}, f"{named(file)} imports {name}"


@pytest.mark.parametrize("file", files("app"), ids=named)
def test_the_server_takes_only_the_words_on_the_wire_from_the_agent(file: Path) -> None:
    """agent.protocol and nothing else."""
    for name in imports_of(file):
        if name.partition(".")[0] == "agent":
            assert name == "agent.protocol" or name.startswith("agent.protocol."), f"{named(file)}: {name}"


def test_the_words_on_the_wire_need_nothing() -> None:
    """agent/protocol.py imports only the standard library."""
    roots = {name.partition(".")[0] for name in imports_of(PROJECT / "agent" / "protocol.py")}
    assert roots <= sys.stdlib_module_names


@pytest.mark.parametrize("file", files("app/push"), ids=named)
def test_the_push_channel_knows_neither_flask_nor_the_tables(file: Path) -> None:
    """It takes from app/ only its own modules; hub, broker and presence do not know each other."""
    imported = imports_of(file)
    for name in imported:
        root = name.partition(".")[0]
        assert root not in {"flask", "werkzeug", "sqlalchemy", "flask_sock", "flask_sqlalchemy"}, name
        assert root != "app" or name == "app" or name.startswith("app.push"), f"{named(file)} imports {name}"
    own = f"app.push.{file.stem}"
    if own in PUSH_TRIO:
        assert not (imported & PUSH_TRIO) - {own}


USES = [file for file in files("app") if file.parent.name == "app"]
NO_USE = {
    # what builds the application and what stands around every request
    "__init__.py", "access_log.py", "command_line.py", "errors.py", "health.py", "json_body.py", "metrics.py",
    "request_limits.py",
}  # fmt: skip


@pytest.mark.parametrize("file", [file for file in USES if file.name not in NO_USE], ids=named)
def test_a_use_knows_neither_the_request_nor_a_view(file: Path) -> None:
    """What the system can do is done alike for a page, a script and a command."""
    for name in imports_of(file):
        assert name not in {"flask.request", "flask.g", "flask.session"}, f"{named(file)} imports {name}"
        assert not name.startswith(("app.agent_api", "app.operator_api", "app.pages")), (
            f"{named(file)}: {name}"
        )
