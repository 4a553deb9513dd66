"""The first-run page: makes the first account, while there is none."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import first_account, passwords
from app.errors import ConflictError, InvalidInputError, SignalboxError, TooManyRequestsError
from app.pages import security, sign_in

bp = Blueprint("setup", __name__)
bp.after_request(security.keep_private)


@bp.get("/setup")
def form() -> ResponseReturnValue:
    """The form, and its code in the log; once there is an account the way to sign in."""
    if not first_account.is_needed() or not sign_in.settings().local_accounts:
        return redirect(url_for("sign_in.form"))
    first_account.log_code()
    return _page()


@bp.post("/setup")
def create() -> ResponseReturnValue:
    """Make the account and sign in with it.

    :raises ForbiddenError: local accounts are turned off.
    """
    sign_in.require_local_accounts()
    typed, password = request.form, request.form.get("password", "")
    try:
        if password != typed.get("again", ""):
            message = "the two are not the same"
            raise InvalidInputError(
                f"The password cannot be used: {message}.", [{"field": "again", "message": message}]
            )
        account = first_account.create(
            typed.get("email", ""), password, typed.get("code", ""), request.remote_addr
        )
    except ConflictError as error:
        return render_template("setup_taken.html", sentence=error.sentence), error.status
    except (InvalidInputError, TooManyRequestsError) as error:
        return sign_in.refusal(_page(error), error)
    return sign_in.enter(account, "setup", url_for("pages.fleet.index"))


def _page(problem: SignalboxError | None = None) -> str:
    """The form with what was typed, but for the passwords."""
    return render_template(
        "setup.html",
        problem=problem,
        wrong={detail["field"]: detail["message"] for detail in problem.details} if problem else {},
        code=request.form.get("code", ""),
        email=request.form.get("email", ""),
        least=passwords.LEAST_PASSWORD_CHARACTERS,
    )
