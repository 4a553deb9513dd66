"""Whether a socket's peer has hung up, asked of the kernel: nothing is read, and nothing waits."""

from __future__ import annotations

from gevent import monkey

# gevent's own would wait in its loop.
_poll, _POLLRDHUP = monkey.get_original("select", ["poll", "POLLRDHUP"])


def has_hung_up(fd: int) -> bool:
    """Whether the peer of *fd* has closed or reset the connection.

    As a peek (``MSG_PEEK``), except that it also sees an end behind bytes that nobody has read yet.
    """
    poll = _poll()
    poll.register(fd, _POLLRDHUP)  # and a reset or hang-up, which are always told
    return bool(poll.poll(0))
