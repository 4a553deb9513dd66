"""What protects a browser: tokens in forms, headers, cookies, escaping."""

import json
import re
from html.parser import HTMLParser

import pytest
from flask import Flask

from app import environments
from app.audit import COMMAND_LINE
from tests.app.pages.conftest import Make, SignIn, Visitor, enroll
from tests.app.pages.test_errors import take_database_away


def test_a_form_without_its_token_is_refused_and_changes_nothing(
    app: Flask, sign_in: SignIn, environment_id: str
) -> None:
    """Neither signing in nor any act works from another site's form, and the page says what to do."""
    visitor = sign_in()
    for path in (
        "/sign-in",
        "/environments",
        f"/environments/{environment_id}/enrollment-token",
        "/sign-out",
    ):
        answer = visitor.client.post(path, data={"name": "staging"})
        assert answer.status_code == 400, path
        assert "reload that page" in answer.text
    assert visitor.get("/").status_code == 200
    with app.app_context():
        assert [row.name for row in environments.listing().items] == ["production"]
        assert environments.get(environment_id).enrollment_hint is None


@pytest.mark.parametrize(
    ("public_url", "base_url", "is_secure"),
    [
        (None, "http://localhost", False),
        (None, "https://localhost", True),
        ("https://signalbox.example", "http://localhost", True),
    ],
)
def test_the_session_cookie_keeps_to_https(
    make_app: Make, public_url: str | None, base_url: str, is_secure: bool
) -> None:
    """Secure whenever the request or the public URL is https; never readable by scripts, never sent cross-site."""
    app = make_app(**({"SIGNALBOX_PUBLIC_URL": public_url} if public_url else {}))
    answer = app.test_client().get("/setup", base_url=base_url)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("signalbox_session=")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert ("; Secure" in cookie) is is_secure
    assert ("Strict-Transport-Security" in answer.headers) is is_secure


class InlineFinder(HTMLParser):
    """Collects what a page would run, style or load from elsewhere by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in given):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            is_elsewhere = name in ("src", "href", "action") and re.match(r"[a-z]+:|//", value or "")
            if name == "style" or name.startswith("on") or is_elsewhere:
                self.found.append(f"<{tag} {name}={value}>")


def test_every_page_is_held_to_a_policy_that_it_keeps(
    app: Flask, sign_in: SignIn, environment_id: str, pipeline_id: str
) -> None:
    """The policy allows nothing inline and nothing from elsewhere, no page has either, and none may be framed."""
    visitor = sign_in()
    node_id = enroll(app, environment_id, "edge-01")
    paths = [
        "/",
        "/environments",
        "/pipelines",
        "/pipelines/new",
        f"/pipelines/{pipeline_id}",
        f"/nodes/{node_id}",
        "/nothing-here",
    ]
    for path in [*paths, "/sign-in"]:
        answer = (visitor if path != "/sign-in" else Visitor(app.test_client())).get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        finder = InlineFinder()
        finder.feed(answer.text)
        assert finder.found == [], path


def test_pages_stay_out_of_caches_and_static_files_in_them(sign_in: SignIn) -> None:
    """A page of the signed-in is never stored; a file whose address names its content may be kept for good."""
    visitor = sign_in()
    page = visitor.get("/")
    assert page.headers["Cache-Control"] == "private, no-store"
    address = re.search(r'href="(/static/style\.css\?v=\w+)"', page.text)
    assert address is not None
    for path, is_kept in ((address[1], True), ("/static/style.css", False)):
        with visitor.get(path) as file:
            assert ("immutable" in file.headers["Cache-Control"]) is is_kept
            assert "Set-Cookie" not in file.headers


def test_what_people_and_nodes_call_themselves_is_shown_as_text(app: Flask, sign_in: SignIn) -> None:
    """A name with markup in it is escaped in pages and in the parts that streams carry."""
    hostile = '<img src=x onerror="alert(1)">'
    with app.app_context():
        environment_id = environments.create(hostile, COMMAND_LINE).id
    enroll(app, environment_id, hostile)
    visitor = sign_in()
    for path in ("/", "/environments", "/pipelines/new"):
        page = visitor.get(path).text
        assert "<img src=x" not in page, path
        assert "&lt;img src=x" in page, path
    parts = visitor.get("/fleet/rows").json
    assert parts is not None
    assert "<img src=x" not in json.dumps(parts)


def test_an_error_is_a_page_that_needs_nothing_that_is_broken(app: Flask, sign_in: SignIn) -> None:
    """With the database gone whoever has signed in gets a page and a sentence, not a trace."""
    visitor = sign_in()
    take_database_away(app)
    answer = visitor.get("/")
    assert answer.status_code == 503
    assert "The database cannot be used just now" in answer.text
