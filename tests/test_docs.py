"""The documents are complete: what an operator or an agent's author can meet is written down, and exists."""

import ast
import re
from dataclasses import fields
from importlib.metadata import requires
from itertools import pairwise
from pathlib import Path

import click
import pytest
from flask import Flask
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from agent import __version__
from agent import settings as agent_settings
from agent.protocol import CloseCode, DeploymentMode, MessageType, PipelineStatus, Reason
from app import config, create_app, fleet_filter
from app.operator_api import requests as operator_requests
from tests.support import PROJECT

DOCUMENTS = sorted([PROJECT / "README.md", PROJECT / "CHANGELOG.md", *(PROJECT / "docs").rglob("*.md")])
README = (PROJECT / "README.md").read_text()
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
PROTOCOL = (PROJECT / "docs" / "protocol.md").read_text()
ADRS = sorted((PROJECT / "docs" / "adr").glob("*.md"))

VARIABLE = re.compile(r"\b(?:SIGNALBOX_[A-Z_]+|VF_[A-Z_]+|WEB_CONCURRENCY)\b")
OPERATOR_API = "/api/v1"
DEBIAN_PYTHON = {"python_version": "3.11", "python_full_version": "3.11.2", "extra": ""}


def named(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def section(text: str, heading: str) -> str:
    """What stands below *heading* (with its #s), up to the next one of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    match = re.search(rf"^{re.escape(heading)}\n(.*?)(?=^#{{1,{level}}} |\Z)", text, re.M | re.S)
    assert match is not None, f"no section {heading!r}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table in *text*, heads included."""
    return [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        for line in text.splitlines()
        if line.startswith("|") and not re.fullmatch(r"[|\s:-]+", line)
    ]


def quoted(text: str) -> set[str]:
    """What stands in backticks."""
    return set(re.findall(r"`([^`]+)`", text))


def first_cells(text: str) -> set[str]:
    """What stands in backticks in the first cells of the tables in *text*."""
    return {word for row in rows(text) for word in quoted(row[0])}


def variables_read(file: Path) -> set[str]:
    """The environment variables that are named in the string constants of *file*, docstrings and errors included."""
    return {
        name
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for name in VARIABLE.findall(node.value)
        if not name.endswith("_")
    }


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application, connected to nothing; asked only for its routes and commands."""
    file = tmp_path_factory.mktemp("docs") / "unused.db"
    return create_app(
        config.Settings.from_environ(
            {
                "SIGNALBOX_SECRET_KEY": "s" * 32,
                "SIGNALBOX_ENCRYPTION_KEY": "A" * 43,
                "SIGNALBOX_DATABASE_URL": f"sqlite:///{file}",
            }
        )
    )


# settings


@pytest.mark.parametrize(
    ("heading", "files"),
    [
        ("## Settings of the server", ["app/config.py", "gunicorn.conf.py"]),
        ("## Settings of the agent", ["agent/settings.py"]),
    ],
)
def test_exactly_the_variables_that_are_read_are_documented(heading: str, files: list[str]) -> None:
    """An operator finds each environment variable in the table of its program, and sets none that nothing reads."""
    table = rows(section(OPERATIONS, heading))
    documented = {name for row in table for name in quoted(" ".join(row[:2])) if VARIABLE.fullmatch(name)}
    for file in files:
        missing = variables_read(PROJECT / file) - documented
        assert not missing, f"docs/operations.md, {heading!r}, has no row for {sorted(missing)} of {file}"
    gone = documented.difference(*(variables_read(PROJECT / file) for file in files))
    assert not gone, f"docs/operations.md, {heading!r}, names {sorted(gone)}, which {files} do not read"


@pytest.mark.parametrize(
    ("settings", "file"),
    [(config.Settings, "app/config.py"), (agent_settings.Settings, "agent/settings.py")],
)
def test_every_field_of_the_settings_names_its_variable(settings: type, file: str) -> None:
    """The docstring of a field begins with the variable, which is how this file knows it."""
    (body,) = (
        node.body
        for node in ast.parse((PROJECT / file).read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    described = {
        node.target.id: following.value.value
        for node, following in pairwise(body)
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
    }
    for field in fields(settings):
        text = described.get(field.name)
        assert isinstance(text, str), f"{file}: the field {field.name} has no docstring"
        assert VARIABLE.search(text), f"{file}: the docstring of {field.name} names no environment variable"


# what runs and what it says


def metric_names() -> set[str]:
    """As Prometheus sees them, with their labels: all that are registered once the server is imported."""
    found = set()
    for metric in REGISTRY._collector_to_names:
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            labels = f"{{{','.join(metric._labelnames)}}}" if metric._labelnames else ""
            found.add(family.name + ("_total" if family.type == "counter" else "") + labels)
    return {name for name in found if name.startswith("signalbox_")}


def test_every_metric_is_documented_and_none_has_gone() -> None:
    """With its labels, under the name that Prometheus shows."""
    documented = {name for name in first_cells(section(OPERATIONS, "## Health and metrics")) if "_" in name}
    missing, gone = metric_names() - documented, documented - metric_names()
    assert not missing, f"docs/operations.md, 'Health and metrics', has no row for {sorted(missing)}"
    assert not gone, f"docs/operations.md, 'Health and metrics', names {sorted(gone)}, which nothing counts"


def commands_of(app: Flask) -> list[str]:
    """Every command that we added to ``flask --app wsgi``."""
    found = []
    for name, command in app.cli.commands.items():
        if isinstance(command, click.Group):
            found += [f"{name} {inner}" for inner in command.commands if name != "db"]
        else:
            found.append(name)
    assert found
    return [*found, "db upgrade"]  # Flask-Migrate has many more, which nobody needs to run the server


def test_every_flask_command_is_documented(app: Flask) -> None:
    """With its options."""
    table = rows(section(OPERATIONS, "## Commands"))
    for name in commands_of(app):
        row = next((row for row in table if f"`flask --app wsgi {name}" in row[0]), None)
        assert row is not None, f"docs/operations.md, 'Commands', has no row for: flask --app wsgi {name}"
        command: click.Command = app.cli
        for part in name.split():
            assert isinstance(command, click.Group)
            inner = command.get_command(click.Context(command), part)
            assert inner is not None, f"there is no `flask --app wsgi {name}`"
            command = inner
        if not name.startswith("db "):
            for parameter in command.params:
                if isinstance(parameter, click.Option):
                    assert f"`{parameter.opts[0]}`" in " ".join(row), (
                        f"docs/operations.md does not say what {parameter.opts[0]} of {name} does"
                    )


def test_every_make_target_that_is_named_exists() -> None:
    """The README's commands are those of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M))
    for document in DOCUMENTS:
        for target in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(), re.M):
            assert target in targets, (
                f"{named(document)} names `make {target}`, which the Makefile does not have"
            )


@pytest.mark.parametrize("first", sorted(first_cells(section(OPERATIONS, "## Logs"))))
def test_every_log_line_that_is_explained_is_written(first: str) -> None:
    """Each row of the tables of log lines begins as a line in the source does."""
    sources = "".join(
        file.read_text() for folder in ("app", "agent") for file in sorted((PROJECT / folder).rglob("*.py"))
    )
    # Some lines begin with a word that is filled in: "pipeline %s", "child pipeline=", "configuration {what}".
    words = first.split()
    spellings = {first, f"{words[0]} %s", f"{words[0]} {{what}}"} if len(words) > 1 else {first}
    assert any(f'"{spelling}' in sources for spelling in spellings), (
        f"docs/operations.md explains a log line that begins {first!r}; nothing in app/ or agent/ writes one"
    )


# the wire


@pytest.mark.parametrize("message_type", list(MessageType))
def test_every_message_type_is_in_the_table_of_the_push_channel(message_type: MessageType) -> None:
    """With its fields, and whether this server sends it."""
    table = first_cells(section(PROTOCOL, "### 1.5 The push channel: `GET /api/agent/ws`"))
    assert message_type.value in table, (
        f"docs/protocol.md, 1.5, has no row for the message type {message_type!r}"
    )


@pytest.mark.parametrize(
    "word", [*Reason, *PipelineStatus, *DeploymentMode, *(str(int(code)) for code in CloseCode)]
)
def test_every_other_word_on_the_wire_is_documented(word: str) -> None:
    """Reasons, statuses, deployment modes and close codes."""
    assert str(word) in quoted(PROTOCOL), f"docs/protocol.md does not name `{word}`"


def routes(app: Flask, prefix: str) -> set[str]:
    """``METHOD /path`` below *prefix*; every variable part as ``{}``."""
    found = {
        f"{method} {re.sub(r'<[^>]+>', '{}', rule.rule.removeprefix(OPERATOR_API))}"
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(prefix)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert found, f"no route begins with {prefix}"
    return found


def documented_calls(text: str) -> set[str]:
    """The same of what stands in backticks."""
    return {
        re.sub(r"\{[^}]*\}", "{}", call)
        for call in quoted(text)
        if re.match(r"(GET|POST|PUT|PATCH|DELETE) /", call)
    }


def test_the_operator_api_is_documented_call_by_call(app: Flask) -> None:
    """Every route is a row, and every row a route."""
    own = section(PROTOCOL, "## 2. Operator API")
    documented = {re.sub(r"\{[^}]*\}", "{}", call) for call in first_cells(own) if " /" in call}
    existing = routes(app, OPERATOR_API) | {"GET /healthz", "GET /readyz", "GET /metrics"}
    assert not existing - documented, f"docs/protocol.md, 2, has no row for {sorted(existing - documented)}"
    assert not documented - existing, (
        f"docs/protocol.md, 2, names {sorted(documented - existing)}: no such route"
    )


def test_the_agent_api_is_documented_call_by_call(app: Flask) -> None:
    """Every route is a heading, and nothing that is not there is described as if it were."""
    own = section(PROTOCOL, "## 1. Agent API")
    headings = documented_calls("\n".join(re.findall(r"^### .*$", own, re.M)))
    existing = routes(app, "/api/agent")
    assert not existing - headings, f"docs/protocol.md, 1, has no heading for {sorted(existing - headings)}"
    assert not headings - existing, (
        f"docs/protocol.md, 1, describes {sorted(headings - existing)}: no such route"
    )


def test_nodes_can_be_listed_by_the_documented_statuses() -> None:
    """No more and no fewer, and lists are as long as it says."""
    (row,) = (row for row in rows(PROTOCOL) if row[0] == "`GET /nodes`")
    listed = set(re.search(r"`status` one of `([A-Z ]+)`", row[1])[1].split())  # type: ignore[index]
    assert listed == {str(status) for status in fleet_filter.STATUSES}, (
        "docs/protocol.md, `GET /nodes`: other statuses"
    )
    limits = f"`limit` (1 to {operator_requests.MAX_LIMIT}, default {operator_requests.DEFAULT_LIMIT})"
    assert limits in PROTOCOL, f"docs/protocol.md does not say {limits}"


# the README and the rest


def test_the_files_on_the_way_of_a_deploy_exist() -> None:
    """The table is how a newcomer finds things."""
    table = rows(section(README, "## The way of a deploy"))[1:]
    assert [row[0] for row in table] == [str(number) for number in range(1, 10)], (
        "the README's table has nine steps"
    )
    for number, _, where in table:
        assert quoted(where), f"README.md, step {number}, names no file"
        for path in quoted(where):
            assert (PROJECT / path).exists(), f"README.md, step {number}, names {path}, which does not exist"


def paths_in(document: Path) -> set[str]:
    """What in backticks or links looks like a file or folder of this project."""
    text = document.read_text()
    linked = {
        target.partition("#")[0]
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in target and not target.startswith("#")
    }
    tops = "app|agent|signalbox_cli|bench|demo|deploy|docs|migrations|tests|tools"
    inline = {word for word in quoted(text) if re.fullmatch(rf"(?:{tops})/[\w./-]+", word)}
    return {named((document.parent / path).resolve()) for path in linked} | inline


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_file_that_a_document_names_exists(document: Path) -> None:
    """Links and file names do not rot."""
    for path in sorted(paths_in(document)):
        assert (PROJECT / path).exists(), f"{named(document)} names {path}, which does not exist"


def pinned(name: str) -> list[Requirement]:
    """The requirements that stand in one file."""
    return [
        Requirement(line)
        for line in (PROJECT / name).read_text().splitlines()
        if line and not line.startswith(("#", "-r "))
    ]


FILES = [
    "requirements.txt",
    "requirements-dev.txt",
    "tools/requirements-redis.txt",
    "bench/peers/requirements.txt",
]


def drawn_in() -> set[str]:
    """What some other pinned package needs; markers as on Debian 12."""
    found = set()
    for requirement in pinned("requirements.txt") + pinned("requirements-dev.txt"):
        if requirement.marker is None or requirement.marker.evaluate():
            for text in requires(requirement.name) or []:
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate(DEBIAN_PYTHON):
                    found.add(canonicalize_name(needed.name))
    return found


@pytest.mark.parametrize("name", FILES)
def test_every_dependency_has_its_reason_in_the_readme(name: str) -> None:
    """One that nothing else draws in has a row of its own; the others are at least named."""
    own = section(README, "## Dependencies")
    reasons = {canonicalize_name(word): row[1] for row in rows(own) for word in quoted(row[0])}
    mentioned = {canonicalize_name(word) for word in quoted(own)}
    for requirement in pinned(name):
        package = canonicalize_name(requirement.name)
        assert package in mentioned, f"README.md, 'Dependencies', does not name {requirement.name} of {name}"
        if package not in drawn_in():
            assert reasons.get(package), (
                f"README.md, 'Dependencies': no reason for {requirement.name} of {name}"
            )


def test_no_dependency_of_the_readme_has_gone() -> None:
    """What has a reason is still pinned somewhere, or is Debian's."""
    known = {canonicalize_name(requirement.name) for name in FILES for requirement in pinned(name)}
    known |= {"chromium", "systemd", "gcc", "nodejs", "npm"}
    for row in rows(section(README, "## Dependencies")):
        for word in quoted(row[0]):
            is_file = (PROJECT / word).is_file()
            assert is_file or canonicalize_name(word) in known, f"README.md: {word} is not pinned"


@pytest.mark.parametrize("number", range(1, len(ADRS) + 1))
def test_a_decision_record_has_its_four_parts(number: int) -> None:
    """Context, Decision, Status, Consequences; "We will" says the decision; numbered without gaps; one page."""
    document = ADRS[number - 1]
    text = document.read_text()
    assert document.name.startswith(f"{number:04d}-"), f"{named(document)} should be number {number:04d}"
    assert text.startswith(f"# {number}. "), f"{named(document)}: another number in its title"
    parts = re.findall(r"^## (.+)$", text, re.M)
    assert parts == ["Context", "Decision", "Status", "Consequences"], f"{named(document)}: parts {parts}"
    assert "We will" in section(text, "## Decision"), f'{named(document)}: no "We will" in its decision'
    assert len(text.splitlines()) <= 60, f"{named(document)} is longer than a page"


def test_the_changelog_has_the_version_of_both_packages() -> None:
    """Its first entry is the one that pyproject.toml and the agent name."""
    (version,) = re.findall(r'^version = "([^"]+)"$', (PROJECT / "pyproject.toml").read_text(), re.M)
    first = re.search(r"^## \[([^\]]+)\]", (PROJECT / "CHANGELOG.md").read_text(), re.M)
    assert first is not None, "CHANGELOG.md has no entry"
    assert first[1] in (version, "Unreleased"), f"CHANGELOG.md: {first[1]}, pyproject.toml: {version}"
    assert __version__ == version, f"agent/__init__.py has {__version__}, pyproject.toml {version}"
