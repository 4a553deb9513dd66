"""Sessions of people, on both databases: what is stored, when one ends, and what is noted of its use."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update

from app import retention, server_settings, sessions
from app.audit import COMMAND_LINE
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import NotFoundError
from app.models import Account, AccountSession, AuditEntry
from app.sessions import Origin
from tests.app.conftest import Script, refused, succeeded
from tests.support.people import account_id_of, make_account

HOME = Origin("192.0.2.1", "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0")


@pytest.fixture
def account(app: Flask) -> Iterator[Account]:
    make_account(app, "ada@example.org", "correct horse battery", "viewer")
    with app.app_context():
        own = account_id_of("ada@example.org")
        yield snapshot(lambda session: session.get_one(Account, own))


def age(**columns: timedelta) -> None:
    """Let every session's moments lie so far back."""
    now = utc_now()
    values = {name: now - span for name, span in columns.items()}
    transaction(lambda session: session.execute(update(AccountSession).values(values)))


def test_a_session_is_found_by_its_token_and_no_other(account: Account) -> None:
    """It says whose it is, how it began and from where; that somebody signed in is in the audit log."""
    token = sessions.begin(account, "password", HOME)
    found = sessions.find(token, HOME)
    assert found is not None
    assert found.account.id == account.id
    assert (found.session.method, found.session.address) == ("password", "192.0.2.1")
    assert "Firefox/145" in (found.session.user_agent or "")
    other = sessions.begin(account, "password", HOME)
    swapped = "_".join([*token.split("_")[:3], other.split("_")[3]])
    for wrong in (
        "",
        "nonsense",
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        swapped,
        f"{account.id}.key",
    ):
        assert sessions.find(wrong, HOME) is None
    query = select(AuditEntry).where(AuditEntry.action == "account.sign-in")
    entries = snapshot(lambda session: session.scalars(query).all())
    assert [(each.actor, each.address, each.detail) for each in entries] == [
        ("ada@example.org", "192.0.2.1", {"method": "password"})
    ] * 2


def test_what_a_browser_says_of_itself_is_bounded(account: Account) -> None:
    """As long as the columns, and nothing that a page cannot show."""
    sessions.begin(account, "password", Origin("x" * 99, "a\x00b\n\u202e" + "c" * 5000))
    (row,) = sessions.listing(account.id)
    assert (row.address, row.user_agent) == ("x" * 45, "ab" + "c" * 298)
    sessions.begin(account, "password", Origin("", ""))
    assert (None, None) in {(each.address, each.user_agent) for each in sessions.listing(account.id)}


def test_an_ended_session_is_a_stranger_s_at_once(account: Account) -> None:
    """One, all others, or all; of somebody else's account nothing can be ended by its id."""
    mine, second, third = (sessions.begin(account, "password", HOME) for _ in range(3))
    ids = [token.split("_")[2] for token in (mine, second, third)]
    with pytest.raises(NotFoundError):
        sessions.end("somebody else", ids[1], COMMAND_LINE)
    assert sessions.find(second, HOME) is not None
    sessions.end(account.id, ids[1], COMMAND_LINE)
    assert sessions.find(second, HOME) is None
    with pytest.raises(NotFoundError):
        sessions.end(account.id, ids[1], COMMAND_LINE)
    assert sessions.end_all(account.id, COMMAND_LINE, but=ids[0]) == 1
    assert [each.id for each in sessions.listing(account.id)] == [ids[0]]
    assert sessions.find(mine, HOME) is not None
    key = account.session_key
    assert sessions.end_all(account.id, COMMAND_LINE) == 1
    assert sessions.find(mine, HOME) is None
    changed = snapshot(lambda session: session.get_one(Account, account.id))
    assert changed.session_key != key, "workers of the release before end theirs, too"
    with pytest.raises(NotFoundError):
        sessions.end_all("nobody", COMMAND_LINE)


@pytest.mark.parametrize(
    "back",
    [
        {"last_seen_at": timedelta(hours=12, seconds=5)},
        {"created_at": timedelta(days=14, seconds=5)},
    ],
    ids=["idle", "old"],
)
def test_old_sessions_expire_and_go(account: Account, back: dict[str, timedelta]) -> None:
    """When nobody used them, or when they have lasted long; at once for requests, then the rows, with retention."""
    token = sessions.begin(account, "password", HOME)
    age(**{name: span - timedelta(minutes=1) for name, span in back.items()})
    assert sessions.find(token, HOME) is not None
    age(**back)
    assert sessions.find(token, HOME) is None
    assert sessions.listing(account.id) == []
    fresh = sessions.begin(account, "password", HOME)
    step = retention.steps(server_settings.values(), utc_now())["sessions"]
    assert retention.prune(step) == 1
    assert sessions.find(fresh, HOME) is not None


def test_the_limits_are_settings(account: Account) -> None:
    """A lower one holds for sessions that are there."""
    token = sessions.begin(account, "password", HOME)
    age(last_seen_at=timedelta(hours=2))
    server_settings.update(COMMAND_LINE, {"sessionIdleHours": 1})
    assert sessions.find(token, HOME) is None
    server_settings.update(COMMAND_LINE, {"sessionIdleHours": 720})
    assert sessions.find(token, HOME) is not None


def test_use_is_noted_once_a_minute(account: Account) -> None:
    """With the address that it came from last; a request within the minute writes nothing."""
    token = sessions.begin(account, "password", HOME)
    elsewhere = Origin("198.51.100.7", "curl/8")
    (before,) = sessions.listing(account.id)
    sessions.find(token, elsewhere)
    (row,) = sessions.listing(account.id)
    assert (row.last_seen_at, row.address) == (before.last_seen_at, "192.0.2.1")
    age(last_seen_at=timedelta(seconds=61))
    sessions.find(token, elsewhere)
    (row,) = sessions.listing(account.id)
    assert (row.address, row.user_agent) == ("198.51.100.7", "curl/8")
    assert utc_now() - row.last_seen_at < timedelta(seconds=30)


def test_an_account_has_a_bounded_number_of_sessions(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond, a new one ends the one that was not used for longest."""
    monkeypatch.setattr(sessions, "MOST_SESSIONS", 3)
    issued = [sessions.begin(account, "password", HOME) for _ in range(5)]
    assert [sessions.find(each, HOME) is not None for each in issued] == [False, False, True, True, True]


def test_a_script_lists_and_ends_sessions(account: Account, script: Script) -> None:
    """One or all of an account; without anything that lets somebody in."""
    tokens = [sessions.begin(account, "password", HOME) for _ in range(3)]
    address = f"/accounts/{account.id}/sessions"
    answer = script.call("GET", address)
    rows = succeeded(answer, 200)["items"]
    assert [row["id"] for row in rows] == [each.split("_")[2] for each in reversed(tokens)]
    assert set(rows[0]) == {"id", "method", "address", "userAgent", "createdAt", "lastSeenAt"}
    assert not any(each.rpartition("_")[2] in answer.text for each in tokens)
    assert script.call("DELETE", f"{address}/{rows[0]['id']}").status_code == 204
    refused(script.call("DELETE", f"{address}/{rows[0]['id']}"), 404)
    assert succeeded(script.call("DELETE", address), 200) == {"ended": 2}
    assert script.get(address) == {"items": [], "nextCursor": None}
    for method in ("GET", "DELETE"):
        refused(script.call(method, "/accounts/nobody/sessions"), 404)
