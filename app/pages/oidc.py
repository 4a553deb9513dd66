"""Signing in at the provider: to it, back from it, and out of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from app import oidc, oidc_accounts
from app.errors import ForbiddenError, NotFoundError, UnavailableError
from app.oidc import Attempt, Rejected
from app.oidc_accounts import NoRoleError
from app.pages import security, sign_in

if TYPE_CHECKING:
    from app.oidc_provider import Provider

MOST_ATTEMPTS = 3
"""Of one browser at once, in several tabs: they are in its cookie."""
MOST_WANTED_CHARACTERS = 500

bp = Blueprint("oidc", __name__, url_prefix="/sign-in/oidc")
bp.after_request(security.keep_private)


@bp.get("")
def begin() -> ResponseReturnValue:
    """Send the browser to the provider."""
    wanted = sign_in.safe_next(request.args.get("next"))
    if len(wanted) > MOST_WANTED_CHARACTERS:
        wanted = url_for("pages.fleet.index")
    try:
        address, attempt = _provider().begin(
            _external("oidc.callback"), wanted, choose="choose" in request.args
        )
    except UnavailableError as error:
        return sign_in.refusal(sign_in.page(wanted, sentence=error.sentence), error)
    session["oidc"] = [*session.get("oidc", [])[1 - MOST_ATTEMPTS :], attempt.to_cookie()]
    return redirect(address)


@bp.get("/callback")
def callback() -> ResponseReturnValue:
    """Sign in whoever comes back, if all of it is right."""
    provider, state = _provider(), request.args.get("state", "")
    attempts = [Attempt.from_cookie(each) for each in session.get("oidc", [])]
    attempt = next((each for each in attempts if each.state == state), None)
    session["oidc"] = [each.to_cookie() for each in attempts if each != attempt]
    wanted = attempt.wanted if attempt is not None else url_for("pages.fleet.index")
    try:
        if attempt is None:
            raise Rejected(
                "This answer belongs to no sign-in of this browser, or to an old one; start again."
            )
        if "code" not in request.args:
            why = "".join(each for each in request.args.get("error", "") if each.isprintable())[:80]
            raise Rejected(f"{provider.settings.label} did not sign you in ({why or 'no reason given'}).")
        identity = provider.finish(attempt, state, request.args["code"])
        account = oidc_accounts.admit(identity, provider.settings.roles, request.remote_addr)
    except NoRoleError as error:
        page = render_template("account/no_role.html", error=error, label=provider.settings.label)
        return sign_in.refusal(page, error)
    except (ForbiddenError, UnavailableError) as error:
        return sign_in.refusal(sign_in.page(wanted, sentence=error.sentence), error)
    return sign_in.enter(account, "oidc", wanted)


@bp.get("/leave")
def leave() -> ResponseReturnValue:
    """Go on to the provider's own page for signing out, if it has one."""
    provider = _provider()
    try:
        address = provider.leaving_address(_external("sign_in.form"))
    except UnavailableError as error:
        return sign_in.refusal(sign_in.page(sentence=error.sentence), error)
    if address is None:
        return sign_in.page(
            sentence=f"{provider.settings.label} has no page for that: sign out there by its own way."
        )
    return redirect(address)


def _provider() -> Provider:
    provider = oidc.provider()
    if provider is None:
        raise NotFoundError("Signing in at a provider is not set up on this server.")
    return provider


def _external(endpoint: str) -> str:
    """The address as browsers reach it."""
    return (sign_in.settings().public_url or request.url_root.rstrip("/")) + url_for(endpoint)
