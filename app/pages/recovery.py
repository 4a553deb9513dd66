"""The page for the code of ``flask account recover``. A form and no link: what fetches links would use it up."""

from __future__ import annotations

from flask import Blueprint, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import recovery
from app.errors import UnauthorizedError
from app.pages import security, sign_in

bp = Blueprint("recovery", __name__)
bp.after_request(security.keep_private)


@bp.get("/recover")
def form() -> ResponseReturnValue:
    """Asks for the code."""
    return render_template("account/recover.html", sentence=None)


@bp.post("/recover")
def redeem() -> ResponseReturnValue:
    """Sign in with it, once."""
    try:
        account = recovery.redeem(request.form.get("code", ""))
    except UnauthorizedError as error:
        page = render_template("account/recover.html", sentence=error.sentence)
        return sign_in.refusal(page, error)
    return sign_in.enter(account, "recovery", url_for("pages.account.index"))
