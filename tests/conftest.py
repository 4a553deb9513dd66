"""The services and processes that tests ask for by name; all of them real, none of them skipped.

Those of the session are shared, and a test may add to them but not harm them. A test that stops, freezes or
kills something starts its own: `own_redis`, `start_server`, `start_agent`.
"""

import gc
import os
import signal
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import psutil
import pytest
import redis
from playwright.sync_api import Browser, Page

from tests.support.agent_process import AgentProcess
from tests.support.api import Operator
from tests.support.browser import run_browser
from tests.support.database import PostgresDatabases, SqliteDatabases
from tests.support.leaks import MARK, describe, left_behind
from tests.support.once import shared_folder
from tests.support.postgres_server import PostgresServer
from tests.support.server import Server
from tools.redis_server import RedisServer

StartServer = Callable[..., Server]
StartAgent = Callable[..., AgentProcess]

_LOG_LINES = 30
_LOG_COLUMNS = 300
_ENDING_SECONDS = 2.0

# The same examples in every run, and no clock that judges: a test fails for what was changed, or not at all.
hypothesis.settings.register_profile(
    "suite",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("suite")

# Who runs us in the background may have hung-up signals ignored, which children would inherit (nohup).
signal.signal(signal.SIGHUP, signal.SIG_DFL)


# Until all tests are read nothing that was imported is garbage, and then most of it stays to the end: to look it
# through again and again was a seventh of what a test process did by itself.
gc.disable()


def pytest_collection_finish() -> None:
    """From here on look for garbage among what tests make."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long tests, which mostly wait: else one of them, begun last, is what all others wait for."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test the last lines of what the processes that it used have logged."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for log in _logs(item.funcargs):
            lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
            shown = "\n".join(line[:_LOG_COLUMNS] for line in lines)
            report.sections.append((f"end of {log}", shown))
    return report


def _logs(fixtures: Mapping[str, object]) -> list[Path]:
    own, shared = fixtures.get("tmp_path"), fixtures.get("server")
    logs = sorted(own.rglob("*.log")) if isinstance(own, Path) else []
    return [*logs, shared.log] if isinstance(shared, Server) else logs


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the session if a process that it started outlives every fixture; ends it too."""
    mark = uuid.uuid4().hex
    os.environ[MARK] = mark
    yield
    # A browser's crash handler, say, ends a moment after the browser: that is not left behind.
    _, leaked = psutil.wait_procs(left_behind(mark, tmp_path_factory.getbasetemp()), timeout=_ENDING_SECONDS)
    report = [describe(process) for process in leaked]
    for process in leaked:
        process.kill()
    psutil.wait_procs(leaked, timeout=10)
    assert not leaked, "left running at the end of the session:\n" + "\n".join(report)


@pytest.fixture(scope="session")
def prefixes() -> set[str]:
    """Every key prefix that was handed out for the session's Redis."""
    return set()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory, prefixes: set[str]) -> Iterator[RedisServer]:
    """The session's private Redis, on a unix socket; in the end every key begins with a given prefix."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            # A hash tag's brace may stand before the prefix.
            stray = [key for key in client.scan_iter() if not key.lstrip("{").startswith(tuple(prefixes))]
    assert not stray, f"keys outside the prefixes that tests were given: {stray}"


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A running Redis on a TCP port for this test alone, to be frozen and killed as it likes."""
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder, tcp=True) as server:
        yield server


@pytest.fixture
def unique_prefix(prefixes: set[str]) -> str:
    """A key prefix for this test alone (SIGNALBOX_REDIS_PREFIX)."""
    return _new_prefix(prefixes)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's private PostgreSQL."""
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> SqliteDatabases:
    return SqliteDatabases(shared_folder(tmp_path_factory))


@pytest.fixture(scope="session")
def postgres_databases(postgres_server: PostgresServer) -> PostgresDatabases:
    return PostgresDatabases(postgres_server)


@pytest.fixture
def sqlite_url(sqlite_databases: SqliteDatabases, tmp_path: Path) -> str:
    """A migrated SQLite database for this test alone."""
    return sqlite_databases.create(tmp_path)


@pytest.fixture
def postgresql_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A migrated PostgreSQL database for this test alone."""
    name, url = postgres_databases.create()
    yield url
    postgres_databases.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database for this test alone; the test runs once for each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def server(
    redis_server: RedisServer,
    sqlite_databases: SqliteDatabases,
    tmp_path_factory: pytest.TempPathFactory,
    prefixes: set[str],
) -> Iterator[Server]:
    """The session's server: two workers, SQLite, the session's Redis."""
    folder = tmp_path_factory.mktemp("server")
    settings = {
        "SIGNALBOX_DATABASE_URL": sqlite_databases.create(folder),
        "SIGNALBOX_REDIS_URL": redis_server.url,
        "SIGNALBOX_REDIS_PREFIX": _new_prefix(prefixes),
        "SIGNALBOX_ALERT_INTERVAL": "1",
    }
    server = Server(folder, settings)
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture(scope="session")
def operator(server: Server) -> Operator:
    """An operator of the session's server who may do everything."""
    return Operator(server.url, server.create_api_token())


@pytest.fixture
def start_server(
    request: pytest.FixtureRequest, tmp_path: Path, prefixes: set[str], sqlite_databases: SqliteDatabases
) -> Iterator[StartServer]:
    """Starts servers for this test alone: `start_server(settings={}, workers=2)`.

    What `settings` leaves out is a fresh SQLite database, the session's Redis, and a fresh prefix. A second
    machine beside a first is `start_server(first.settings)`.
    """
    with ExitStack() as running:

        def start(settings: Mapping[str, str] | None = None, *, workers: int = 2) -> Server:
            folder = _numbered_folder(tmp_path, "server")
            asked = dict(settings or {})
            if "SIGNALBOX_DATABASE_URL" not in asked:
                asked["SIGNALBOX_DATABASE_URL"] = sqlite_databases.create(folder)
            if "SIGNALBOX_REDIS_URL" not in asked:
                asked["SIGNALBOX_REDIS_URL"] = request.getfixturevalue("redis_server").url
            if "SIGNALBOX_REDIS_PREFIX" not in asked:
                asked["SIGNALBOX_REDIS_PREFIX"] = _new_prefix(prefixes)
            server = Server(folder, asked, workers=workers)
            running.callback(server.close)
            return server.start()

        yield start


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[StartAgent]:
    """Starts agents for this test alone: `start_agent(url, enrollment_token, settings={}, module=…, file=…)`."""
    with ExitStack() as running:

        def start(
            url: str,
            token: str,
            settings: Mapping[str, str] | None = None,
            module: str = "agent",
            file: Path | None = None,
        ) -> AgentProcess:
            agent = AgentProcess(_numbered_folder(tmp_path, "agent"), url, token, settings, module, file)
            running.callback(agent.close)
            return agent.start()

        yield start


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The session's Chromium, without a window."""
    with run_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page of a person whom no server has seen before."""
    with browser.new_context() as context:
        yield context.new_page()


def _new_prefix(prefixes: set[str]) -> str:
    prefix = f"signalbox-test-{uuid.uuid4().hex[:12]}:"
    prefixes.add(prefix)
    return prefix


def _numbered_folder(parent: Path, name: str) -> Path:
    folder = parent / f"{name}-{sum(1 for _ in parent.glob(f'{name}-*')) + 1}"
    folder.mkdir()
    return folder
