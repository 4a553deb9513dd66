"""The doctor: one line for each thing around the server, and what to do where it is wrong."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import redis

from app import create_app, doctor
from app.config import Settings
from tests.support import PROJECT
from tests.support.server import clean_environment, fresh_secrets
from tools.redis_server import RedisServer


def consult(settings: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """The exit code, and for each subject the line without it; in this process, which has imported all of it."""
    app = create_app(Settings.from_environ({**fresh_secrets(), **settings}))
    done = app.test_cli_runner().invoke(args=["doctor"])
    assert not done.stderr, done.stderr
    return done.exit_code, lines_of(done.stdout)


def consult_from_outside(settings: Mapping[str, str]) -> tuple[int, dict[str, str]]:
    """As `consult`, by the command that an operator types."""
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "doctor"],
        cwd=PROJECT,
        env={**clean_environment(), **fresh_secrets(), **settings},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr, done.stderr
    return done.returncode, lines_of(done.stdout)


def lines_of(said: str) -> dict[str, str]:
    lines = {}
    for line in said.splitlines():
        level, _, rest = line.partition(" ")
        about, _, text = rest.strip().partition(": ")
        lines[about] = f"{level} {text}"
    return lines


def test_where_all_is_well_it_says_so_and_succeeds(own_redis: RedisServer, sqlite_url: str) -> None:
    """With the settings that docs/operations.md asks for."""
    code, lines = consult_from_outside(
        {
            "SIGNALBOX_DATABASE_URL": sqlite_url,
            "SIGNALBOX_REDIS_URL": own_redis.url,
            "SIGNALBOX_PUBLIC_URL": "https://signalbox.example",
            "SIGNALBOX_MAX_SOCKETS": "100",
        }
    )
    assert code == 0
    assert {line.split()[0] for line in lines.values()} == {"ok"}, lines
    assert set(lines) == {
        "database",
        "schema",
        "secrets",
        "redis",
        "redis role",
        "redis memory",
        "redis client-output-buffer-limit",
        "redis keys",
        "descriptors",
        "public URL",
    }


def test_wrong_settings_are_named_with_what_to_do(own_redis: RedisServer, tmp_path: Path) -> None:
    """A Redis that evicts, follows another, cuts early and is shared; no schema, too few descriptors, no URL."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.set("session:1", "somebody else's")
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("client-output-buffer-limit", "pubsub 1mb 1mb 60")
        client.replicaof("127.0.0.1", "1")
    code, lines = consult(
        {
            "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path / 'empty.db'}",
            "SIGNALBOX_REDIS_URL": own_redis.url,
            "SIGNALBOX_MAX_SOCKETS": "2000000000",
        }
    )
    assert code == 1
    assert lines["schema"] == "fail is missing or old; run: flask --app wsgi db upgrade"
    assert lines["redis role"].startswith("fail is slave;")
    assert lines["redis memory"].startswith("fail is evicted by allkeys-lru")
    assert lines["redis client-output-buffer-limit"].startswith("warn pubsub is 1 MB at once")
    assert lines["redis keys"].startswith("warn are also somebody else's ('session:1')")
    assert lines["descriptors"].startswith("fail are limited to")
    assert lines["public URL"].startswith("warn is not set")


def test_what_is_away_or_forbidden_is_said(own_redis: RedisServer, tmp_path: Path) -> None:
    """Where CONFIG is forbidden that is a warning; a database or a Redis that is not there is a failure."""
    settings = {"SIGNALBOX_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    with redis.Redis.from_url(own_redis.url) as client:
        client.execute_command("ACL SETUSER default -config -info")
    code, lines = consult({**settings, "SIGNALBOX_REDIS_URL": own_redis.url})
    assert code == 1
    assert lines["database"].startswith("fail cannot be reached (")
    assert lines["redis"].startswith("warn answers, but forbids INFO")
    assert lines["redis memory"].startswith("warn cannot be checked")
    assert lines["redis client-output-buffer-limit"].startswith("warn cannot be checked")
    own_redis.stop()
    code, lines = consult({**settings, "SIGNALBOX_REDIS_URL": own_redis.url})
    assert code == 1
    assert lines["redis"].startswith("fail cannot be reached (")


def test_little_room_an_old_redis_and_tokens_in_the_clear_are_found() -> None:
    """What no test can set up with the Redis at hand."""
    facts = {"maxmemory": 100 * 2**20, "maxmemory_policy": "noeviction", "used_memory": 50 * 2**20}
    assert doctor.memory(facts, workers=2).level is doctor.Level.WARN
    assert doctor.memory(facts, workers=1).level is doctor.Level.OK
    assert doctor.memory({"maxmemory": 0, "maxmemory_policy": "allkeys-lru"}, 1).level is doctor.Level.OK
    (old, role) = doctor.server({"redis_version": "6.0.16", "role": "master"})
    assert (old.level, role.level) == (doctor.Level.FAIL, doctor.Level.OK)
    (valkey, _) = doctor.server({"redis_version": "7.2.4", "role": "master"})
    assert valkey.level is doctor.Level.OK


@pytest.mark.parametrize(
    ("url", "level"),
    [
        ("https://signalbox.example", "ok"),
        ("http://127.0.0.1:8000", "ok"),
        ("http://signalbox.example", "warn"),
        ("https://signalbox.example:port", "fail"),
    ],
)
def test_a_public_url_is_looked_at(url: str, level: str) -> None:
    """Agents keep what they are told."""
    assert doctor.public_url(url).level == level
