"""Many commands over one raw connection, and what Redis answers to each."""

from collections.abc import Iterator

import hiredis
import pytest
import redis

from app.push import batches
from app.push.redis_gate import RedisGate
from tools.redis_server import RedisServer

KEY = "batches-test"


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = RedisGate(redis_server.url).client
    yield client
    client.delete(KEY)


def test_an_error_is_the_answer_to_its_own_command_only(client: redis.Redis) -> None:
    """What comes behind it is carried out, and the connection is good for the next."""
    commands = [("SET", KEY, "é"), ("LPUSH", KEY, 1), ("GET", KEY), ("GET", KEY + "-none")]
    ok, error, value, nothing = batches.answers(client, commands)
    assert (ok, value, nothing) == (b"OK", "é".encode(), None)
    assert isinstance(error, hiredis.ReplyError)
    assert batches.answers(client, [("GET", KEY)] * 3) == ["é".encode()] * 3
    assert batches.answers(client, []) == []


def test_a_script_that_redis_has_lost_is_told_it_again(client: redis.Redis) -> None:
    """After a restart or a flush; only what was not carried out is sent a second time."""
    script = client.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    for _ in range(2):
        client.delete(KEY)
        client.script_flush()
        assert batches.script_answers(client, script, [([KEY], [2]), ([KEY], [3])]) == [2, 5]


def test_a_script_s_own_error_is_raised(client: redis.Redis) -> None:
    """As redis-py does it, so that the gate says that Redis refused."""
    script = client.register_script("return redis.error_reply('OOM no room')")
    with pytest.raises(redis.exceptions.ResponseError, match="no room"):
        batches.script_answers(client, script, [([], [])])
