"""``/api/v1/environments``."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import enrollment, environments, selectable_keys
from app.operator_api import access, requests, rows, schemas

blueprint = Blueprint("environments", __name__, url_prefix="/environments")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """Those that the token may see, newest first."""
    page = environments.listing(
        limit=requests.limit(), cursor=requests.cursor(), only_id=access.token().environment_id
    )
    return jsonify(rows.page(page, rows.environment))


@blueprint.post("")
def create() -> ResponseReturnValue:
    """Make one."""
    access.require_unlimited("other environments")
    body = requests.body(schemas.NewEnvironment)
    row = environments.create(body.name, access.actor(), protected=body.protected)
    return jsonify(rows.environment(row)), 201


@blueprint.get("/<environment_id>")
def show(environment_id: str) -> ResponseReturnValue:
    """One."""
    access.check_visible(environment_id, "environment")
    return jsonify(rows.environment(environments.get(environment_id)))


@blueprint.patch("/<environment_id>")
def update(environment_id: str) -> ResponseReturnValue:
    """Rename or protect one, or allow other keys of agents' own labels to selectors."""
    access.check_visible(environment_id, "environment")
    given = requests.body(schemas.EnvironmentChanges).given()
    keys = given.pop("selectable_agent_labels", None)
    if keys is not None:
        selectable_keys.allow(environment_id, keys, access.actor())
    return jsonify(rows.environment(environments.update(environment_id, access.actor(), **given)))


@blueprint.delete("/<environment_id>")
def delete(environment_id: str) -> ResponseReturnValue:
    """Delete one that nothing uses."""
    access.check_visible(environment_id, "environment")
    environments.delete(environment_id, access.actor())
    return "", 204


@blueprint.post("/<environment_id>/enrollment-token")
def rotate_token(environment_id: str) -> ResponseReturnValue:
    """A new enrollment token, shown this once; the one before ends at once."""
    access.check_visible(environment_id, "environment")
    environments.get(environment_id)
    minted = enrollment.rotate_token(environment_id, access.actor())
    response = jsonify(token=minted.text, hint=minted.hint)
    response.headers["Cache-Control"] = "no-store"
    return response, 201


@blueprint.delete("/<environment_id>/enrollment-token")
def end_token(environment_id: str) -> ResponseReturnValue:
    """End the enrollment token; nodes that have enrolled are not touched."""
    access.check_visible(environment_id, "environment")
    environments.get(environment_id)
    enrollment.end_token(environment_id, access.actor())
    return "", 204
