"""API tokens: all of them, one that is made, and its end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, api_tokens, environments
from app.clock import utc_now
from app.errors import InvalidInputError, SignalboxError
from app.principal import ROLES

PAGE_SIZE = 100
REVOKED_SHOWN = 50
MOST_TYPED = 300
SPANS = {"7": "in 7 days", "30": "in 30 days", "90": "in 90 days", "365": "in a year", "": "never"}
"""Choices of when a new token ends, in days."""

bp = Blueprint("tokens", __name__, url_prefix="/tokens")


@bp.get("")
def index() -> ResponseReturnValue:
    """Those that are good or were until they expired, then those that were revoked, and the form for a new one."""
    return _index()


@bp.post("")
def create() -> ResponseReturnValue:
    """Make one; its text is shown on the page that answers, and never again."""
    typed = _typed()
    try:
        row, text = api_tokens.create(
            typed["name"],
            access.principal(),
            access.actor(),
            role=typed["role"],
            environment_id=typed["environment"] or None,
            expires_at=_expiry(typed["days"]),
            may_approve=typed["approves"] == "yes",
        )
    except SignalboxError as error:
        return _index(error, typed), error.status
    return _index(made=row.name, text=text)


@bp.post("/<api_token_id>/revoke")
def revoke(api_token_id: str) -> ResponseReturnValue:
    """End it at once."""
    row = api_tokens.revoke(api_token_id, access.actor())
    flash(f"Revoked the token {row.name}: from its next request on it is refused.", "good")
    return redirect(url_for("pages.tokens.index"))


def _expiry(days: str) -> datetime | None:
    """The end of the day that lies so many days ahead, in UTC.

    :raises InvalidInputError: it is none of the choices.
    """
    if days not in SPANS:
        message = "choose one of those that are offered"
        raise InvalidInputError(
            f"The expiry cannot be used: {message}.", [{"field": "days", "message": message}]
        )
    if not days:
        return None
    day = (utc_now() + timedelta(days=int(days))).date()
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)


def _typed() -> dict[str, str]:
    return {
        name: request.form.get(name, "").strip()[:MOST_TYPED]
        for name in ("name", "role", "environment", "days", "approves")
    }


def _index(
    problem: SignalboxError | None = None,
    typed: dict[str, str] | None = None,
    *,
    made: str | None = None,
    text: str | None = None,
) -> str:
    within = access.where("admin")
    page = api_tokens.listing(
        within, is_revoked=False, limit=PAGE_SIZE, cursor=request.args.get("cursor") or None
    )
    revoked = api_tokens.listing(within, is_revoked=True, limit=REVOKED_SHOWN)
    return render_template(
        "tokens/index.html",
        tokens=page.items,
        next_cursor=page.next_cursor,
        revoked=revoked.items,
        expiring=api_tokens.count_expiring(within),
        environments=environments.choices(within),
        is_overall=within is None,
        roles=ROLES,
        spans=SPANS,
        made=made,
        text=text,
        problem=problem,
        typed=typed or {"name": "", "role": "viewer", "environment": "", "days": "90", "approves": ""},
    )
