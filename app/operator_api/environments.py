"""``/api/v1/environments``."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, enrollment, environments, selectable_keys
from app.operator_api import answers, queries, requests, rows, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged

blueprint = Blueprint("environments", __name__, url_prefix="/environments")


@blueprint.get("")
@declares(answers.Page[answers.Environment], query=queries.Listing)
def listing() -> ResponseReturnValue:
    """Those that the token may see, newest first."""
    asked = requests.query(queries.Listing)
    page = environments.listing(limit=asked.limit, cursor=asked.cursor, within=access.where("viewer"))
    return jsonify(rows.page(page, rows.environment))


@blueprint.post("")
@declares(answers.Environment, 201, body=schemas.NewEnvironment, refusals=(409,), is_tagged=True)
def create() -> ResponseReturnValue:
    """Make one."""
    body = requests.body(schemas.NewEnvironment)
    row = environments.create(body.name, access.actor(), protected=body.protected)
    return tagged(rows.environment(row), environments.edit_revision(row), 201)


@blueprint.get("/<environment_id>")
@declares(answers.Environment, is_tagged=True)
def show(environment_id: str) -> ResponseReturnValue:
    """One."""
    row = environments.get(environment_id)
    return tagged(rows.environment(row), environments.edit_revision(row))


@blueprint.patch("/<environment_id>")
@declares(
    answers.Environment,
    body=schemas.EnvironmentChanges,
    refusals=(409,),
    is_tagged=True,
    is_guarded=True,
)
def update(environment_id: str) -> ResponseReturnValue:
    """Rename or protect one, or allow other keys of agents' own labels to selectors."""
    given = requests.body(schemas.EnvironmentChanges).given()
    keys = given.pop("selectable_agent_labels", None)
    if keys is not None:
        selectable_keys.allow(environment_id, keys, access.actor(), **given)
        row = environments.get(environment_id)
    else:
        row = environments.update(environment_id, access.actor(), **given)
    return tagged(rows.environment(row), environments.edit_revision(row))


@blueprint.delete("/<environment_id>")
@declares(None, 204, refusals=(409,), is_guarded=True)
def delete(environment_id: str) -> ResponseReturnValue:
    """Delete one that nothing uses."""
    environments.delete(environment_id, access.actor())
    return "", 204


@blueprint.post("/<environment_id>/enrollment-token")
@declares(answers.EnrollmentToken, 201, shows_once=True)
def rotate_token(environment_id: str) -> ResponseReturnValue:
    """A new enrollment token, shown this once; the one before ends at once."""
    environments.get(environment_id)
    minted = enrollment.rotate_token(environment_id, access.actor())
    response = jsonify(token=minted.text, hint=minted.hint)
    response.headers["Cache-Control"] = "no-store"
    return response, 201


@blueprint.delete("/<environment_id>/enrollment-token")
@declares(None, 204)
def end_token(environment_id: str) -> ResponseReturnValue:
    """End the enrollment token; nodes that have enrolled are not touched."""
    environments.get(environment_id)
    enrollment.end_token(environment_id, access.actor())
    return "", 204
