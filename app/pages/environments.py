"""The environments page: make one, its token with which nodes join, and what agents may say to selectors."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import enrollment, environments, selectable_keys
from app.config import Settings
from app.errors import ConflictError, InvalidInputError, SignalboxError
from app.pages import roles, words
from app.tokens import MintedToken

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
    return redirect(url_for("pages.environments.index"))


@bp.post("/<environment_id>/enrollment-token")
@roles.needs("admin")
def rotate_token(environment_id: str) -> ResponseReturnValue:
    """Make a new enrollment token; this answer alone shows it: neither cookie nor address may carry it.

    So it cannot be a redirect; a reload sends the form again, and the form says which token is to be replaced.
    """
    present = request.form.get("instead_of")
    try:
        minted = enrollment.rotate_token(environment_id, roles.actor(), instead_of=present)
    except ConflictError:
        flash(
            "That form has been used: the token was made, and is shown only once. Nothing was changed now.",
            "busy",
        )
        return redirect(url_for("pages.environments.index"))
    return _page(minted=minted, minted_for_id=environment_id)


@bp.post("/<environment_id>/selectable-keys")
@roles.needs("admin")
def allow_keys(environment_id: str) -> ResponseReturnValue:
    """Say which keys of agents' own labels selectors look at: one a line, or with commas between."""
    name = environments.get(environment_id).name
    typed = request.form.get("keys", "").replace("\r\n", "\n")
    keys = typed.replace(",", " ").split()
    try:
        concerned = selectable_keys.allow(environment_id, keys, roles.actor())
    except InvalidInputError as error:
        return _page(problem=error, refused_keys={environment_id: typed}), error.status
    allowed = "the keys " + ", ".join(sorted(set(keys))) if keys else "no key"
    flash(
        f"{name} allows its agents {allowed}. {words.plural(concerned, 'node')} had to be told.",
        "good",
    )
    return redirect(url_for("pages.environments.index", _anchor=f"keys-{environment_id}"))


def server_url() -> str:
    """How a node reaches this server: the public URL where it is set, else as the browser did."""
    settings: Settings = current_app.extensions["settings"]
    return settings.public_url or request.url_root.rstrip("/")


def _page(
    problem: SignalboxError | None = None,
    name: str = "",
    minted: MintedToken | None = None,
    minted_for_id: str | None = None,
    refused_keys: dict[str, str] | None = None,
) -> str:
    page = environments.listing(limit=100, cursor=request.args.get("cursor") or None)
    return render_template(
        "environments/index.html",
        environments=page.items,
        next_cursor=page.next_cursor,
        problem=problem,
        name=name,
        minted=minted,
        minted_for=environments.get(minted_for_id) if minted_for_id else None,
        server_url=server_url(),
        refused_keys=refused_keys,
    )
