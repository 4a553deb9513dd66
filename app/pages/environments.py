"""The environments page: all of them, and making one."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import environments
from app.config import Settings
from app.errors import SignalboxError
from app.pages import roles

bp = Blueprint("environments", __name__, url_prefix="/environments")


@bp.get("")
def index() -> ResponseReturnValue:
    """All environments, newest first."""
    return _page()


@bp.post("")
@roles.needs("admin")
def create() -> ResponseReturnValue:
    """Make an environment."""
    name = request.form.get("name", "").strip()
    try:
        environment = environments.create(name, roles.actor())
    except SignalboxError as error:
        return _page(problem=error, name=name), error.status
    flash(f"Made the environment {environment.name}. Next: make its token, with which nodes join.", "good")
    return redirect(url_for("pages.environments.show", environment_id=environment.id))


def server_url() -> str:
    """How a node reaches this server: the public URL where it is set, else as the browser did."""
    settings: Settings = current_app.extensions["settings"]
    return settings.public_url or request.url_root.rstrip("/")


def _page(problem: SignalboxError | None = None, name: str = "") -> str:
    page = environments.listing(limit=100, cursor=request.args.get("cursor") or None)
    return render_template(
        "environments/index.html",
        environments=page.items,
        next_cursor=page.next_cursor,
        problem=problem,
        name=name,
    )
