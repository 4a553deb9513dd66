"""Hazard 26 for people: a guesser is stopped across workers; owners, neighbours and whole sites are not."""

from collections.abc import Iterator

import bcrypt
import pytest
from flask import Flask
from sqlalchemy import update

from app import passwords, sessions
from app.database import db, transaction
from app.errors import SignalboxError, TooManyRequestsError
from app.known_devices import Device, read
from app.models import Account
from app.sessions import Origin
from app.sign_in_limits import OF_AN_ACCOUNT, OF_AN_ADDRESS, counters
from app.sign_in_limits import sign_in_limits as limits
from tests.app.pages.conftest import PASSWORD, Make
from tests.support.people import account_id_of, make_account
from tests.support.until import until
from tools.redis_server import RedisServer

ADA = "ada@example.org"
TRIES = OF_AN_ACCOUNT.amount


def admit_ada(app: Flask) -> None:
    """Make her account, whose password costs little to look at."""
    make_account(app, ADA, PASSWORD, "viewer")
    quick = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    with app.app_context():
        transaction(lambda session: session.execute(update(Account).values(password_hash=quick)))


@pytest.fixture
def app(make_app: Make) -> Iterator[Flask]:
    """With Ada's account."""
    app = make_app()
    admit_ada(app)
    with app.app_context():
        yield app


@pytest.fixture(autouse=True)
def quick_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for who has no account."""
    monkeypatch.setattr(passwords, "_HASH_OF_NOBODY", bcrypt.hashpw(b"x" * 20, bcrypt.gensalt(4)))


def outcome(email: str, password: str, address: str | None = None, device: Device | None = None) -> str:
    try:
        passwords.sign_in(email, password, address, device)
    except SignalboxError as error:
        return type(error).__name__
    return "in"


def guess(
    times: int, email: str = ADA, address: str | None = None, device: Device | None = None
) -> list[str]:
    return [outcome(email, f"guess number {number}", address, device) for number in range(times)]


def test_strangers_together_have_so_many_tries_and_are_told_no_more(app: Flask) -> None:
    """From however many addresses; an account that exists and one that does not are refused alike."""
    for email in (ADA, "nobody@example.org"):
        outcomes = [guess(1, email, f"192.0.2.{number}")[0] for number in range(TRIES + 1)]
        assert outcomes == ["UnauthorizedError"] * TRIES + ["TooManyRequestsError"]
    said = set()
    for email, password in ((ADA, PASSWORD), ("nobody@example.org", PASSWORD)):
        with pytest.raises(TooManyRequestsError) as refused:
            passwords.sign_in(email, password, "192.0.2.99")
        assert 0 < (refused.value.retry_after or 0) <= 15 * 60
        said.add(refused.value.sentence)
    assert len(said) == 1
    assert outcome("bob@example.org", PASSWORD, "192.0.2.99") == "UnauthorizedError"


def test_workers_and_machines_count_together(app: Flask, make_app: Make) -> None:
    """What one has counted the other knows."""
    assert set(guess(TRIES)) == {"UnauthorizedError"}
    other = make_app()
    with other.app_context():
        assert outcome(ADA, PASSWORD) == "TooManyRequestsError"


def test_whoever_knows_the_password_uses_up_nothing(app: Flask) -> None:
    """As often as they like; nor does a crowd behind one address that signs in rightly."""
    assert {outcome(ADA, PASSWORD, "192.0.2.1") for _ in range(TRIES * 2)} == {"in"}
    assert guess(TRIES, address="192.0.2.1")[-1] == "UnauthorizedError"


def test_a_guesser_does_not_lock_out_the_owner(app: Flask) -> None:
    """A browser or an address in which the account has signed in before has tries of its own, and as few."""
    device = read(None).with_account(account_id_of(ADA))
    sessions.begin(db.session.query(Account).one(), "password", Origin("198.51.100.5"))
    guess(TRIES + 1, address="192.0.2.66")
    assert outcome(ADA, PASSWORD, "192.0.2.1") == "TooManyRequestsError"
    assert outcome(ADA, PASSWORD, "192.0.2.1", read(None)) == "TooManyRequestsError"
    assert outcome(ADA, PASSWORD, "192.0.2.1", device) == "in"
    assert outcome(ADA, PASSWORD, "198.51.100.5") == "in"
    assert guess(TRIES + 1, address="192.0.2.1", device=device)[-2:] == [
        "UnauthorizedError",
        "TooManyRequestsError",
    ]
    assert outcome(ADA, PASSWORD, "198.51.100.5") == "in"


def test_a_known_browser_is_told_by_a_signed_cookie(app: Flask) -> None:
    """Nobody can make one; of many accounts the newest stay."""
    device = read(None).with_account("a").with_account("b")
    assert read(device.to_cookie()) == Device(device.id, ["b", "a"])
    assert read(device.to_cookie()[:-2]).account_ids == ()
    assert read("nonsense").id != read("nonsense").id
    for number in range(20):
        device = device.with_account(str(number))
    assert list(device.account_ids) == [str(number) for number in range(19, 9, -1)]


def test_an_address_has_so_many_tries_for_whatever_accounts(app: Flask) -> None:
    """Its known browsers go on; without an address, as behind a unix socket, there is no such limit."""
    for number in range(OF_AN_ADDRESS.amount):
        limits().attempt(counters(f"n{number}@example.org", "2001:db8::1", None))
    assert outcome(ADA, PASSWORD, "2001:db8::2") == "TooManyRequestsError"
    assert outcome(ADA, PASSWORD, "2001:db8:0:1::2") == "in"
    device = read(None).with_account(account_id_of(ADA))
    assert outcome(ADA, PASSWORD, "2001:db8::2", device) == "in"
    for address in ("", None):
        for number in range(OF_AN_ADDRESS.amount + 1):
            limits().attempt(counters(f"m{number}{address}@example.org", address, None))
        assert outcome(ADA, PASSWORD, address) == "in"


def test_what_an_address_refuses_is_not_the_account_s(app: Flask) -> None:
    """Whoever has used up an address cannot use up an account with it."""
    for number in range(OF_AN_ADDRESS.amount):
        limits().attempt(counters(f"n{number}@example.org", "192.0.2.7", None))
    assert set(guess(TRIES + 5, address="192.0.2.7")) == {"TooManyRequestsError"}
    assert outcome(ADA, PASSWORD, "192.0.2.8") == "in"


def test_without_redis_each_worker_counts_for_itself(make_app: Make, own_redis: RedisServer) -> None:
    """Nobody is locked out, and nobody tries without limit; once it is back they count together again."""
    app, other = (make_app(SIGNALBOX_REDIS_URL=own_redis.url) for _ in range(2))
    admit_ada(app)
    with app.app_context():
        assert outcome(ADA, PASSWORD) == "in"
        own_redis.kill()
        assert guess(TRIES + 1) == ["UnauthorizedError"] * TRIES + ["TooManyRequestsError"]
    with other.app_context():
        assert outcome(ADA, PASSWORD) == "in"
    own_redis.start()
    with app.app_context():
        until(lambda: outcome(ADA, PASSWORD) == "in", what="Redis counts")
