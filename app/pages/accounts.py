"""Accounts, for admins: all of them, and one with its roles, its password and its end."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, account_admin, environments
from app.account_admin import AccountRow, Wanted
from app.errors import SignalboxError
from app.pages import questions
from app.principal import ROLES

PAGE_SIZE = 50
MOST_TYPED = 300
GRANT = "grant-"
"""Before an environment's id: the field with the account's role in it."""

bp = Blueprint("accounts", __name__, url_prefix="/accounts")


@dataclass(frozen=True)
class Typed:
    """What stands in the form: roles as they were chosen, empty for none."""

    email: str = ""
    role: str = ""
    grants: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_request(cls) -> Typed:
        """Read the form."""
        form = request.form
        grants = {
            name.removeprefix(GRANT): role[:MOST_TYPED]
            for name, role in form.items()
            if name.startswith(GRANT) and role
        }
        environment_id, role = form.get("environment", "")[:MOST_TYPED], form.get("environment_role", "")
        if environment_id and role:
            grants[environment_id] = role[:MOST_TYPED]
        return cls(form.get("email", "").strip()[:MOST_TYPED], form.get("role", "")[:MOST_TYPED], grants)

    @classmethod
    def of(cls, row: AccountRow) -> Typed:
        """As it is saved."""
        return cls(row.email, row.role or "", dict(row.grants))


@bp.get("")
def index() -> ResponseReturnValue:
    """All of them, newest first, and the form for a new one."""
    return _index()


@bp.post("")
def create() -> ResponseReturnValue:
    """Make one with a password that the page which answers shows, and no other."""
    typed = Typed.from_request()
    try:
        row, password = account_admin.create(
            typed.email, None, access.actor(), role=typed.role or None, grants=typed.grants
        )
    except SignalboxError as error:
        return _index(error, typed), error.status
    return _show(row.id, password=password)


@bp.get("/<account_id>")
def show(account_id: str) -> ResponseReturnValue:
    """One, with its roles."""
    return _show(account_id)


@bp.post("/<account_id>")
def save(account_id: str) -> ResponseReturnValue:
    """Give it these roles, overall and in environments."""
    typed = Typed.from_request()
    try:
        account_admin.update(account_id, Wanted(role=typed.role or None, grants=typed.grants), access.actor())
    except SignalboxError as error:
        return _show(account_id, error, typed), error.status
    flash("Saved; it holds from the next request of that account on.", "good")
    return redirect(url_for("pages.accounts.show", account_id=account_id))


@bp.post("/<account_id>/enable")
def enable(account_id: str) -> ResponseReturnValue:
    """Let it be used again, or disable it: then it is signed out everywhere, and nobody signs in with it."""
    is_wanted = request.form.get("enabled") == "yes"
    row = account_admin.get(account_id)
    if not is_wanted and not questions.is_confirmed():
        return questions.ask(
            f"Disable the account {row.email}?",
            [
                "It is signed out in every browser at once, and nobody signs in with it until it is enabled again."
                " No node is touched."
            ],
            button="Disable it",
            back=url_for("pages.accounts.show", account_id=account_id),
        )
    try:
        account_admin.update(account_id, Wanted(disabled=not is_wanted), access.actor())
    except SignalboxError as error:
        return _show(account_id, error), error.status
    flash("Enabled." if is_wanted else "Disabled, and signed out everywhere.", "good")
    return _back(account_id)


@bp.post("/<account_id>/password")
def new_password(account_id: str) -> ResponseReturnValue:
    """Another password, shown on the page that answers, and never again."""
    row = account_admin.get(account_id)
    if not questions.is_confirmed():
        return questions.ask(
            f"Give {row.email} a new password?",
            [
                "The present one ends at once, and the account is signed out in every browser. No node is touched."
            ],
            button="Make a new password",
            back=url_for("pages.accounts.show", account_id=account_id),
        )
    return _show(account_id, password=account_admin.set_password(account_id, None, access.actor()))


@bp.post("/<account_id>/delete")
def delete(account_id: str) -> ResponseReturnValue:
    """Delete it."""
    row = account_admin.get(account_id)
    if not questions.is_confirmed():
        return questions.ask(
            f"Delete the account {row.email}?",
            [
                "It is signed out in every browser at once, and its roles go with it. What it did stays in the audit"
                " log. No node is touched."
            ],
            button="Delete the account",
            back=url_for("pages.accounts.show", account_id=account_id),
        )
    try:
        account_admin.delete(account_id, access.actor())
    except SignalboxError as error:
        return _show(account_id, error), error.status
    flash(f"Deleted the account {row.email}.", "good")
    if account_id == access.principal().id:
        return redirect(url_for("sign_in.form"))
    return redirect(url_for("pages.accounts.index"))


def _back(account_id: str) -> ResponseReturnValue:
    """To the account's page, unless it is one's own and was just disabled."""
    return redirect(url_for("pages.accounts.show", account_id=account_id))


def _index(problem: SignalboxError | None = None, typed: Typed | None = None) -> str:
    page = account_admin.listing(limit=PAGE_SIZE, cursor=request.args.get("cursor") or None)
    choices = environments.choices()
    return render_template(
        "accounts/index.html",
        accounts=page.items,
        next_cursor=page.next_cursor,
        environments=choices,
        names={each.id: each.name for each in choices},
        roles=ROLES,
        problem=problem,
        typed=typed or Typed(role="viewer"),
    )


def _show(
    account_id: str,
    problem: SignalboxError | None = None,
    typed: Typed | None = None,
    password: str | None = None,
) -> str:
    row = account_admin.get(account_id)
    shown = typed or Typed.of(row)
    choices = environments.choices()
    return render_template(
        "accounts/show.html",
        account=row,
        environments=choices,
        names={each.id: each.name for each in choices},
        roles=ROLES,
        grant=GRANT,
        problem=problem,
        typed=shown,
        password=password,
        is_own=account_id == access.principal().id,
    )
