"""Actions: what one node, or many of an environment, are asked to do once."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from agent.protocol import ActionType
from app import access, action_batches, action_progress, environments, node_actions, nodes, selectors
from app.errors import InvalidInputError
from app.operator_api import answers, queries, requests, rows, schemas
from app.operator_api.contract import declares

blueprint = Blueprint("actions", __name__)


@blueprint.post("/nodes/<node_id>/actions")
@declares(answers.ActionAsked, 202, body=schemas.NewAction, refusals=(409,))
def request_one(node_id: str) -> ResponseReturnValue:
    """Ask one node; ``202``, since it answers later. An update needs an admin."""
    body = requests.body(schemas.NewAction)
    _check_role(body, nodes.environment_of(node_id))
    return jsonify(rows.asked(node_actions.request(node_id, body.wish(), access.actor()))), 202


@blueprint.get("/nodes/<node_id>/actions")
@declares(answers.Page[answers.Action], query=queries.Listing)
def of_node(node_id: str) -> ResponseReturnValue:
    """What the node was asked, newest first."""
    asked = requests.query(queries.Listing)
    page = node_actions.of_node(node_id, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.action))


@blueprint.get("/actions/<action_id>")
@declares(answers.Action)
def show(action_id: str) -> ResponseReturnValue:
    """One."""
    return jsonify(rows.action(node_actions.get(action_id)))


@blueprint.post("/environments/<environment_id>/actions")
@declares(answers.BatchAsked, 202, body=schemas.NewActions, refusals=(409,))
def request_many(environment_id: str) -> ResponseReturnValue:
    """Ask the nodes in ``nodeIds``, or those that match ``selector``; ``202`` with who was left out and why."""
    environments.get(environment_id)
    body = requests.body(schemas.NewActions)
    _check_role(body, environment_id)
    if (body.node_ids is None) == (body.selector is None):
        message = "give either nodeIds or selector; an empty selector means every node"
        raise InvalidInputError(
            f"It is not clear which nodes are meant: {message}.", [{"field": "selector", "message": message}]
        )
    done = action_batches.request(
        environment_id,
        body.wish(),
        access.actor(),
        node_ids=body.node_ids,
        selector=selectors.parse(body.selector, field="selector") if body.selector is not None else None,
        only_failed=body.only_failed,
        max_failures=body.max_failures,
    )
    return jsonify(rows.batch_asked(done)), 202


@blueprint.get("/action-batches/<batch_id>")
@declares(answers.ActionBatch)
def show_batch(batch_id: str) -> ResponseReturnValue:
    """How many of its nodes are how far, in all and wave by wave."""
    return jsonify(rows.action_batch(action_progress.get(batch_id)))


@blueprint.get("/action-batches/<batch_id>/actions")
@declares(answers.Page[answers.Action], query=queries.Actions)
def of_batch(batch_id: str) -> ResponseReturnValue:
    """Its actions, wave by wave; ``?status=``."""
    asked = requests.query(queries.Actions)
    page = action_progress.actions(batch_id, status=asked.status, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.action))


def _check_role(body: schemas.NewAction, environment_id: str) -> None:
    if body.action == ActionType.SELF_UPDATE:
        access.require("admin", environment_id)
