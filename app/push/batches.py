"""Thousands of commands over one raw connection: redis-py spends twenty times as long on each.

redis-py makes the connection (addresses, TLS, passwords); what is sent is packed by the caller, and what comes
back is read through ``hiredis.Reader``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    taken = 0

    def count(answer: Any) -> None:
        nonlocal taken
        if not isinstance(answer, int):
            raise redis.exceptions.ResponseError(str(answer))
        taken += answer > 0

    _exchange(client, batches, count)
    return taken


def answers(client: redis.Redis, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """The answer to each of *commands*, which are sent together; an error that Redis answers is one of them.

    Texts are answered as bytes.

    :raises redis.exceptions.RedisError: as redis-py's own methods; some of the first may have been carried out.
    """
    found: list[Any] = []
    if commands:
        pack = hiredis.pack_command
        _exchange(client, [(len(commands), b"".join([pack(tuple(each)) for each in commands]))], found.append)
    return found


def script_answers(
    client: redis.Redis, script: Any, calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]
) -> list[Any]:
    """What *script*, registered with redis-py, answers to each of *calls*: its keys and its arguments.

    :raises redis.exceptions.RedisError: as ``answers``, or one of the answers is an error.
    """

    def run(some: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
        return answers(client, [("EVALSHA", script.sha, len(keys), *keys, *more) for keys, more in some])

    found = run(calls)
    unknown = [number for number, answer in enumerate(found) if _is_unknown(answer)]
    if unknown:  # Redis has been restarted, or this is the first call
        client.script_load(script.script)
        for number, answer in zip(unknown, run([calls[number] for number in unknown]), strict=True):
            found[number] = answer
    for answer in found:
        if isinstance(answer, hiredis.ReplyError):
            raise redis.exceptions.ResponseError(str(answer))
    return found


def _is_unknown(answer: Any) -> bool:
    return isinstance(answer, hiredis.ReplyError) and str(answer).startswith("NOSCRIPT")


def _exchange(client: redis.Redis, batches: Iterable[tuple[int, bytes]], take: Callable[[Any], None]) -> None:
    """Send *batches* and *take* each answer, over a connection of *client*'s pool."""
    pool = client.connection_pool
    connection: Any = pool.get_connection()
    try:
        _exchange_over(connection, batches, take)
    except BaseException:
        connection.disconnect()  # answers that nobody has read would be taken for the next command's
        raise
    finally:
        pool.release(connection)


def _exchange_over(
    connection: Any, batches: Iterable[tuple[int, bytes]], take: Callable[[Any], None]
) -> None:
    # redis-py has no public way to the socket that it has set up.
    sock, reader = connection._sock, hiredis.Reader()
    missing = 0

    def read() -> None:
        nonlocal missing
        data = sock.recv(READ_BYTES)
        if not data:
            raise redis.exceptions.ConnectionError("Connection closed by server.")
        reader.feed(data)
        while (answer := reader.gets()) is not False:
            take(answer)
            missing -= 1

    try:
        for count, data in batches:
            sock.sendall(data)
            missing += count
            while missing > ANSWERS_AHEAD:
                read()
        while missing:
            read()
    except TimeoutError as error:
        raise redis.exceptions.TimeoutError("Timeout while talking to Redis") from error
    except (OSError, hiredis.HiredisError) as error:
        raise redis.exceptions.ConnectionError(f"Error while talking to Redis: {error}") from error
