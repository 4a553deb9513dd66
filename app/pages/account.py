"""The page "Your account": where one has signed in, and one's password."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, logout_user

from app import access, passwords, sessions
from app.errors import ConflictError, InvalidInputError, SignalboxError, TooManyRequestsError
from app.pages import questions, words
from app.pages.sign_in import own_session_id, refusal, require_local_accounts, settings
from app.user_agents import in_words

bp = Blueprint("account", __name__, url_prefix="/account")


@bp.get("")
def index() -> ResponseReturnValue:
    """One's own sessions, and the form for another password."""
    return _page()


@bp.post("/sessions/<session_id>/end")
def end_session(session_id: str) -> ResponseReturnValue:
    """End one of one's own; with the present one that is signing out."""
    is_this_one = session_id == own_session_id()
    sessions.end(current_user.id, session_id, access.actor())
    if is_this_one:
        logout_user()
        return redirect(url_for("sign_in.form"))
    flash("The session was ended.", "good")
    return redirect(url_for("pages.account.index"))


@bp.post("/sessions/end-others")
def end_others() -> ResponseReturnValue:
    """End all of one's own but the present one, after a question."""
    others = len(sessions.listing(current_user.id)) - 1
    if others > 0 and not questions.is_confirmed():
        return questions.ask(
            "End all other sessions?",
            [
                f"Ends {words.plural(others, 'session')}: whoever uses one is signed out within seconds."
                " You stay signed in here."
            ],
            button="End them",
            back=url_for("pages.account.index"),
        )
    count = sessions.end_all(current_user.id, access.actor(), but=own_session_id())
    flash(f"{words.plural(count, 'session')} ended." if count else "There was no other session.", "good")
    return redirect(url_for("pages.account.index"))


@bp.post("/password")
def change_password() -> ResponseReturnValue:
    """Take another password; the other sessions end.

    :raises ForbiddenError: local accounts are turned off.
    """
    require_local_accounts()
    new = request.form.get("new", "")
    try:
        if new != request.form.get("again", ""):
            message = "the two are not the same"
            raise InvalidInputError(
                f"The password cannot be used: {message}.", [{"field": "again", "message": message}]
            )
        count = passwords.change(
            current_user.id,
            request.form.get("present", ""),
            new,
            access.actor(),
            session_id=own_session_id(),
        )
    except (ConflictError, InvalidInputError, TooManyRequestsError) as error:
        return refusal(_page(error), error)
    ended = f" {words.plural(count, 'other session')} ended." if count else ""
    flash(f"Your password was changed.{ended}", "good")
    return redirect(url_for("pages.account.index"))


def _page(problem: SignalboxError | None = None) -> str:
    return render_template(
        "account/index.html",
        sessions=sessions.listing(current_user.id),
        own_session_id=own_session_id(),
        methods=sessions.METHODS,
        in_words=in_words,
        problem=problem,
        wrong={detail["field"]: detail["message"] for detail in problem.details} if problem else {},
        has_password=bool(current_user.password_hash) and settings().local_accounts,
        least=passwords.LEAST_PASSWORD_CHARACTERS,
    )
