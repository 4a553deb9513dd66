"""What the pipelines' pages do: deploy, roll back, undeploy, or ask for it where that is protected; and delete."""

from __future__ import annotations

from dataclasses import replace

from flask import flash, redirect, request, url_for
from flask.typing import ResponseReturnValue

from app import access, deploy_or_ask, parties, pipelines
from app.deploy_acts import DeployOutcome
from app.deploy_or_ask import Answer
from app.errors import ConflictError, InvalidInputError
from app.pages import approval, words
from app.pages.pipelines import Draft, bp, overtaken_page, page_of, save_draft


@bp.post("/<pipeline_id>/deploy")
def deploy(pipeline_id: str) -> ResponseReturnValue:
    """Deploy the draft that was looked at (its ``revision``); a form that holds a draft saves it first."""
    draft = Draft.from_request()
    has_draft = "config_yaml" in request.form
    try:
        if has_draft:
            save_draft(pipeline_id, draft)
    except InvalidInputError as error:
        refusal = "The draft was not saved, and nothing was deployed."
        return page_of(pipeline_id, error, refusal, draft), error.status
    except ConflictError as error:
        return overtaken_page(pipeline_id, error, draft)
    made_from = None if has_draft else draft.revision or None
    try:
        outcome = deploy_or_ask.deploy(
            pipeline_id, parties.own(), draft.changelog or None, made_from=made_from
        )
    except (InvalidInputError, ConflictError) as error:
        refusal = "The draft was saved, but nothing was deployed." if has_draft else "Nothing was deployed."
        kept = replace(draft, revision="")
        if not has_draft:
            kept = replace(Draft.of(pipelines.get(pipeline_id)), changelog=draft.changelog)
        return page_of(pipeline_id, error, refusal, kept), error.status
    return _told(pipeline_id, "Deployed version {}", outcome)


@bp.post("/<pipeline_id>/rollback/<int:version>")
def rollback(pipeline_id: str, version: int) -> ResponseReturnValue:
    """Make a new version with the content of an old one, and deploy it."""
    outcome = deploy_or_ask.rollback(pipeline_id, version, parties.own())
    return _told(pipeline_id, f"Rolled back: version {{}} has the content of version {version}", outcome)


@bp.post("/<pipeline_id>/undeploy")
def undeploy(pipeline_id: str) -> ResponseReturnValue:
    """Stop it everywhere."""
    emergency = request.form.get("emergency")
    if emergency is not None:
        access.require("admin", pipelines.get(pipeline_id).environment_id, "pipeline")
    try:
        outcome = deploy_or_ask.undeploy(pipeline_id, parties.own(), emergency=emergency)
    except InvalidInputError as error:
        return page_of(pipeline_id, error, "Nothing was undeployed."), error.status
    return _told(pipeline_id, "Undeployed", outcome)


@bp.post("/<pipeline_id>/delete")
def delete(pipeline_id: str) -> ResponseReturnValue:
    """Delete a pipeline that is not deployed."""
    name = pipelines.get(pipeline_id).name
    pipelines.delete(pipeline_id, access.actor())
    flash(f"Deleted the pipeline {name}.", "good")
    return redirect(url_for("pages.pipelines.index"))


def _told(pipeline_id: str, done: str, outcome: Answer) -> ResponseReturnValue:
    """Back to the page, with a sentence that says how far the news has come already; or on to what was asked for."""
    if not isinstance(outcome, DeployOutcome):
        return approval.asked(outcome)
    done = done.format(outcome.version)
    told = f"{done} for {words.plural(outcome.targets, 'node')}, {outcome.pushed:,} of them told at once"
    if outcome.targets == 0:
        flash(f"{done}. No node matches, so nobody had to be told.", "busy")
    elif outcome.push_error is not None:
        flash(f"{told}. {outcome.push_error}", "busy")
    elif outcome.pushed < outcome.targets:
        flash(f"{told}; the others hear of it when they next ask.", "good")
    else:
        flash(f"{told}.", "good")
    return redirect(url_for("pages.pipelines.show", pipeline_id=pipeline_id))
