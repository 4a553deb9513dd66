"""Agents that present another system's token: a list, and making nodes of them."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, adoption, environments
from app.errors import InvalidInputError, UnavailableError

bp = Blueprint("adoption", __name__, url_prefix="/adoption")


@bp.get("")
def index() -> ResponseReturnValue:
    """Those that were refused within the hour."""
    return _page()


@bp.post("/<fingerprint>")
def adopt(fingerprint: str) -> ResponseReturnValue:
    """Make a node of one."""
    form = request.form
    name = form.get("name", "").strip()
    try:
        node_id = adoption.adopt(fingerprint, form.get("environment_id", ""), name or None, access.actor())
    except InvalidInputError as error:
        return _page(error), error.status
    flash(
        "Adopted: its next request is answered as a node's. Give it labels, if pipelines select by them.",
        "good",
    )
    return redirect(url_for("pages.nodes.show", node_id=node_id))


def _page(problem: InvalidInputError | None = None) -> str:
    try:
        refused, away = adoption.listing(), None
    except UnavailableError as error:
        refused, away = [], error.sentence
    return render_template(
        "adoption.html", refused=refused, away=away, environments=environments.choices(), problem=problem
    )
