"""One environment's page: its nodes at a glance, its enrollment token, its name, and its end."""

from __future__ import annotations

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, agent_file, certificate_store, enrollment, environments, fleet, secret_store
from app.certificate_store import MAX_CERTIFICATES
from app.clock import utc_now
from app.errors import ConflictError, InvalidInputError, SignalboxError
from app.ids import is_id, new_id
from app.pages import live, questions
from app.pages.enrollment_commands import Commands, commands
from app.pages.environments import bp, server_url
from app.pages.fleet_counts import shared_counts
from app.pages.live import Picture
from app.pages.secrets import SOON
from app.secret_store import MAX_SECRETS

JOINED_SHOWN = 5


@bp.get("/<environment_id>")
def show(environment_id: str) -> ResponseReturnValue:
    """The page as it is now."""
    return _page(environment_id)


@bp.get("/<environment_id>/events")
def events(environment_id: str) -> ResponseReturnValue:
    """What changes on the page, as it changes."""
    after_id = _after_id()
    return live.events(lambda: paint(environment_id, after_id))


@bp.get("/<environment_id>/rows")
def rows(environment_id: str) -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    after_id = _after_id()
    return live.rows(lambda: paint(environment_id, after_id))


@bp.post("/<environment_id>")
def rename(environment_id: str) -> ResponseReturnValue:
    """Give it another name."""
    name = request.form.get("name", "").strip()
    try:
        environments.update(environment_id, access.actor(), name=name)
    except (ConflictError, InvalidInputError) as error:
        return _page(environment_id, rename_problem=error, name=name), error.status
    flash("Saved.", "good")
    return redirect(url_for("pages.environments.show", environment_id=environment_id))


@bp.post("/<environment_id>/protection")
def protect(environment_id: str) -> ResponseReturnValue:
    """Let deploys need somebody else's approval, or, once that was asked, not any more."""
    name = environments.get(environment_id).name
    is_wanted = request.form.get("protected") == "yes"
    back = url_for("pages.environments.show", environment_id=environment_id)
    if not is_wanted and not questions.is_confirmed():
        return questions.ask(
            f"End the protection of {name}?",
            [
                "From then on everybody with the role editor deploys there at once, without anybody else.",
                "What waits for approval stays, and can still be approved. No node is touched.",
            ],
            button="End the protection",
            back=back,
        )
    environments.update(environment_id, access.actor(), protected=is_wanted)
    flash(
        "Protected: from now on somebody else must approve what is deployed here."
        if is_wanted
        else "Not protected any more: editors deploy here at once.",
        "good",
    )
    return redirect(back)


@bp.post("/<environment_id>/enrollment-token")
def rotate_token(environment_id: str) -> ResponseReturnValue:
    """Make a new enrollment token; this answer alone shows it: neither cookie nor address may carry it.

    So it cannot be a redirect; a reload sends the form again, and the form says which token is to be replaced.
    """
    # Whatever enrolls with the new token has a later id: the old one has ended by then.
    after_id = new_id()
    try:
        minted = enrollment.rotate_token(
            environment_id, access.actor(), instead_of=request.form.get("instead_of")
        )
    except ConflictError:
        flash(
            "That form has been used: the token was made, and is shown only once. Nothing was changed now.",
            "busy",
        )
        return redirect(url_for("pages.environments.show", environment_id=environment_id))
    shown = commands(server_url(), minted.text, has_file=agent_file.current() is not None)
    return _page(environment_id, shown=shown, after_id=after_id)


@bp.post("/<environment_id>/enrollment-token/end")
def end_token(environment_id: str) -> ResponseReturnValue:
    """End the enrollment token without making another."""
    enrollment.end_token(environment_id, access.actor())
    flash("Ended the enrollment token: no node can join until you make another.", "good")
    return redirect(url_for("pages.environments.show", environment_id=environment_id))


@bp.post("/<environment_id>/delete")
def delete(environment_id: str) -> ResponseReturnValue:
    """Delete it, once its name was typed."""
    name = environments.get(environment_id).name
    typed = request.form.get("confirm", "").strip()
    try:
        if typed != name:
            message = f"type the name as it is: {name}"
            raise InvalidInputError(
                "The environment was not deleted.", [{"field": "confirm", "message": message}]
            )
        environments.delete(environment_id, access.actor())
    except (ConflictError, InvalidInputError) as error:
        return _page(environment_id, delete_problem=error, typed=typed), error.status
    flash(f"Deleted the environment {name}.", "good")
    return redirect(url_for("pages.environments.index"))


def paint(environment_id: str, after_id: str | None = None) -> Picture:
    """The picture of one environment; *after_id* sorts before those nodes that it waits for.

    :raises NotFoundError: there is no such environment.
    """
    environment = environments.get(environment_id)
    parts = {
        "counts": live.draw(
            "environments/counts.html", environment=environment, counts=shared_counts(environment_id)
        ),
    }
    parts["away"] = live.draw("environments/away.html")
    node_ids: frozenset[str] = frozenset()
    if after_id is not None:
        found = enrollment.joined_since(environment_id, after_id, JOINED_SHOWN + 1)
        nodes = sorted(fleet.rows(found[:JOINED_SHOWN]), key=lambda node: node.id)
        node_ids = frozenset(node.id for node in nodes)
        parts["joined"] = live.draw(
            "environments/joined.html",
            environment=environment,
            nodes=nodes,
            more=len(found) > JOINED_SHOWN,
        )
    return Picture(parts, node_ids=node_ids)


def _after_id() -> str | None:
    after_id = request.args.get("after")
    if after_id is not None and not is_id(after_id):
        raise InvalidInputError("The page's address is not one of ours.")
    return after_id


def _page(
    environment_id: str,
    *,
    shown: Commands | None = None,
    after_id: str | None = None,
    rename_problem: SignalboxError | None = None,
    name: str | None = None,
    delete_problem: SignalboxError | None = None,
    typed: str = "",
) -> str:
    environment = environments.get(environment_id)
    now = utc_now()
    certificates = certificate_store.listing(environment_id, limit=MAX_CERTIFICATES).items
    return render_template(
        "environments/show.html",
        environment=environment,
        picture=paint(environment_id, after_id),
        after_id=after_id,
        commands=shown,
        server_url=server_url(),
        ending=environments.ending(environment_id),
        secret_count=len(secret_store.listing(environment_id, limit=MAX_SECRETS).items),
        certificate_count=len(certificates),
        expiring=[each for each in certificates if each.expires_at and each.expires_at <= now + SOON],
        now=now,
        soon=now + SOON,
        rename_problem=rename_problem,
        name=environment.name if name is None else name,
        delete_problem=delete_problem,
        typed=typed,
    )
