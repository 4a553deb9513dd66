"""An admin's look at where somebody else is signed in, and the end of that."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue

from app import access, account_admin, sessions
from app.pages import questions, words
from app.pages.sign_in import own_session_id
from app.user_agents import in_words

bp = Blueprint("account_sessions", __name__, url_prefix="/accounts/<account_id>/sessions")


@bp.get("")
def index(account_id: str) -> ResponseReturnValue:
    """The account's sessions."""
    return render_template(
        "account/of_another.html",
        email=account_admin.get(account_id).email,
        account_id=account_id,
        sessions=sessions.listing(account_id),
        own_session_id=own_session_id(),
        methods=sessions.METHODS,
        in_words=in_words,
    )


@bp.post("/<session_id>/end")
def end_session(account_id: str, session_id: str) -> ResponseReturnValue:
    """End one of them."""
    sessions.end(account_id, session_id, access.actor())
    flash("The session was ended.", "good")
    return redirect(url_for("pages.account_sessions.index", account_id=account_id))


@bp.post("/end")
def end_all(account_id: str) -> ResponseReturnValue:
    """End all of them, after a question."""
    email, count = account_admin.get(account_id).email, len(sessions.listing(account_id))
    back = url_for("pages.account_sessions.index", account_id=account_id)
    if count and not questions.is_confirmed():
        return questions.ask(
            f"Sign {email} out everywhere?",
            [
                f"Ends {words.plural(count, 'session')} within seconds. Its owner can sign in again; to prevent that,"
                " disable the account."
            ],
            button="End them",
            back=back,
        )
    count = sessions.end_all(account_id, access.actor())
    flash(f"{words.plural(count, 'session')} ended." if count else "There was no session.", "good")
    return redirect(back)
