"""Actions: what one node, or many of an environment, are asked to do once."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from agent.protocol import ActionType
from app import action_batches, action_progress, environments, node_actions, nodes, selectors
from app.errors import InvalidInputError
from app.operator_api import access, requests, rows, schemas

blueprint = Blueprint("actions", __name__)


@blueprint.post("/nodes/<node_id>/actions")
@access.needs("editor")
def request_one(node_id: str) -> ResponseReturnValue:
    """Ask one node; ``202``, since it answers later. An update needs an admin."""
    access.check_visible(nodes.environment_of(node_id), "node")
    body = requests.body(schemas.NewAction)
    _check_role(body)
    return jsonify(rows.asked(node_actions.request(node_id, body.wish(), access.actor()))), 202


@blueprint.get("/nodes/<node_id>/actions")
def of_node(node_id: str) -> ResponseReturnValue:
    """What the node was asked, newest first."""
    access.check_visible(nodes.environment_of(node_id), "node")
    page = node_actions.of_node(node_id, limit=requests.limit(), cursor=requests.cursor())
    return jsonify(rows.page(page, rows.action))


@blueprint.get("/actions/<action_id>")
def show(action_id: str) -> ResponseReturnValue:
    """One."""
    action = node_actions.get(action_id)
    access.check_visible(action.environment_id, "action")
    return jsonify(rows.action(action))


@blueprint.post("/environments/<environment_id>/actions")
@access.needs("editor")
def request_many(environment_id: str) -> ResponseReturnValue:
    """Ask the nodes in ``nodeIds``, or those that match ``selector``; ``202`` with who was left out and why."""
    access.check_visible(environment_id, "environment")
    environments.get(environment_id)
    body = requests.body(schemas.NewActions)
    _check_role(body)
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
def show_batch(batch_id: str) -> ResponseReturnValue:
    """How many of its nodes are how far, in all and wave by wave."""
    return jsonify(rows.action_batch(_visible(batch_id)))


@blueprint.get("/action-batches/<batch_id>/actions")
def of_batch(batch_id: str) -> ResponseReturnValue:
    """Its actions, wave by wave; ``?status=``."""
    _visible(batch_id)
    status = requests.text("status")
    page = action_progress.actions(
        batch_id,
        status=status.upper() if status else None,
        limit=requests.limit(),
        cursor=requests.cursor(),
    )
    return jsonify(rows.page(page, rows.action))


def _check_role(body: schemas.NewAction) -> None:
    if body.action == ActionType.SELF_UPDATE:
        access.require("admin")


def _visible(batch_id: str) -> action_progress.BatchRow:
    batch = action_progress.get(batch_id)
    access.check_visible(batch.environment_id, "batch of actions")
    return batch
