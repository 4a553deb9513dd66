"""What SIGNALBOX_REDIS_URL may say."""

import pytest

from app.config import Settings, SettingsError
from app.push.redis_url import SentinelPlace, parse
from tests.support.server import fresh_secrets


def test_a_url_of_sentinels_names_them_and_their_master() -> None:
    """Ports have a default, user and password are the master's, and may hold anything once it is escaped."""
    assert parse("redis+sentinel://one:26380,two,[::1]:5/mymaster/3") == SentinelPlace(
        (("one", 26380), ("two", 26379), ("::1", 5)), "mymaster", 3, None, None, False
    )
    assert parse("rediss+sentinel://me:p%40ss%2F@one/mymaster") == SentinelPlace(
        (("one", 26379),), "mymaster", 0, "me", "p@ss/", True
    )
    place = parse("redis+sentinel://:secret@one/mymaster")
    assert place is not None
    assert (place.username, place.password) == (None, "secret")


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:6379/0",
        "redis://:p@h",
        "rediss://h:1/2?ssl_cert_reqs=none",
        "unix:///run/r.sock?db=1",
    ],
)
def test_one_server_is_left_to_redis_py(url: str) -> None:
    """Those have no name to resolve."""
    assert parse(url) is None
    assert Settings.from_environ({**fresh_secrets(), "SIGNALBOX_REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "http://h",
        "redis://",
        "redis://h:port",
        "redis://h:70000",
        "redis://h/name",
        "unix://",
        "unix://run/redis.sock",
        "redis+sentinel://",
        "redis+sentinel://one:26379",
        "redis+sentinel://one:26379/",
        "redis+sentinel:///mymaster",
        "redis+sentinel://one,,two/mymaster",
        "redis+sentinel://one:port/mymaster",
        "redis+sentinel://one/mymaster/zero",
        "redis+sentinel://one/mymaster/0/1",
        "redis+sentinel://user@one/mymaster",
        "redis+sentinel://one/mymaster?db=0",
    ],
)
def test_nonsense_is_refused_in_one_sentence(url: str) -> None:
    """Before any worker is made, naming the variable."""
    with pytest.raises(SettingsError, match=r"^Cannot start: SIGNALBOX_REDIS_URL must [^.]+(\.[^.]+)*\.$"):
        Settings.from_environ({**fresh_secrets(), "SIGNALBOX_REDIS_URL": url})
