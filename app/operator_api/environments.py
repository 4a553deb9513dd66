"""``/api/v1/environments``."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, enrollment, environments, selectable_keys
from app.operator_api import requests, rows, schemas

blueprint = Blueprint("environments", __name__, url_prefix="/environments")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """Those that the token may see, newest first."""
    page = environments.listing(
        limit=requests.limit(), cursor=requests.cursor(), within=access.where("viewer")
    )
    return jsonify(rows.page(page, rows.environment))


@blueprint.post("")
def create() -> ResponseReturnValue:
    """Make one."""
    body = requests.body(schemas.NewEnvironment)
    row = environments.create(body.name, access.actor(), protected=body.protected)
    return jsonify(rows.environment(row)), 201


@blueprint.get("/<environment_id>")
def show(environment_id: str) -> ResponseReturnValue:
    """One."""
    return jsonify(rows.environment(environments.get(environment_id)))


@blueprint.patch("/<environment_id>")
def update(environment_id: str) -> ResponseReturnValue:
    """Rename or protect one, or allow other keys of agents' own labels to selectors."""
    given = requests.body(schemas.EnvironmentChanges).given()
    keys = given.pop("selectable_agent_labels", None)
    if keys is not None:
        selectable_keys.allow(environment_id, keys, access.actor())
    return jsonify(rows.environment(environments.update(environment_id, access.actor(), **given)))


@blueprint.delete("/<environment_id>")
def delete(environment_id: str) -> ResponseReturnValue:
    """Delete one that nothing uses."""
    environments.delete(environment_id, access.actor())
    return "", 204


@blueprint.post("/<environment_id>/enrollment-token")
def rotate_token(environment_id: str) -> ResponseReturnValue:
    """A new enrollment token, shown this once; the one before ends at once."""
    environments.get(environment_id)
    minted = enrollment.rotate_token(environment_id, access.actor())
    response = jsonify(token=minted.text, hint=minted.hint)
    response.headers["Cache-Control"] = "no-store"
    return response, 201


@blueprint.delete("/<environment_id>/enrollment-token")
def end_token(environment_id: str) -> ResponseReturnValue:
    """End the enrollment token; nodes that have enrolled are not touched."""
    environments.get(environment_id)
    enrollment.end_token(environment_id, access.actor())
    return "", 204
