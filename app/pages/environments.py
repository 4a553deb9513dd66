"""The environments page: all of them, making one, and what agents may say to selectors."""

from __future__ import annotations

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, environments, selectable_keys
from app.config import Settings
from app.errors import InvalidInputError, SignalboxError
from app.pages import questions, words

bp = Blueprint("environments", __name__, url_prefix="/environments")


@bp.get("")
def index() -> ResponseReturnValue:
    """All environments, newest first."""
    return _page()


@bp.post("")
def create() -> ResponseReturnValue:
    """Make an environment."""
    name = request.form.get("name", "").strip()
    try:
        environment = environments.create(name, access.actor())
    except SignalboxError as error:
        return _page(problem=error, name=name), error.status
    flash(f"Made the environment {environment.name}. Next: make its token, with which nodes join.", "good")
    return redirect(url_for("pages.environments.show", environment_id=environment.id))


@bp.post("/<environment_id>/selectable-keys")
def allow_keys(environment_id: str) -> ResponseReturnValue:
    """Say which keys of agents' own labels selectors look at: one a line, or with commas between."""
    name = environments.get(environment_id).name
    typed = request.form.get("keys", "").replace("\r\n", "\n")
    keys = typed.replace(",", " ").split()
    try:
        number = 0 if questions.is_confirmed() else selectable_keys.count_concerned(environment_id, keys)
        if number:
            concerned_nodes = words.plural(number, "node")
            return questions.ask(
                f"Change what {concerned_nodes} run?" if number > 1 else "Change what 1 node runs?",
                [
                    f"With these keys {concerned_nodes} of {name} must run something else: pipelines that match no"
                    " longer stop there, and those that match from then on start."
                ],
                button="Allow these keys",
                back=url_for("pages.environments.index", _anchor=f"keys-{environment_id}"),
            )
        concerned = selectable_keys.allow(environment_id, keys, access.actor())
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
    problem: SignalboxError | None = None, name: str = "", refused_keys: dict[str, str] | None = None
) -> str:
    page = environments.listing(
        limit=100, cursor=request.args.get("cursor") or None, within=access.where("viewer")
    )
    return render_template(
        "environments/index.html",
        environments=page.items,
        next_cursor=page.next_cursor,
        problem=problem,
        name=name,
        refused_keys=refused_keys,
    )
