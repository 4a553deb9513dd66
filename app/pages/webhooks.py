"""Webhooks: all of them, and one with its queue and its log."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, environments, webhooks
from app.config import Settings
from app.errors import SignalboxError
from app.webhook_events import EVENTS
from app.webhooks import Wanted

PAGE_SIZE = 50
MOST_TYPED = 2000

bp = Blueprint("webhooks", __name__, url_prefix="/webhooks")


@bp.get("")
def index() -> ResponseReturnValue:
    """All of them, newest first, and the form for a new one."""
    return _index()


@bp.post("")
def create() -> ResponseReturnValue:
    """Make one; its secret is shown on the page that answers, and never again."""
    typed = _typed()
    environment_id = str(typed["environment"]) or None
    if environment_id is None:
        access.require_overall("admin")
    else:
        access.require("admin", environment_id)
    try:
        row, secret = webhooks.create(
            str(typed["name"]),
            str(typed["url"]),
            list(typed["events"]),
            access.actor(),
            environment_id=environment_id,
        )
    except SignalboxError as error:
        return _index(error, typed), error.status
    return _show(row.id, secret=secret)


@bp.get("/<webhook_id>")
def show(webhook_id: str) -> ResponseReturnValue:
    """One, with what was and is to be sent."""
    return _show(webhook_id)


@bp.post("/<webhook_id>")
def update(webhook_id: str) -> ResponseReturnValue:
    """Change name, address and events."""
    typed = _typed()
    wanted = Wanted(str(typed["name"]), str(typed["url"]), list(typed["events"]))
    try:
        webhooks.update(webhook_id, wanted, access.actor())
    except SignalboxError as error:
        return _show(webhook_id, problem=error, typed=typed), error.status
    flash("Saved; what waits goes to the address as it is now.", "good")
    return _back(webhook_id)


@bp.post("/<webhook_id>/enable")
def enable(webhook_id: str) -> ResponseReturnValue:
    """Enable it, or disable it: then it hears of nothing new, and what waits stays."""
    is_wanted = request.form.get("enabled") == "yes"
    webhooks.update(webhook_id, Wanted(enabled=is_wanted), access.actor())
    flash(
        "Enabled; what waits is sent now." if is_wanted else "Disabled; what waits stays in the queue.",
        "good",
    )
    return _back(webhook_id)


@bp.post("/<webhook_id>/secret")
def new_secret(webhook_id: str) -> ResponseReturnValue:
    """Another secret, shown on the page that answers, and never again."""
    return _show(webhook_id, secret=webhooks.new_secret(webhook_id, access.actor()))


@bp.post("/<webhook_id>/test")
def send_test(webhook_id: str) -> ResponseReturnValue:
    """Put a test into the queue."""
    webhooks.send_test(webhook_id, access.actor())
    flash("A test is on its way; the first line of the log says how it went.", "good")
    return _back(webhook_id)


@bp.post("/<webhook_id>/deliveries/<delivery_id>/resend")
def resend(webhook_id: str, delivery_id: str) -> ResponseReturnValue:
    """Send once more what was sent, or could not be."""
    webhooks.resend(webhook_id, delivery_id, access.actor())
    flash("It is sent once more; the first line of the log says how it went.", "good")
    return _back(webhook_id)


@bp.post("/<webhook_id>/delete")
def delete(webhook_id: str) -> ResponseReturnValue:
    """Delete it, with its queue and its log."""
    name = webhooks.get(webhook_id).name
    webhooks.delete(webhook_id, access.actor())
    flash(f"Deleted the webhook {name}.", "good")
    return redirect(url_for("pages.webhooks.index"))


def _back(webhook_id: str) -> ResponseReturnValue:
    return redirect(url_for("pages.webhooks.show", webhook_id=webhook_id))


def _typed() -> dict[str, str | list[str]]:
    return {
        "name": request.form.get("name", "").strip()[:MOST_TYPED],
        "url": request.form.get("url", "").strip()[: MOST_TYPED + 1],
        "environment": request.form.get("environment", "").strip()[:MOST_TYPED],
        "events": request.form.getlist("events")[: len(EVENTS) + 1],
    }


def _index(problem: SignalboxError | None = None, typed: dict[str, str | list[str]] | None = None) -> str:
    within = access.where("admin")
    page = webhooks.listing(within=within, limit=PAGE_SIZE, cursor=request.args.get("cursor") or None)
    return render_template(
        "webhooks/index.html",
        webhooks=page.items,
        next_cursor=page.next_cursor,
        environments=environments.choices(within),
        events=EVENTS,
        problem=problem,
        typed=typed or {"name": "", "url": "", "environment": "", "events": list(EVENTS)},
    )


def _show(
    webhook_id: str,
    *,
    secret: str | None = None,
    problem: SignalboxError | None = None,
    typed: dict[str, str | list[str]] | None = None,
) -> str:
    row = webhooks.get(webhook_id)
    page = webhooks.deliveries(webhook_id, limit=PAGE_SIZE, cursor=request.args.get("cursor") or None)
    settings: Settings = current_app.extensions["settings"]
    return render_template(
        "webhooks/show.html",
        webhook=row,
        environment_name=environments.get(row.environment_id).name if row.environment_id else None,
        deliveries=page.items,
        next_cursor=page.next_cursor,
        events=EVENTS,
        networks=settings.webhook_networks,
        secret=secret,
        problem=problem,
        typed=typed or {"name": row.name, "url": row.url, "events": row.events},
    )
