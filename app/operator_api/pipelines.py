"""``/api/v1/pipelines``: drafts, their checks, deploys and versions."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app import access, deploys, environments, fleet, pipelines
from app import targets as target_previews
from app.errors import InvalidInputError
from app.operator_api import requests, rows, schemas
from app.paging import Page

blueprint = Blueprint("pipelines", __name__, url_prefix="/pipelines")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """Newest first; ``?environmentId=&name=``."""
    page = pipelines.listing(
        environment_id=requests.text("environmentId"),
        within=access.where("viewer"),
        name=requests.text("name"),
        limit=requests.limit(),
        cursor=requests.cursor(),
    )
    return jsonify(rows.page(page, rows.pipeline))


@blueprint.post("")
def create() -> ResponseReturnValue:
    """Make a draft; nothing reaches a node."""
    body = requests.body(schemas.NewPipeline)
    access.require("editor", body.environment_id)
    pipeline = pipelines.create(
        access.actor(),
        environment_id=body.environment_id,
        name=body.name,
        config_yaml=body.config_yaml,
        node_selector=body.node_selector,
        log_level=body.log_level,
    )
    return jsonify(rows.pipeline(pipeline)), 201


@blueprint.post("/validate")
def validate() -> ResponseReturnValue:
    """``{valid, errors}``: what a deploy of this YAML would be refused for, with component and line."""
    body = requests.body(schemas.Validation)
    access.require("editor", body.environment_id)
    environments.get(body.environment_id)
    errors = pipelines.problems(body.environment_id, body.config_yaml)
    return jsonify(valid=not errors, errors=errors)


@blueprint.get("/<pipeline_id>")
def show(pipeline_id: str) -> ResponseReturnValue:
    """One draft; ``hold`` says why the deployed version cannot be assembled, if it cannot."""
    pipeline = pipelines.get(pipeline_id)
    return jsonify(rows.pipeline(pipeline, pipelines.hold(pipeline)))


@blueprint.put("/<pipeline_id>")
def update(pipeline_id: str) -> ResponseReturnValue:
    """Change the draft; nothing reaches a node before a deploy."""
    pipeline = pipelines.get(pipeline_id)
    given = requests.body(schemas.PipelineChanges).given()
    if given.pop("environment_id", pipeline.environment_id) != pipeline.environment_id:
        message = "a pipeline cannot be moved to another environment"
        raise InvalidInputError(
            f"The pipeline cannot be changed: {message}.", [{"field": "environmentId", "message": message}]
        )
    return jsonify(rows.pipeline(pipelines.update(pipeline_id, access.actor(), **given)))


@blueprint.delete("/<pipeline_id>")
def delete(pipeline_id: str) -> ResponseReturnValue:
    """Delete one that is not deployed, with its versions."""
    pipelines.delete(pipeline_id, access.actor())
    return "", 204


@blueprint.get("/<pipeline_id>/targets")
def targets(pipeline_id: str) -> ResponseReturnValue:
    """The nodes, by name, that a deploy of the draft would reach, and how many gain or lose the pipeline by it.

    ``?selector=`` previews another one than the draft's; ``?change=gained|kept|lost`` lists those instead.
    """
    selector = (requests.text("selector") or "") if "selector" in request.args else None
    found = target_previews.preview(pipeline_id, selector, field="selector")
    change = requests.choice("change", target_previews.CHANGES)
    named = target_previews.page(found, change, requests.cursor(), requests.limit())
    nodes = sorted(fleet.rows([node.node_id for node in named.items]), key=lambda row: (row.name, row.id))
    page = Page(nodes, named.next_cursor)
    return jsonify(**rows.page(page, rows.node), **rows.preview(found))


@blueprint.post("/<pipeline_id>/deploy")
def deploy(pipeline_id: str) -> ResponseReturnValue:
    """Make a version of the draft and tell the nodes that match it."""
    body = requests.body(schemas.Deploy)
    return jsonify(rows.outcome(deploys.deploy(pipeline_id, access.actor(), body.changelog)))


@blueprint.post("/<pipeline_id>/undeploy")
def undeploy(pipeline_id: str) -> ResponseReturnValue:
    """Take it off every node."""
    return jsonify(rows.outcome(deploys.undeploy(pipeline_id, access.actor())))


@blueprint.post("/<pipeline_id>/rollback")
def rollback(pipeline_id: str) -> ResponseReturnValue:
    """A new version with the content of an old one."""
    body = requests.body(schemas.Rollback)
    return jsonify(rows.outcome(deploys.rollback(pipeline_id, body.version, access.actor())))


@blueprint.get("/<pipeline_id>/versions")
def versions(pipeline_id: str) -> ResponseReturnValue:
    """What deploys made, newest first."""
    page = pipelines.versions(pipeline_id, limit=requests.limit(), cursor=requests.cursor())
    return jsonify(rows.page(page, rows.version))


@blueprint.get("/<pipeline_id>/versions/<int:number>")
def version(pipeline_id: str, number: int) -> ResponseReturnValue:
    """One version."""
    return jsonify(rows.version(pipelines.version(pipeline_id, number)))
