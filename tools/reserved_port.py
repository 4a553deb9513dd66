"""A free TCP port that stays ours, also while what listens on it is stopped and started again."""

import socket


class ReservedPort:
    """Keeps a port bound without listening on it.

    Linux lets another socket bind and listen on it when both set SO_REUSEADDR, as gunicorn and Redis do, and
    hands it to nobody who asks for any free port. So nothing slips in between finding a port and using it.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """`port` 0 means any free one; raises OSError (EADDRINUSE) when a given one is taken."""
        self.host = host
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]

    def release(self) -> None:
        self._socket.close()
