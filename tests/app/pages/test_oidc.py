"""Signing in at a real provider, a process of its own: the whole way, and each thing that can be wrong with it."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from flask import Flask
from werkzeug.test import TestResponse

from app import environments, oidc_provider
from app.audit import COMMAND_LINE
from app.config import Settings, SettingsError
from app.database import db
from app.models import Account, AccountIdentity
from tests.app.pages.conftest import PASSWORD, SECRETS, Make, Visitor
from tests.support.oidc_provider import OidcProvider
from tests.support.people import make_account
from tools.reserved_port import ReservedPort


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OidcProvider]:
    provider = OidcProvider(tmp_path_factory.mktemp("provider"))
    try:
        yield provider.start()
    finally:
        provider.close()


@pytest.fixture(autouse=True)
def no_fault(provider: OidcProvider) -> None:
    provider.fault(None)


@pytest.fixture
def app(make_app: Make, provider: OidcProvider) -> Flask:
    return make_app(**provider.settings())


def to_provider(visitor: Visitor, path: str = "/sign-in/oidc") -> str:
    """The address at the provider to which the browser is sent."""
    answer = visitor.get(path)
    assert answer.status_code == 302, answer.text
    return answer.location


def from_provider(address: str, sub: str) -> str:
    """The address with which the provider sends the browser back, once *sub* has signed in there."""
    answer = requests.post(address, {"sub": sub}, timeout=30, allow_redirects=False)
    assert answer.status_code == 302, answer.text
    parts = urlsplit(answer.headers["Location"])
    return f"{parts.path}?{parts.query}"


def come(app: Flask, sub: str) -> tuple[Visitor, TestResponse]:
    """Somebody with a fresh browser who signs in at the provider, and what they are answered."""
    visitor = Visitor(app.test_client())
    return visitor, visitor.get(from_provider(to_provider(visitor), sub))


def alert(answer: TestResponse) -> str:
    found = re.search(r'role="alert"[^>]*>([^<]+)<', answer.text)
    assert found is not None, answer.text
    return found[1]


def test_somebody_signs_in_with_the_roles_of_their_groups(app: Flask, provider: OidcProvider) -> None:
    """The first account too: PKCE, state and nonce are sent, and the page that was wanted is shown."""
    provider.person("ada", "sre", "unheard of")
    visitor = Visitor(app.test_client())
    assert "Sign in with Example ID" in visitor.get("/sign-in").text
    address = to_provider(visitor, "/sign-in/oidc?next=/pipelines")
    asked = parse_qs(urlsplit(address).query)
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["response_type"] == ["code"]
    assert len(asked["state"][0]) >= 32 <= len(asked["nonce"][0])
    assert set(asked["scope"][0].split()) == {"openid", "email", "profile"}
    answer = visitor.get(from_provider(address, "ada"))
    assert (answer.status_code, answer.location) == (302, "/pipelines")
    page = visitor.get("/account").text
    assert "ada@example.org, admin" in page
    assert "with single sign-on" in page
    assert "You have no password here" in page
    with app.app_context():
        (known,) = db.session.query(AccountIdentity).all()
        assert (known.issuer, known.subject) == (provider.issuer, "ada")


def test_groups_decide_at_each_sign_in(app: Flask, provider: OidcProvider) -> None:
    """Also in one environment; what they give no longer is taken away, and with the last of it the sessions."""
    with app.app_context():
        prod = environments.create("prod", COMMAND_LINE).id

    def roles() -> tuple[str | None, dict[str, str]]:
        with app.app_context():
            account = db.session.query(Account).one()
            return account.role, {each.environment_id: each.role for each in account.grants}

    provider.person("bob", "sre")
    visitor, _ = come(app, "bob")
    assert roles() == ("admin", {})
    provider.person("bob", "staff", "team-a")
    come(app, "bob")
    assert roles() == ("viewer", {prod: "editor"})
    assert visitor.get("/settings").status_code == 403
    provider.person("bob", "team-a")
    come(app, "bob")
    assert roles() == (None, {prod: "editor"})
    assert visitor.get(f"/environments/{prod}").status_code == 200
    provider.person("bob", "others")
    other, answer = come(app, "bob")
    assert answer.status_code == 403
    assert "none of your groups gives you a role" in answer.text
    assert roles() == (None, {})
    assert visitor.get("/").status_code == other.get("/").status_code == 302


def test_whoever_has_no_mapped_group_gets_a_page_and_no_account(app: Flask, provider: OidcProvider) -> None:
    """It says who they are there, and leads to another account of theirs."""
    provider.person("eve", "others")
    visitor, answer = come(app, "eve")
    assert answer.status_code == 403
    assert "eve@example.org" in answer.text
    assert "choose" in answer.text
    assert visitor.get("/account").status_code == 302
    with app.app_context():
        assert db.session.query(Account).all() == []


def test_groups_may_be_in_the_user_info_alone_and_inside_of_other_claims(
    make_app: Make, provider: OidcProvider
) -> None:
    """The user info must be of the same subject."""
    app = make_app(**provider.settings(SIGNALBOX_OIDC_GROUPS_CLAIM="realm.groups"))
    provider.person("ida", realm={"groups": ["staff"]})
    provider.fault("only in the user info")
    visitor, answer = come(app, "ida")
    assert answer.status_code == 302
    assert "ida@example.org, viewer" in visitor.get("/account").text


@pytest.mark.parametrize(
    "fault",
    [
        "nonce", "no nonce", "audience", "party", "issuer", "expired", "subject", "access token", "none",
        "public key as secret", "key",
    ],
)  # fmt: skip
def test_a_token_that_is_wrong_in_one_way_lets_nobody_in(
    app: Flask, provider: OidcProvider, fault: str
) -> None:
    """It is a sentence on the form, with a status, and the account is not made."""
    provider.person("mal", "sre")
    provider.fault(fault)
    visitor, answer = come(app, "mal")
    assert answer.status_code == 403
    assert "was not accepted" in alert(answer)
    assert visitor.get("/").status_code == 302
    with app.app_context():
        assert db.session.query(Account).all() == []


def test_user_info_of_somebody_else_lets_nobody_in(make_app: Make, provider: OidcProvider) -> None:
    """Where it is asked at all."""
    app = make_app(**provider.settings(SIGNALBOX_OIDC_GROUPS_CLAIM="elsewhere"))
    provider.person("mal", "sre")
    provider.fault("user info")
    _, answer = come(app, "mal")
    assert (answer.status_code, "somebody else" in alert(answer)) == (403, True)


def test_an_answer_is_good_once_and_in_the_browser_that_asked(app: Flask, provider: OidcProvider) -> None:
    """Another state, another browser, the same answer again, a code that is none, a refusal of the provider's."""
    provider.person("ada", "sre")
    visitor, other = Visitor(app.test_client()), Visitor(app.test_client())
    back = from_provider(to_provider(visitor), "ada")
    to_provider(other)
    assert other.get(back).status_code == 403
    code = parse_qs(urlsplit(back).query)["code"][0]
    assert visitor.get(f"/sign-in/oidc/callback?code={code}&state=made-up").status_code == 403
    assert visitor.get(back).status_code == 302
    assert visitor.get(back).status_code == 403
    assert visitor.get("/sign-in/oidc/callback").status_code == 403
    state = parse_qs(urlsplit(to_provider(other)).query)["state"][0]
    answer = other.get(f"/sign-in/oidc/callback?code=made-up&state={state}")
    assert (answer.status_code, "refused the code" in alert(answer)) == (403, True)
    provider.fault("denied")
    denied = requests.get(to_provider(other), timeout=30, allow_redirects=False).headers["Location"]
    parts = urlsplit(denied)
    answer = other.get(f"{parts.path}?{parts.query}")
    assert (answer.status_code, "(access_denied)" in alert(answer)) == (403, True)


def test_a_provider_that_is_away_is_a_sentence_and_passwords_still_work(make_app: Make) -> None:
    """Nothing listens there; nor is the page itself slower for it."""
    with_nobody = ReservedPort()
    app = make_app(
        SIGNALBOX_OIDC_ISSUER=f"http://127.0.0.1:{with_nobody.port}",
        SIGNALBOX_OIDC_CLIENT_ID="x",
        SIGNALBOX_OIDC_ROLES='{"sre": "admin"}',
    )
    make_account(app, "ada@example.org", PASSWORD, "admin")
    visitor = Visitor(app.test_client())
    for path in ("/sign-in/oidc", "/sign-in/oidc/leave"):
        answer = visitor.get(path)
        assert answer.status_code == 503
        assert "does not answer as it should" in alert(answer)
        assert int(answer.headers["Retry-After"]) > 0
    assert visitor.post("/sign-in", "/sign-in", email="ada@example.org", password=PASSWORD).status_code == 302
    assert visitor.get("/").status_code == 200
    with_nobody.release()


def test_a_provider_that_hangs_is_given_up(
    app: Flask, provider: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes the connection and says nothing."""
    monkeypatch.setattr(oidc_provider, "STEP_SECONDS", 0.3)
    provider.suspend()
    try:
        answer = Visitor(app.test_client()).get("/sign-in/oidc")
    finally:
        provider.resume()
    assert answer.status_code == 503


def test_doctor_asks_the_provider(make_app: Make, provider: OidcProvider) -> None:
    """And says which redirect URI it must know, or what to look at."""
    url = "https://signalbox.example"

    def said(**settings: str) -> str:
        done = make_app(**provider.settings(**settings)).test_cli_runner().invoke(args=["doctor"])
        (line,) = [line for line in done.output.splitlines() if " provider: " in line]
        return line

    line = f"ok    provider: answers; our redirect URI is {url}/sign-in/oidc/callback"
    assert said(SIGNALBOX_PUBLIC_URL=url) == line
    assert said().startswith("warn  provider: answers, but")
    provider.fault("discovery")
    assert "another issuer" in said()


def test_a_document_of_another_issuer_is_not_used(app: Flask, provider: OidcProvider) -> None:
    """Else its keys would vouch for ours."""
    provider.fault("discovery")
    assert Visitor(app.test_client()).get("/sign-in/oidc").status_code == 503


def test_new_keys_of_the_provider_are_found(app: Flask, provider: OidcProvider) -> None:
    """Without waiting until the old ones are forgotten."""
    provider.person("ada", "sre")
    assert come(app, "ada")[1].status_code == 302
    provider.new_key()
    assert come(app, "ada")[1].status_code == 302


def test_signing_out_says_that_the_provider_still_knows_them(app: Flask, provider: OidcProvider) -> None:
    """And leads to its own page for that, which leads back."""
    provider.person("ada", "sre")
    visitor, _ = come(app, "ada")
    answer = visitor.post("/sign-out", "/account")
    assert answer.location == "/sign-in?left=provider"
    assert "Sign out there, too" in visitor.get(answer.location).text
    address = visitor.get("/sign-in/oidc/leave").location
    told = requests.get(address, timeout=30).json()
    assert told == {
        "client_id": "signalbox-tests",
        "post_logout_redirect_uri": "http://localhost/sign-in",
    }


def test_local_accounts_can_be_turned_off_and_there_is_a_way_back_in(
    make_app: Make, provider: OidcProvider
) -> None:
    """No form, no password, no setup page; sessions that began with a password are over; a code lets an admin in."""
    make_account(before := make_app(), "ada@example.org", PASSWORD, "admin")
    old = Visitor(before.test_client())
    old.post("/sign-in", "/sign-in", email="ada@example.org", password=PASSWORD)
    assert old.get("/").status_code == 200
    app = make_app(**provider.settings(SIGNALBOX_LOCAL_ACCOUNTS="off"))
    moved = Visitor(app.test_client())
    cookie = old.client.get_cookie("signalbox_session")
    assert cookie is not None
    moved.client.set_cookie("signalbox_session", cookie.value)
    assert moved.get("/").status_code == 302
    visitor = Visitor(app.test_client())
    page = visitor.get("/sign-in").text
    assert 'name="password"' not in page
    answer = visitor.post("/sign-in", "/recover", email="ada@example.org", password=PASSWORD)
    assert answer.status_code == 403
    assert visitor.post("/setup", "/recover", code="x").status_code == 403
    done = app.test_cli_runner().invoke(args=["account", "recover", "Ada@example.org"])
    code = done.stdout.strip()
    assert re.fullmatch(r"sbx_recover_[0-9a-f]{32}_[0-9a-f]{64}", code), done.output
    assert visitor.post("/recover", "/recover", code=code[:-1] + "x").status_code == 401
    answer = visitor.post("/recover", "/recover", code=f" {code} ")
    assert (answer.status_code, answer.location) == (302, "/account")
    assert "with a code from the command line" in visitor.get("/account").text
    assert visitor.post("/account/password", "/account", present=PASSWORD, new="x" * 9).status_code == 403
    assert Visitor(app.test_client()).post("/recover", "/recover", code=code).status_code == 401


def test_the_setup_code_and_the_provider_both_make_the_first_account(
    make_app: Make, provider: OidcProvider
) -> None:
    """The form leads to both; where local accounts are off only the provider does."""
    visitor = Visitor(make_app(**provider.settings()).test_client())
    page = visitor.get("/sign-in").text
    assert "Sign in with Example ID" in page
    assert 'href="/setup"' in page
    assert visitor.get("/setup").status_code == 200
    visitor = Visitor(make_app(**provider.settings(SIGNALBOX_LOCAL_ACCOUNTS="off")).test_client())
    assert 'href="/setup"' not in visitor.get("/sign-in").text
    assert visitor.get("/setup").location == "/sign-in"


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"SIGNALBOX_OIDC_ISSUER": "http://id.example.org"}, "SIGNALBOX_OIDC_ISSUER"),
        ({"SIGNALBOX_OIDC_ISSUER": ""}, "SIGNALBOX_OIDC_ISSUER"),
        ({"SIGNALBOX_OIDC_CLIENT_ID": ""}, "SIGNALBOX_OIDC_CLIENT_ID"),
        ({"SIGNALBOX_OIDC_ROLES": ""}, "SIGNALBOX_OIDC_ROLES"),
        ({"SIGNALBOX_OIDC_ROLES": '{"a": "root"}'}, "SIGNALBOX_OIDC_ROLES"),
        ({"SIGNALBOX_OIDC_ROLES": '{"a": {"role": "admin", "enviroment": "x"}}'}, "SIGNALBOX_OIDC_ROLES"),
        ({"SIGNALBOX_LOCAL_ACCOUNTS": "maybe"}, "SIGNALBOX_LOCAL_ACCOUNTS"),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changed: dict[str, str], named: str) -> None:
    """In one sentence that says what to set."""
    good = {
        **SECRETS,
        "SIGNALBOX_OIDC_ISSUER": "https://id.example.org",
        "SIGNALBOX_OIDC_CLIENT_ID": "x",
        "SIGNALBOX_OIDC_ROLES": '{"a": ["viewer", {"role": "admin", "environment": "prod"}]}',
    }
    read = Settings.from_environ(good).oidc
    assert read is not None
    assert [(each.role, each.environment) for each in read.roles["a"]] == [
        ("viewer", None),
        ("admin", "prod"),
    ]
    with pytest.raises(SettingsError, match=named):
        Settings.from_environ({**good, **changed})
    with pytest.raises(SettingsError, match="SIGNALBOX_OIDC_ISSUER"):
        Settings.from_environ({**SECRETS, "SIGNALBOX_LOCAL_ACCOUNTS": "off"})
