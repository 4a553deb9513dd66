"""What nodes are asked to do once: restart, retry, update; of one node, of many, and how that goes on."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from agent.protocol import ActionType
from app import (
    access,
    action_batches,
    action_progress,
    agent_file,
    environments,
    node_actions,
    nodes,
    pipelines,
    selectors,
)
from app.action_batches import BatchAsked
from app.action_wishes import Wish
from app.errors import ConflictError, InvalidInputError, NotFoundError, SignalboxError
from app.pages import live, questions, words
from app.pages.live import Picture
from app.switchboard_process import switchboard

BATCHES_SHOWN = 10
NODES_SHOWN = 100
SKIPPED_NAMED = 3

bp = Blueprint("actions", __name__)


@dataclass(frozen=True)
class Draft:
    """What stands in the form that asks many nodes."""

    what: str = "restart"
    """An action, and behind a colon the pipeline to restart."""
    selector: str = ""
    nodes: str = ""
    """Names or ids, one a line."""
    target_version: str = ""
    download_url: str = ""
    checksum: str = ""
    signature: str = ""
    max_failures: str = "0"

    def wish(self) -> Wish:
        """What is asked for."""
        action, _, pipeline_id = self.what.partition(":")
        if action != ActionType.SELF_UPDATE:
            return Wish(action, pipeline_id or None)
        return Wish(
            action,
            None,
            self.target_version or None,
            self.download_url or None,
            self.checksum or None,
            self.signature or None,
        )


@bp.post("/nodes/<node_id>/restart")
def restart(node_id: str) -> ResponseReturnValue:
    """Restart the node's agent, or the pipeline that the form names: that is also how a failed one is retried."""
    try:
        wish = Wish(ActionType.RESTART, request.form.get("pipeline_id") or None)
        asked = node_actions.request(node_id, wish, access.actor())
    except (ConflictError, InvalidInputError) as error:
        flash(error.sentence, "bad")
    else:
        if asked.push_error is not None:
            flash(f"Asked. {asked.push_error}", "busy")
        elif asked.pushed:
            flash("Asked, and the node was told at once.", "good")
        else:
            flash("Asked. The node is not connected: it hears of it when it next asks.", "busy")
    return redirect(url_for("pages.nodes.show", node_id=node_id))


@bp.post("/pipelines/<pipeline_id>/retry")
def retry(pipeline_id: str) -> ResponseReturnValue:
    """Try the pipeline again wherever it has failed."""
    pipeline = pipelines.get(pipeline_id)
    try:
        asked = action_batches.request(
            pipeline.environment_id, Wish(ActionType.RESTART, pipeline_id), access.actor(), only_failed=True
        )
    except (ConflictError, InvalidInputError) as error:
        flash(error.sentence, "bad")
        return redirect(url_for("pages.pipelines.show", pipeline_id=pipeline_id))
    return _told(asked)


@bp.get("/environments/<environment_id>/actions")
def of_environment(environment_id: str) -> ResponseReturnValue:
    """The form that asks many nodes, and what was asked lately."""
    draft = Draft(what=request.args.get("what", "restart"), nodes=request.args.get("nodes", "")[:253])
    return _form(environment_id, draft)


@bp.post("/environments/<environment_id>/actions")
def ask(environment_id: str) -> ResponseReturnValue:
    """Ask the nodes that are named or that match."""
    names = Draft.__dataclass_fields__
    draft = Draft(**{name: request.form.get(name, "").replace("\r\n", "\n").strip() for name in names})
    wish = draft.wish()
    if wish.action == ActionType.SELF_UPDATE:
        access.require("admin", environment_id)
    try:
        node_ids, selector = _named(environment_id, draft), selectors.parse(draft.selector, field="selector")
        max_failures = _number(draft.max_failures)
        if not questions.is_confirmed():
            asked, skipped = action_batches.preview(environment_id, wish, node_ids, selector)
            if asked:
                return _question(environment_id, wish, asked, len(skipped))
        return _told(
            action_batches.request(
                environment_id,
                wish,
                access.actor(),
                node_ids=node_ids,
                selector=selector,
                max_failures=max_failures,
            )
        )
    except (ConflictError, InvalidInputError) as error:
        return _form(environment_id, draft, error), error.status


@bp.get("/actions/<batch_id>")
def show(batch_id: str) -> ResponseReturnValue:
    """How far an action of many nodes has come."""
    batch = action_progress.get(batch_id)
    return render_template(
        "actions/show.html",
        batch=batch,
        environment_name=environments.get(batch.environment_id).name,
        picture=paint(batch_id),
    )


@bp.get("/actions/<batch_id>/events")
def events(batch_id: str) -> ResponseReturnValue:
    """How it goes on, as it does."""
    return live.events(lambda: paint(batch_id))


@bp.get("/actions/<batch_id>/rows")
def rows(batch_id: str) -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(lambda: paint(batch_id))


def paint(batch_id: str) -> Picture:
    """The picture of an action of many nodes: the numbers, and those nodes first that somebody should look at."""
    batch = action_progress.get(batch_id)
    shown = action_progress.troubled_first(batch_id, NODES_SHOWN)
    since = switchboard().unknown_since if batch.ended < batch.total else None
    part = live.draw("actions/progress.html", batch=batch, actions=shown, unknown_since=since)
    return Picture({"progress": part}, node_ids=frozenset(action.node_id for action in shown))


def _question(environment_id: str, wish: Wish, names: list[str], skipped: int) -> str:
    """What would happen to how many nodes, before any is asked."""
    many = words.plural(len(names), "node")
    if wish.action == ActionType.SELF_UPDATE:
        title, act = f"Update the agent of {many}?", "Update"
        effect = "It goes to one node first, then to 5 %, to 25 % and to the rest."
    elif wish.pipeline_id:
        found = pipelines.get(wish.pipeline_id)
        if found.environment_id != environment_id:
            raise NotFoundError("There is no such pipeline.")
        pipeline = found.name
        title, act = f"Restart {pipeline} on {many}?", "Restart"
        effect = f"Each of them stops {pipeline} and starts it again within seconds."
    else:
        title, act = f"Restart the agent of {many}?", "Restart"
        effect = "Each of them stops its pipelines in order, and starts them again within seconds."
    left_out = f" Left out, since they cannot be asked: {words.plural(skipped, 'node')}." if skipped else ""
    return questions.ask(
        title,
        [f"{effect}{left_out}"],
        names=names,
        button=f"{act} {many}",
        back=url_for("pages.actions.of_environment", environment_id=environment_id),
    )


def _told(asked: BatchAsked) -> ResponseReturnValue:
    """To the page on which it goes on, with a sentence that says who was left out."""
    told = f"Asked {words.plural(asked.asked, 'node')}, {asked.pushed:,} of them told at once."
    if asked.skipped:
        named = "; ".join(f"{node.name}: {node.reason}" for node in asked.skipped[:SKIPPED_NAMED])
        more = "; …" if len(asked.skipped) > SKIPPED_NAMED else ""
        told = f"{told} Left out {words.plural(len(asked.skipped), 'node')} ({named}{more})."
    if asked.push_error is not None:
        told = f"{told} {asked.push_error}"
    flash(told, "busy" if asked.skipped or asked.push_error else "good")
    return redirect(url_for("pages.actions.show", batch_id=asked.batch_id))


def _form(environment_id: str, draft: Draft, problem: SignalboxError | None = None) -> str:
    environment = environments.get(environment_id)
    found = pipelines.listing(environment_id=environment_id, limit=500)
    return render_template(
        "actions/index.html",
        environment=environment,
        pipelines=[pipeline for pipeline in found.items if pipeline.wanted_version is not None],
        batches=action_progress.listing(environment_id, BATCHES_SHOWN),
        draft=draft,
        problem=problem,
        most=action_batches.MAX_NODES,
        served=agent_file.current(),
    )


def _named(environment_id: str, draft: Draft) -> list[str] | None:
    lines = [line.strip() for line in draft.nodes.split("\n") if line.strip()]
    if not lines:
        return None
    if draft.selector:
        message = "give either label rules or names of nodes"
        raise InvalidInputError(
            f"It is not clear which nodes are meant: {message}.", [{"field": "nodes", "message": message}]
        )
    return nodes.ids_of(environment_id, lines)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) <= action_batches.MAX_NODES):
        message = f"it is a whole number from 0 to {action_batches.MAX_NODES}"
        raise InvalidInputError(
            f"The number of failures to bear cannot be used: {message}.",
            [{"field": "max_failures", "message": message}],
        )
    return int(text)
