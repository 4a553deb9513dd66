"""The listener survives everything that Redis, or what stands in its place, can answer."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import gevent
import pytest
import redis

from app.push import broker
from app.push.broker import Subscriber
from app.push.channels import Channels
from tools.redis_server import RedisServer

CHANNEL = "listener:node:{n}"
KEY = "n"
CHANNELS = Channels("listener:")
NO_INFO = b"-NOPERM no permission to run 'info'\r\n"
CONFIRMED = b"*3\r\n$9\r\nsubscribe\r\n$17\r\nlistener:node:{n}\r\n:1\r\n"
MESSAGE = b"*3\r\n$7\r\nmessage\r\n$17\r\nlistener:node:{n}\r\n$5\r\nhello\r\n"


class Listener:
    """A subscriber that wants one channel, with its two greenlets."""

    def __init__(self, url: str) -> None:
        self.received: list[bytes] = []
        self.confirmed = self.recovered = 0
        self.subscriber = Subscriber(
            url,
            CHANNELS,
            lambda key: key == KEY,
            lambda: [KEY],
            lambda received: self.received.extend(data for _, data in received),
            self._on_subscribed,
            self._on_recovered,
        )
        run = (self.subscriber.run_reader, self.subscriber.run_flusher)
        self.greenlets = [gevent.spawn(each) for each in run]

    def _on_subscribed(self, channels: list[str]) -> None:
        self.confirmed += 1

    def _on_recovered(self) -> None:
        self.recovered += 1

    def until(self, probe: Callable[[], object], what: str, seconds: float = 15.0) -> None:
        """As ``until``, while the greenlets run; fails at once if one of them ends."""
        with gevent.Timeout(seconds, AssertionError(f"not so after {seconds} s: {what}")):
            while not probe():
                assert not any(greenlet.dead for greenlet in self.greenlets), "the listener has ended"
                gevent.sleep(0.01)

    def close(self) -> None:
        gevent.killall(self.greenlets)
        self.subscriber.reconnect()


@pytest.fixture
def listen() -> Iterator[Callable[[str], Listener]]:
    """Starts listeners."""
    with contextlib.ExitStack() as running:

        def start(url: str) -> Listener:
            listener = Listener(url)
            running.callback(listener.close)
            return listener

        yield start


class StrangeServer:
    """Speaks to one client after the other: *first* to the first ones, then as a Redis that delivers a message.

    A listener connects, asks who this is, and subscribes.
    """

    def __init__(self, *first: bytes) -> None:
        self._first = list(first)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"
        self.clients = 0
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.clients += 1
                with client, contextlib.suppress(OSError):
                    self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(5.0)
        strange = self._first.pop(0) if self._first else None
        last = CONFIRMED + MESSAGE if strange is None else strange
        answers = {b"CLIENT": b"+OK\r\n", b"INFO": NO_INFO, b"SUBSCRIBE": last}
        while request := client.recv(65536):
            for word in request.split(b"\r\n"):
                if word in answers:
                    client.sendall(answers[word])
                    if word == b"SUBSCRIBE" and strange is not None:
                        return

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"\x16\x03\x01 not redis at all\r\n",
        b"*3\r\n$9\r\nsubscr",  # half a reply, then closed
        b"*1\r\n$3\r\nfoo\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*-1\r\n",
        b"*3\r\n:1\r\n:2\r\n:3\r\n",
        b"*3\r\n$7\r\nmessage\r\n$2\r\n\xff\xfe\r\n$1\r\nx\r\n",
        b"*3\r\n$7\r\nmessage\r\n*0\r\n$1\r\nx\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MOVED 1234 127.0.0.1:7000\r\n",
        b"-ASK 1234 127.0.0.1:7000\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-NOPERM No permissions to access a channel\r\n",
        b"-ERR max number of clients reached\r\n",
        b"",
    ],
)
def test_whatever_is_answered_it_connects_again_and_hears(
    listen: Callable[[str], Listener], answer: bytes
) -> None:
    """Garbage, halves and refusals cost a connection, never the greenlet that listens."""
    server = StrangeServer(answer)
    try:
        listener = listen(server.url)
        listener.until(lambda: listener.received == [b"hello"], "the message after the second try")
    finally:
        listener.close()
        server.close()


def test_bytes_that_never_become_a_reply_are_not_waited_for(
    listen: Callable[[str], Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A length that nothing fills swallows every echo behind it: bytes come, and yet nothing is heard."""
    monkeypatch.setattr(broker, "HALF_REPLY_SECONDS", 0.5)
    monkeypatch.setattr(broker, "READ_BYTES", 4)  # so that what trickles is read in many turns
    trickle = threading.Event()

    class Trickling(StrangeServer):
        def _serve(self, client: socket.socket) -> None:
            if self.clients > 1:
                super()._serve(client)
                return
            client.sendall(b"+OK\r\n+OK\r\n" + NO_INFO)
            while b"SUBSCRIBE" not in client.recv(65536):
                pass
            client.sendall(b"$1000000\r\n")
            while not trickle.wait(0.05):
                client.sendall(b"x")

    server = Trickling()
    try:
        listener = listen(server.url)
        listener.until(lambda: listener.received == [b"hello"], "the message")
    finally:
        trickle.set()
        listener.close()
        server.close()


def test_a_server_that_refuses_each_time_is_not_hurried(listen: Callable[[str], Listener]) -> None:
    """A full Redis accepts and refuses at once: a listener that came back at once would help to keep it full."""
    refusal = b"-ERR max number of clients reached\r\n"
    server = StrangeServer(*[refusal] * 1000)
    try:
        listener = listen(server.url)
        listener.until(lambda: server.clients >= 4, "some tries")
        gevent.sleep(2.0)
        assert server.clients < 20
    finally:
        listener.close()
        server.close()


def test_what_a_real_redis_does_to_its_subscribers_is_survived(
    listen: Callable[[str], Listener], own_redis: RedisServer
) -> None:
    """Killed by an operator, cut for its output, forbidden by an ACL, frozen, restarted: each time it comes back."""
    listener = listen(own_redis.url)
    client = redis.Redis.from_url(own_redis.url)
    listener.until(lambda: listener.confirmed == 1, "the subscription")

    def heard_again(after: str) -> None:
        listener.until(lambda: client.publish(CHANNEL, after) == 1, f"the subscription after {after}")
        listener.until(lambda: after.encode() in listener.received, f"a message after {after}")

    client.execute_command("CLIENT KILL TYPE pubsub")
    heard_again("kill")
    client.config_set("client-output-buffer-limit", "pubsub 100000 0 0")
    client.publish(CHANNEL, b"x" * 8_000_000)
    heard_again("cut")
    client.execute_command("ACL SETUSER default resetchannels")
    client.execute_command("CLIENT KILL TYPE pubsub")
    listener.until(lambda: not listener.subscriber.is_confirmed(KEY), "the refusal")
    client.execute_command("ACL SETUSER default allchannels")
    heard_again("acl")
    before = listener.subscriber.run_id
    client.close()
    own_redis.restart()
    heard_again("restart")
    assert listener.subscriber.run_id not in (None, before)
    assert listener.recovered >= 4
    client.close()


def test_a_frozen_redis_is_left_and_found_again(
    listen: Callable[[str], Listener], own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It raises nothing; its silence does."""
    monkeypatch.setattr(broker, "SILENCE_SECONDS", 0.5)
    listener = listen(own_redis.url)
    listener.until(lambda: listener.confirmed == 1, "the subscription")
    own_redis.suspend()
    try:
        listener.until(lambda: not listener.subscriber.is_connected, "the loss")
    finally:
        own_redis.resume()
    listener.until(lambda: listener.confirmed >= 2, "the subscription")


def test_the_names_of_channels_lead_back_to_nodes() -> None:
    """And a stranger's channel, or one that is called as a node is, to nobody."""
    for key in (KEY, CHANNELS.fleet_key, CHANNELS.worker_key("n")):
        assert CHANNELS.key(CHANNELS.name(key)) == key
    assert CHANNELS.name(KEY) == CHANNEL.encode()
    assert CHANNELS.key(b"n") == "/n"


def test_a_listener_comes_back_however_often_it_was_lost(
    listen: Callable[[str], Listener], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that is away for a minute refuses a hundred connections: the next one counts as much as the first."""
    monkeypatch.setattr(broker.random, "uniform", lambda *_: 0.0)
    listener = listen(redis_server.url)
    listener.until(lambda: listener.confirmed, "a first subscription")
    for number in range(1, 111):
        listener.subscriber.reconnect()
        listener.until(lambda number=number: listener.recovered == number, f"recovery {number}")  # type: ignore[misc]
