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


CLI_LIBRARIES = {"click", "requests", "yaml"}


@pytest.mark.parametrize("file", files("signalbox_cli"), ids=named)
def test_the_command_line_is_installed_alone(file: Path) -> None:
    """Three libraries and itself: it knows the operator API and nothing of the server's or the agent's code."""
    for name in imports_of(file):
        root = name.partition(".")[0]
        assert root in sys.stdlib_module_names | CLI_LIBRARIES | {"signalbox_cli"}, f"{named(file)}: {name}"


@pytest.mark.parametrize("file", [*files("app"), *files("agent")], ids=named)
def test_nothing_that_runs_on_a_server_or_node_needs_the_command_line(file: Path) -> None:
    """It may not even be there."""
    assert not {name for name in imports_of(file) if name.partition(".")[0] == "signalbox_cli"}


THINKING_OF_CLI = {"manifests", "names", "plans", "plain_text", "windows", "event_streams"}


@pytest.mark.parametrize("name", sorted(THINKING_OF_CLI))
def test_what_decides_for_the_command_line_waits_for_nobody(name: str) -> None:
    """Plans and windows are worked out of what they are handed: no clock, no socket, no randomness."""
    roots = {imported.partition(".")[0] for imported in imports_of(PROJECT / "signalbox_cli" / f"{name}.py")}
    assert not roots & {"time", "random", "socket", "requests", "threading", "subprocess"}


@pytest.mark.parametrize("file", files("app"), ids=named)
def test_the_server_takes_only_the_words_on_the_wire_from_the_agent(file: Path) -> None:
    """agent.protocol and nothing else."""
    for name in imports_of(file):
        if name.partition(".")[0] == "agent":
            assert name == "agent.protocol" or name.startswith("agent.protocol."), f"{named(file)}: {name}"


THINKING = {
    "actions", "backoff", "channel", "child", "ed25519", "events", "ledger", "orders", "pipeline", "plan", "poll",
    "report", "sampling", "state", "supervisor", "taps", "transport", "update",
}  # fmt: skip
"""What decides for the agent; more may be added, none may leave."""
THOUGHTS_NEED = {
    "__future__", "base64", "binascii", "collections", "dataclasses", "enum", "hashlib", "logging", "math",
    "posixpath", "random", "re", "typing", "urllib",
}  # fmt: skip
"""No clock, no thread, no socket, no file, no process."""


@pytest.mark.parametrize("name", sorted(THINKING))
def test_what_decides_for_the_agent_is_pure(name: str) -> None:
    """Time and randomness are handed in, what is to be done is handed out: a test is a conversation."""
    file = PROJECT / "agent" / f"{name}.py"
    for imported in imports_of(file):
        root, _, rest = imported.partition(".")
        if root == "agent":
            assert rest.partition(".")[0] in THINKING | {"protocol"}, f"{named(file)} imports {imported}"
        else:
            assert root in THOUGHTS_NEED, f"{named(file)} imports {imported}"
            # The class, to be handed in; its functions would bring chance of their own.
            assert root != "random" or imported in ("random", "random.Random"), f"{named(file)}: {imported}"
    called = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
    assert not called & {"open", "print", "input"}, f"{named(file)}: {called}"


@pytest.mark.parametrize("file", files("agent"), ids=named)
def test_no_wall_clock_decides_in_the_agent(file: Path) -> None:
    """It may jump by years. What it says is written down for people, and nothing that runs follows from it."""
    tree = ast.parse(file.read_text())
    used = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    if not file.name.startswith("doctor"):  # a command for people, who want to know how far the clock is off
        assert {attribute for name, attribute in used if name == "time"} <= {"monotonic", "sleep"}
    assert "time" not in {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    moments = {attribute for name, attribute in used if name == "datetime"}
    assert moments <= {
        "command_line.py": {"fromtimestamp"},
        "contact.py": {"now"},
        "doctor_way.py": {"now"},
        "starter.py": {"now"},
        "protocol.py": {"fromisoformat"},
    }.get(file.name, set()), f"{named(file)}: {moments}"


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
    "__init__.py", "access.py", "access_log.py", "command_line.py", "errors.py", "gunicorn_worker.py", "health.py",
    "json_body.py",
    "malformed_requests.py", "metrics.py",
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


def test_only_what_asks_a_provider_imports_authlib() -> None:
    """It is a tenth of a second of every start, and most servers have no provider."""
    for file in files("app"):
        roots = {name.partition(".")[0] for name in imports_of(file)}
        assert not roots & {"authlib", "joserfc"} or file.name == "oidc_provider.py", named(file)


def test_nobody_imports_alembic_before_a_command_needs_it() -> None:
    """A worker never migrates, and Alembic is a tenth of what it would import."""
    for file in files("app"):
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            heavy = {name for name in names if name.partition(".")[0] in {"alembic", "flask_migrate"}}
            assert not heavy, f"{named(file)} imports {heavy} for every worker"
