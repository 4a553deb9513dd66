"""The page "Your account": one's own sessions and password."""

import re
import time

import pytest
from flask import Flask

from app import audit_log, passwords, sign_in_limits
from app.user_agents import in_words
from tests.app.pages.conftest import PASSWORD, SignIn, Visitor
from tests.support.people import account_id_of, sign_in_as
from tests.support.server import Server
from tests.support.signed_in import signed_in

NEW = "another horse battery"


def session_ids(visitor: Visitor) -> list[str]:
    return re.findall(r"/account/sessions/([0-9a-f]{32})/end", visitor.get("/account").text)


def elsewhere(app: Flask, role: str) -> Visitor:
    """Another browser of the one who has that role, without the price of a password."""
    visitor = Visitor(app.test_client())
    with app.app_context():
        account_id = account_id_of(f"{role}@example.org")
    sign_in_as(app, visitor.client, account_id)
    return visitor


def test_it_lists_one_s_own_sessions_and_says_which_is_this_one(app: Flask, sign_in: SignIn) -> None:
    """Nobody else's; with the browser, the address and how each began."""
    visitor = sign_in("viewer")
    sign_in("editor")
    page = visitor.get("/account").text
    assert page.count("this one") == len(session_ids(visitor)) == 1
    assert "with a password" in page
    assert "127.0.0.1" in page
    elsewhere(app, "viewer")
    assert len(session_ids(visitor)) == 2
    assert visitor.get("/account").text.count("this one") == 1


def test_one_session_is_ended_and_its_browser_is_out(app: Flask, sign_in: SignIn) -> None:
    """The other one's next request leads to the form; somebody else's sessions cannot be ended here."""
    visitor, other, editor = sign_in("viewer"), elsewhere(app, "viewer"), sign_in("editor")
    (own,) = re.findall(
        r"this one.*?/account/sessions/([0-9a-f]{32})/end", visitor.get("/account").text, re.S
    )
    (second,) = set(session_ids(visitor)) - {own}
    assert editor.post(f"/account/sessions/{second}/end", "/account").status_code == 404
    assert other.get("/").status_code == 200
    assert visitor.post(f"/account/sessions/{second}/end", "/account").status_code == 302
    assert other.get("/").status_code == 302
    assert other.get("/fleet/events").status_code == 401
    assert "The session was ended." in visitor.get("/account").text
    assert visitor.post(f"/account/sessions/{own}/end", "/account").location == "/sign-in"
    assert visitor.get("/").status_code == 302
    assert editor.get("/").status_code == 200


def test_all_others_are_ended_after_a_question(app: Flask, sign_in: SignIn) -> None:
    """Which says how many; this one stays."""
    visitor = sign_in("viewer")
    second, third = (elsewhere(app, "viewer") for _ in range(2))
    answer = visitor.post("/account/sessions/end-others", "/account")
    assert "Ends 2 sessions" in answer.text
    assert second.get("/").status_code == 200
    answer = visitor.post("/account/sessions/end-others", "/account", confirmed="yes")
    assert answer.status_code == 302
    assert (second.get("/").status_code, third.get("/").status_code) == (302, 302)
    assert "2 sessions ended." in visitor.get("/account").text
    answer = visitor.post("/account/sessions/end-others", "/account")
    assert "There was no other session." in visitor.get("/account").text


def test_a_new_password_needs_the_present_one_and_ends_the_other_sessions(
    app: Flask, sign_in: SignIn
) -> None:
    """Audited without either of them; this browser stays signed in."""
    visitor, other = sign_in("viewer"), elsewhere(app, "viewer")
    wrong = {"present": "not the one it is", "new": NEW, "again": NEW}
    for fields, status, said in (
        (wrong, 400, "not your present password"),
        ({"present": PASSWORD, "new": NEW, "again": NEW + "!"}, 400, "the two are not the same"),
        ({"present": PASSWORD, "new": "short", "again": "short"}, 400, "at least 8 characters"),
        ({"present": PASSWORD, "new": PASSWORD, "again": PASSWORD}, 400, "it is the one that you have"),
        ({"present": "x" * 73, "new": NEW, "again": NEW}, 400, "at most 72 bytes"),
    ):
        answer = visitor.post("/account/password", "/account", **fields)
        assert (answer.status_code, said in answer.text) == (status, True), said
        assert NEW not in answer.text
    assert other.get("/").status_code == 200
    answer = visitor.post("/account/password", "/account", present=PASSWORD, new=NEW, again=NEW)
    assert answer.status_code == 302
    assert other.get("/").status_code == 302
    assert "Your password was changed. 1 other session ended." in visitor.get("/account").text
    with app.app_context():
        assert passwords.sign_in("viewer@example.org", NEW).email == "viewer@example.org"
        (entry,) = audit_log.listing(audit_log.AuditFilter(action="account.password")).items
        assert (entry.actor, entry.subject_id) == ("viewer@example.org", account_id_of("viewer@example.org"))
        assert entry.detail == {"sessions_ended": 1}


def test_the_present_password_cannot_be_guessed_for_ever(app: Flask, sign_in: SignIn) -> None:
    """Whoever finds an open browser has as few tries as a stranger, and is told when to come back."""
    visitor = sign_in("viewer")
    with app.app_context():
        counted = [
            sign_in_limits.Counter(
                sign_in_limits.OF_AN_ACCOUNT, ("change", account_id_of("viewer@example.org"))
            )
        ]
        for _ in range(sign_in_limits.OF_AN_ACCOUNT.amount):
            sign_in_limits.sign_in_limits().attempt(counted)
    answer = visitor.post("/account/password", "/account", present=PASSWORD, new=NEW, again=NEW)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox 145 on Linux"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
            " Safari/537.36 Edg/142.0.0.0",
            "Edge 142 on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
            " Version/26.0 Mobile/15E148 Safari/604.1",
            "Safari 26 on iOS",
        ),
        ("curl/8.5.0", "curl/8.5.0"),
        ("x" * 100, "x" * 39 + "…"),
        (None, "unknown browser"),
    ],
)
def test_browsers_are_named_in_a_few_words(text: str | None, words: str) -> None:
    """By their own name, not by those that they also carry."""
    assert in_words(text) == words


def test_the_end_of_a_session_reaches_every_worker_and_its_open_pages(server: Server) -> None:
    """Of two real workers neither serves it once more, and a live page that is open ends within seconds."""
    server.create_admin("sessions@example.org", PASSWORD)
    here, there = (signed_in(server.url, "sessions@example.org", PASSWORD) for _ in range(2))
    account = here.get(f"{server.url}/account", timeout=30).text
    (own,) = re.findall(r"this one.*?/account/sessions/([0-9a-f]{32})/end", account, re.S)
    (other,) = set(re.findall(r"/account/sessions/([0-9a-f]{32})/end", account)) - {own}
    token = re.search(r'name="csrf_token" value="([^"]+)"', account)
    assert token is not None
    with there.get(f"{server.url}/fleet/events", stream=True, timeout=30) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        assert next(lines).startswith("retry:")
        answer = here.post(f"{server.url}/account/sessions/{other}/end", {"csrf_token": token[1]}, timeout=30)
        assert answer.ok
        began = time.monotonic()
        for _ in range(8):
            answer = there.get(f"{server.url}/", timeout=30, allow_redirects=False)
            assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in")
        for _ in lines:
            pass
        assert time.monotonic() - began < 15
    assert here.get(f"{server.url}/account", timeout=30).ok


def test_an_admin_ends_the_sessions_of_another_account(app: Flask, sign_in: SignIn) -> None:
    """One, or all after a question; its own page leads there, and an empty list says what it is."""
    admin, first, second = sign_in("admin"), sign_in("viewer"), elsewhere(app, "viewer")
    with app.app_context():
        account_id = account_id_of("viewer@example.org")
    page = f"/accounts/{account_id}/sessions"
    assert f'href="{page}"' in admin.get(f"/accounts/{account_id}").text
    shown = admin.get(page).text
    assert "Where viewer@example.org is signed in" in shown
    assert "this one" not in shown
    (newest, _) = re.findall(rf"{page}/([0-9a-f]{{32}})/end", shown)
    assert admin.post(f"{page}/{newest}/end", page).location == page
    assert sorted(each.get("/").status_code for each in (first, second)) == [200, 302]
    assert "Ends 1 session within seconds." in admin.post(f"{page}/end", page).text
    assert admin.post(f"{page}/end", page, confirmed="yes").location == page
    assert [each.get("/").status_code for each in (first, second)] == [302, 302]
    answer = admin.get(page).text
    assert "1 session ended." in answer
    assert "<h2>Nowhere</h2>" in answer
    assert admin.get("/accounts/nobody/sessions").status_code == 404
    assert admin.post(f"/accounts/nobody/sessions/{newest}/end", "/account").status_code == 404
