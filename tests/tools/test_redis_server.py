"""A private Redis can be hurt in every way, and comes back on the same address."""

from pathlib import Path

import psutil
import pytest
import redis

from tools.redis_server import RedisServer, RedisServerError, find_redis_server


@pytest.fixture(params=["unix socket", "port"])
def private(request: pytest.FixtureRequest, tmp_path: Path) -> RedisServer:
    return RedisServer(tmp_path, tcp=request.param == "port")


def ping(server: RedisServer) -> bool:
    with redis.Redis.from_url(server.url, socket_timeout=0.2, retry=None) as client:
        answer: bool = client.ping()
        return answer


def test_it_comes_back_on_the_same_address_after_a_kill(private: RedisServer) -> None:
    """Clients need no new URL after a crash."""
    with private:
        url = private.url
        private.kill()
        with pytest.raises(redis.ConnectionError):
            ping(private)
        private.start()

        assert private.url == url
        assert ping(private)


def test_a_frozen_redis_answers_again_when_it_is_resumed(private: RedisServer) -> None:
    """Freezing drops no connection and loses nothing; it only makes waiting clients wait."""
    with private:
        private.suspend()
        assert not private.answers(0.1)
        private.resume()

        assert private.answers()


def test_a_restart_forgets_everything(private: RedisServer) -> None:
    """Nothing is kept on disk."""
    with private, redis.Redis.from_url(private.url) as client:
        client.set("key", "value")
        client.connection_pool.disconnect()
        private.restart()

        assert client.get("key") is None


def test_leaving_the_context_ends_it(private: RedisServer) -> None:
    """Nothing runs afterwards, even if it was frozen."""
    with private:
        pid = private.process.pid
        private.suspend()

    assert not psutil.pid_exists(pid)


def test_a_socket_path_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """The kernel's own message would not say what is wrong."""
    with pytest.raises(RedisServerError, match="its path is over 107 bytes"):
        RedisServer(tmp_path / ("long" * 30))


def test_without_a_redis_server_the_message_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Missing is a failure with a way out, not a skip."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    with pytest.raises(RedisServerError, match=r"sh tools/bootstrap\.sh"):
        find_redis_server()


def test_the_one_beside_python_is_found_where_path_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tools/bootstrap.sh puts into the virtual environment is used without activating that."""
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    assert find_redis_server() == program
