"""Thousands of commands over one raw connection: redis-py spends twenty times as long on each.

redis-py makes the connection (addresses, TLS, passwords); what is sent is packed by the caller, and what comes
back is read through ``hiredis.Reader``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import hiredis
import redis

READ_BYTES = 64 * 1024
ANSWERS_AHEAD = 2000
"""So many answers may be missing before more is sent: a Redis that cannot follow is not buried."""


def count_taken(client: redis.Redis, batches: Iterable[tuple[int, bytes]]) -> int:
    """Send *batches*, each a number of commands and their bytes; how many of all were answered with over 0.

    The next batch is made while Redis works on the last, and other greenlets run whenever this one waits.

    :raises redis.exceptions.RedisError: as redis-py's own methods; some of the first may have been carried out.
    """
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    try:
        return _exchange(connection, batches)
    except BaseException:
        connection.disconnect()  # answers that nobody has read would be taken for the next command's
        raise
    finally:
        pool.release(connection)


def _exchange(connection: Any, batches: Iterable[tuple[int, bytes]]) -> int:
    # redis-py has no public way to the socket that it has set up.
    sock, reader = connection._sock, hiredis.Reader()
    missing = taken = 0

    def read() -> None:
        nonlocal missing, taken
        data = sock.recv(READ_BYTES)
        if not data:
            raise redis.exceptions.ConnectionError("Connection closed by server.")
        reader.feed(data)
        while (answer := reader.gets()) is not False:
            if not isinstance(answer, int):
                raise redis.exceptions.ResponseError(str(answer))
            missing -= 1
            taken += answer > 0

    try:
        for count, data in batches:
            sock.sendall(data)
            missing += count
            while missing > ANSWERS_AHEAD:
                read()
        while missing:
            read()
    except TimeoutError as error:
        raise redis.exceptions.TimeoutError("Timeout while publishing") from error
    except (OSError, hiredis.HiredisError) as error:
        raise redis.exceptions.ConnectionError(f"Error while publishing: {error}") from error
    return taken
