"""Where Redis is, as ``SIGNALBOX_REDIS_URL`` says: one server, or a master whose name Sentinels resolve. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
SENTINEL_PORT = 26379


class RedisUrlError(ValueError):
    """The URL cannot be used; the message goes on after "SIGNALBOX_REDIS_URL"."""


@dataclass(frozen=True, slots=True)
class SentinelPlace:
    """A master that Sentinels know; user, password, database and TLS are the master's, TLS also the Sentinels'."""

    sentinels: tuple[tuple[str, int], ...]
    master_name: str
    database: int
    username: str | None
    password: str | None
    tls: bool


def parse(url: str) -> SentinelPlace | None:
    """The place behind a Sentinel's URL; ``None`` for ``redis://``, ``rediss://`` and ``unix://``.

    :raises RedisUrlError: anything else.
    """
    try:
        scheme, _, rest = url.partition("://")
        if scheme.lower() in SENTINEL_SCHEMES:
            return _sentinel_place(scheme.lower(), rest)
        parts = urlsplit(url)
        if parts.scheme == "unix":
            if not parts.path.strip("/") or parts.netloc.rpartition("@")[2]:
                raise RedisUrlError("must name a socket, such as unix:///run/redis.sock.")
        elif parts.scheme in ("redis", "rediss"):
            if not parts.hostname or parts.port == 0:
                raise RedisUrlError("must name a host, such as redis://127.0.0.1:6379/0.")
            _database(parts.path.strip("/"))
        else:
            raise RedisUrlError(
                "must begin with redis://, rediss://, unix://, redis+sentinel:// or rediss+sentinel://."
            )
    except RedisUrlError:
        raise
    except ValueError:
        raise RedisUrlError("must be a URL such as redis://127.0.0.1:6379/0.") from None
    return None


def _sentinel_place(scheme: str, rest: str) -> SentinelPlace:
    # Not urlsplit: recent ones, Debian's 3.11.2 among them, refuse brackets in the midst of several hosts.
    netloc, _, path = rest.partition("/")
    user, _, hosts = netloc.rpartition("@")
    username, has_password, password = user.partition(":")
    if user and not has_password:
        raise RedisUrlError("must have user:password@ or :password@ before its Sentinels.")
    name, _, database = path.strip("/").partition("/")
    if not name or "?" in rest or "#" in rest:
        raise RedisUrlError(
            "must name Sentinels and their master, such as redis+sentinel://one:26379,two:26379/mymaster/0."
        )
    return SentinelPlace(
        sentinels=tuple(_address(host) for host in hosts.split(",")),
        master_name=unquote(name),
        database=_database(database),
        username=unquote(username) or None,
        password=unquote(password) or None,
        tls=SENTINEL_SCHEMES[scheme],
    )


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text.strip()}")
    if not parts.hostname or parts.port == 0:
        raise RedisUrlError("must list its Sentinels as host:port, separated by commas.")
    return parts.hostname, parts.port or SENTINEL_PORT


def _database(text: str) -> int:
    if text and not text.isdecimal():
        raise RedisUrlError("must end with the number of a database, such as /0.")
    return int(text or 0)
