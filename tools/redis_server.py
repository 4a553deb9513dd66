"""A private Redis: finds a `redis-server` and runs it in a folder of its own, for the demo and the tests."""

import os
import shutil
import signal
import socket
import sys
import time
from pathlib import Path

from tools.child_process import ChildProcess, ProcessError
from tools.reserved_port import ReservedPort

_START_SECONDS = 10.0
_STOP_SECONDS = 5.0
_SOCKET_PATH_BYTES = 107
"""What a unix socket's address holds (sockaddr_un, less its closing NUL)."""


class RedisServerError(Exception):
    """No redis-server was found, or it did not start."""


def find_redis_server() -> Path:
    """The one on PATH, else the one that tools/bootstrap.sh put beside this Python, else RedisServerError."""
    found = shutil.which("redis-server")
    if found is not None:
        return Path(found)
    beside_python = Path(sys.executable).parent / "redis-server"  # unresolved: the environment's own bin
    if os.access(beside_python, os.X_OK):
        return beside_python
    raise RedisServerError("no redis-server on PATH or beside Python: run `sh tools/bootstrap.sh`")


class RedisServer:
    """One redis-server on one address, that can be started, frozen, killed and started again there.

    Nothing is kept on disk: what Redis holds here, presence, is written again by those that own it.
    """

    def __init__(self, folder: Path, *, tcp: bool = False) -> None:
        """Not started yet. `folder` exists and gets log and socket; `tcp` means a free port in its place."""
        self.folder = folder
        self.log = folder / "redis.log"
        self._port = ReservedPort() if tcp else None
        self._socket_path = folder / "redis.sock"
        if not tcp and len(os.fsencode(self._socket_path)) > _SOCKET_PATH_BYTES:
            raise RedisServerError(
                f"cannot use a socket in {folder}: its path is over {_SOCKET_PATH_BYTES} bytes"
            )
        self._process: ChildProcess | None = None

    @property
    def url(self) -> str:
        """What SIGNALBOX_REDIS_URL takes."""
        if self._port is not None:
            return f"redis://{self._port.host}:{self._port.port}/0"
        return f"unix://{self._socket_path}"

    @property
    def process(self) -> ChildProcess:
        if self._process is None:
            raise RedisServerError("redis-server was never started")
        return self._process

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    def start(self) -> "RedisServer":
        """Start it and wait until it answers; RedisServerError with its last words when it does not."""
        if self.is_running:
            raise RedisServerError(f"redis-server runs already (pid {self.process.pid})")
        if self._port is not None:
            address = ["--bind", self._port.host, "--port", str(self._port.port)]
        else:
            address = ["--port", "0", "--unixsocket", str(self._socket_path), "--unixsocketperm", "600"]
        nothing_on_disk = ["--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        command = [str(find_redis_server()), *address, *nothing_on_disk, "--maxmemory-policy", "noeviction"]
        try:
            # SIGKILL: a Redis that is frozen when its owner dies would sit on a SIGTERM for ever.
            self._process = ChildProcess(command, log=self.log, death_signal=signal.SIGKILL)
        except ProcessError as error:
            raise RedisServerError(str(error)) from error
        deadline = time.monotonic() + _START_SECONDS
        while not self.answers():
            if not self._process.is_running or time.monotonic() > deadline:
                self._process.kill()
                raise RedisServerError(f"redis-server did not start:\n{self._process.log_tail()}")
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """End it in order; does nothing when it does not run."""
        if self._process is not None:
            self._process.stop(_STOP_SECONDS)

    def close(self) -> None:
        """Stop it for good and give its port back."""
        self.stop()
        if self._port is not None:
            self._port.release()

    def kill(self) -> None:
        """End it as a power cut would: clients see a reset, or nothing."""
        self.process.kill()

    def suspend(self) -> None:
        """Freeze it: connections stay open and nothing is answered."""
        self.process.suspend()

    def resume(self) -> None:
        self.process.resume()

    def restart(self) -> "RedisServer":
        """Stop it and start it again, empty, on the same address."""
        self.stop()
        return self.start()

    def answers(self, seconds: float = 1.0) -> bool:
        """Does it answer PING within `seconds`?"""
        family = socket.AF_INET if self._port is not None else socket.AF_UNIX
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(seconds)
            try:
                client.connect((self._port.host, self._port.port) if self._port else str(self._socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:  # refused, no such socket yet, reset, or too slow: all mean no
                return False

    def __enter__(self) -> "RedisServer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
