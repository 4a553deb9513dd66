"""``/api/v1/pipelines``: drafts, their checks, deploys and versions."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from app import access, deploy_or_ask, deploys, environments, fleet, parties, pipelines
from app import targets as target_previews
from app.deploy_acts import DeployOutcome
from app.deploy_or_ask import Answer
from app.errors import InvalidInputError
from app.operator_api import answers, approval_answers, approval_rows, queries, requests, rows, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged
from app.paging import Page

blueprint = Blueprint("pipelines", __name__, url_prefix="/pipelines")


@blueprint.get("")
@declares(answers.Page[answers.Pipeline], query=queries.Pipelines)
def listing() -> ResponseReturnValue:
    """Newest first; ``?environmentId=&name=``."""
    asked = requests.query(queries.Pipelines)
    page = pipelines.listing(
        environment_id=asked.environment_id,
        within=access.where("viewer"),
        name=asked.name,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return jsonify(rows.page(page, rows.pipeline))


@blueprint.post("")
@declares(answers.Pipeline, 201, body=schemas.NewPipeline, refusals=(404, 409), is_tagged=True)
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
    return tagged(rows.pipeline(pipeline), deploys.edit_revision(pipeline), 201)


@blueprint.post("/validate")
@declares(answers.Verdict, body=schemas.Validation, refusals=(404,))
def validate() -> ResponseReturnValue:
    """``{valid, errors}``: what a deploy of this YAML would be refused for, with component and line."""
    body = requests.body(schemas.Validation)
    access.require("editor", body.environment_id)
    environments.get(body.environment_id)
    errors = pipelines.problems(body.environment_id, body.config_yaml)
    return jsonify(valid=not errors, errors=errors)


@blueprint.get("/<pipeline_id>")
@declares(answers.Pipeline, is_tagged=True)
def show(pipeline_id: str) -> ResponseReturnValue:
    """One draft; ``hold`` says why the deployed version cannot be assembled, if it cannot."""
    pipeline = pipelines.get(pipeline_id)
    return tagged(rows.pipeline(pipeline, pipelines.hold(pipeline)), deploys.edit_revision(pipeline))


@blueprint.put("/<pipeline_id>")
@declares(answers.Pipeline, body=schemas.PipelineChanges, refusals=(409,), is_tagged=True, is_guarded=True)
def update(pipeline_id: str) -> ResponseReturnValue:
    """Change the draft; nothing reaches a node before a deploy."""
    pipeline = pipelines.get(pipeline_id)
    given = requests.body(schemas.PipelineChanges).given()
    if given.pop("environment_id", pipeline.environment_id) != pipeline.environment_id:
        message = "a pipeline cannot be moved to another environment"
        raise InvalidInputError(
            f"The pipeline cannot be changed: {message}.", [{"field": "environmentId", "message": message}]
        )
    changed = pipelines.update(pipeline_id, access.actor(), **given)
    return tagged(rows.pipeline(changed), deploys.edit_revision(changed))


@blueprint.delete("/<pipeline_id>")
@declares(None, 204, refusals=(409,), is_guarded=True)
def delete(pipeline_id: str) -> ResponseReturnValue:
    """Delete one that is not deployed, with its versions."""
    pipelines.delete(pipeline_id, access.actor())
    return "", 204


@blueprint.get("/<pipeline_id>/targets")
@declares(answers.Targets, query=queries.Targets)
def targets(pipeline_id: str) -> ResponseReturnValue:
    """The nodes, by name, that a deploy of the draft would reach, and how many gain or lose the pipeline by it.

    ``?selector=`` previews another one than the draft's; ``?change=gained|kept|lost`` lists those instead.
    """
    asked = requests.query(queries.Targets)
    # Here an empty one is not an absent one: it means every node.
    selector = (asked.selector or "") if "selector" in request.args else None
    found = target_previews.preview(pipeline_id, selector, field="selector")
    named = target_previews.page(found, asked.change, asked.cursor, asked.limit)
    rows_of = {row.id: row for row in fleet.rows([node.node_id for node in named.items])}
    page = Page([rows_of[node.node_id] for node in named.items if node.node_id in rows_of], named.next_cursor)
    return jsonify(**rows.page(page, rows.node), **rows.preview(found))


@blueprint.post("/<pipeline_id>/deploy")
@declares(
    answers.Outcome, asked=approval_answers.AskedFor, body=schemas.Deploy, refusals=(409,), is_guarded=True
)
def deploy(pipeline_id: str) -> ResponseReturnValue:
    """Make a version of the draft and tell the nodes that match it; in a protected environment ask for that."""
    body = requests.body(schemas.Deploy)
    return _done(deploy_or_ask.deploy(pipeline_id, parties.own(), body.changelog))


@blueprint.post("/<pipeline_id>/undeploy")
@declares(answers.Outcome, asked=approval_answers.AskedFor, body=schemas.Undeploy, refusals=(409,))
def undeploy(pipeline_id: str) -> ResponseReturnValue:
    """Take it off every node; in a protected environment ask for that, unless an admin says what the emergency is."""
    body = requests.body(schemas.Undeploy)
    if body.emergency is not None:
        access.require("admin", pipelines.get(pipeline_id).environment_id, "pipeline")
    return _done(deploy_or_ask.undeploy(pipeline_id, parties.own(), emergency=body.emergency))


@blueprint.post("/<pipeline_id>/rollback")
@declares(answers.Outcome, asked=approval_answers.AskedFor, body=schemas.Rollback, refusals=(409,))
def rollback(pipeline_id: str) -> ResponseReturnValue:
    """A new version with the content of an old one; in a protected environment ask for that."""
    body = requests.body(schemas.Rollback)
    return _done(deploy_or_ask.rollback(pipeline_id, body.version, parties.own()))


@blueprint.get("/<pipeline_id>/versions")
@declares(answers.Page[answers.Version], query=queries.Listing)
def versions(pipeline_id: str) -> ResponseReturnValue:
    """What deploys made, newest first."""
    asked = requests.query(queries.Listing)
    page = pipelines.versions(pipeline_id, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.version))


@blueprint.get("/<pipeline_id>/versions/<int:number>")
@declares(answers.Version)
def version(pipeline_id: str, number: int) -> ResponseReturnValue:
    """One version."""
    return jsonify(rows.version(pipelines.version(pipeline_id, number)))


def _done(answer: Answer) -> ResponseReturnValue:
    """What a deploy did, or the request that was made in its place."""
    if isinstance(answer, DeployOutcome):
        return jsonify(rows.outcome(answer))
    return jsonify(approval_rows.asked(answer)), 202
