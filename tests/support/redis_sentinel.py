"""A Sentinel, and Redis servers that follow one another, for tests of a fail-over."""

import signal
from pathlib import Path

import redis

from tests.support.until import until
from tools.child_process import ChildProcess
from tools.redis_server import RedisServer, find_redis_server
from tools.reserved_port import ReservedPort

MASTER_NAME = "signalbox-master"


class RedisSentinel:
    """One Sentinel, alone a quorum, that watches *master* and takes it for dead after a second of silence."""

    def __init__(self, folder: Path, master: RedisServer) -> None:
        """`folder` exists and gets its configuration and log."""
        self._port = ReservedPort()
        self._file = folder / "sentinel.conf"
        host, port = address_of(master)
        self._file.write_text(
            f"bind {self._port.host}\nport {self._port.port}\ndir {folder}\n"
            f"sentinel monitor {MASTER_NAME} {host} {port} 1\n"
            f"sentinel down-after-milliseconds {MASTER_NAME} 1000\n"
            f"sentinel failover-timeout {MASTER_NAME} 5000\n"
        )
        command = [str(find_redis_server()), str(self._file), "--sentinel"]
        self._process = ChildProcess(command, log=folder / "sentinel.log", death_signal=signal.SIGKILL)
        self.client = redis.Redis(self._port.host, self._port.port, decode_responses=True)
        until(self.client.ping, what="the Sentinel", tolerate=(redis.ConnectionError,))

    @property
    def url(self) -> str:
        """What SIGNALBOX_REDIS_URL takes. The first of its Sentinels does not exist."""
        return f"redis+sentinel://127.0.0.1:1,{self._port.host}:{self._port.port}/{MASTER_NAME}/0"

    def master(self) -> tuple[str, int]:
        """The address that it gives to who asks for the master."""
        host, port = self.client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
        return str(host), int(port)

    def knows_a_replica(self) -> bool:
        """Whether there is somebody to take over."""
        replicas = self.client.sentinel_slaves(MASTER_NAME)
        return any(not replica["is_disconnected"] for replica in replicas)

    def watch_another(self, master: RedisServer) -> None:
        """Say from now on that *master* is the one; the former one is left as it is, and believes otherwise."""
        host, port = address_of(master)
        self.client.sentinel_remove(MASTER_NAME)
        self.client.sentinel_monitor(MASTER_NAME, host, port, 1)

    def close(self) -> None:
        self.client.close()
        self._process.kill()
        self._port.release()


def address_of(server: RedisServer) -> tuple[str, int]:
    """Host and port of a server on TCP."""
    host, _, port = server.url.removeprefix("redis://").partition("/")[0].partition(":")
    return host, int(port)
