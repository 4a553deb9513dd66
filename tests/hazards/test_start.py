"""Hazard 34, and a server that cannot work: two masters side by side, and refusing to start."""

import os
import subprocess
import sys

import psutil
import pytest

from tests.conftest import StartServer
from tests.support import PROJECT
from tests.support.server import clean_environment, fresh_secrets


def test_two_masters_of_one_user_share_nothing(start_server: StartServer) -> None:
    """Hazard 34: gunicorn's control socket has one path per user; the second master would take it over."""
    first = start_server()
    second = start_server(first.settings)
    for server in (first, second):
        process = psutil.Process(server.process.pid)
        listening = [
            connection.laddr
            for connection in process.net_connections(kind="unix")
            if connection.laddr and connection.type == 1
        ]
        assert listening == []
    assert second.stop() == 0
    assert first.worker_pids()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SIGNALBOX_SECRET_KEY": ""}, "SIGNALBOX_SECRET_KEY"),
        ({"SIGNALBOX_SECRET_KEY": "short"}, "SIGNALBOX_SECRET_KEY"),
        ({"SIGNALBOX_ENCRYPTION_KEY": ""}, "SIGNALBOX_ENCRYPTION_KEY"),
        ({"SIGNALBOX_ENCRYPTION_KEY": "c2hvcnQ="}, "SIGNALBOX_ENCRYPTION_KEY"),
        ({"SIGNALBOX_DATABASE_URL": "mysql://x/y"}, "SIGNALBOX_DATABASE_URL"),
        ({"SIGNALBOX_PUBLIC_URL": "signalbox.example"}, "SIGNALBOX_PUBLIC_URL"),
        ({"SIGNALBOX_TRUSTED_PROXIES": "some"}, "SIGNALBOX_TRUSTED_PROXIES"),
    ],
)
def test_the_server_refuses_to_start_in_one_sentence(changed: dict[str, str], said: str) -> None:
    """Exit code 1, the variable's name, no trace, and no worker that is started again and again."""
    done = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"],
        cwd=PROJECT,
        env={**clean_environment(), **fresh_secrets(), "SIGNALBOX_BIND": "127.0.0.1:0", **changed},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert lines[0].endswith(".")


def test_the_commands_refuse_in_the_same_sentence() -> None:
    """flask --app wsgi … without a secret key."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
        cwd=PROJECT,
        env={name: value for name, value in clean_environment().items() if name in os.environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.strip().startswith("Cannot start: SIGNALBOX_SECRET_KEY")
    assert "Traceback" not in done.stderr
