"""Before a deploy or a roll back: what it changes, which nodes it reaches, and a button that does it."""

from __future__ import annotations

from flask import render_template, request
from flask.typing import ResponseReturnValue

from app import deploys, environments, pipelines, selectors, targets, text_difference
from app.database import one_view
from app.errors import InvalidInputError, SignalboxError
from app.models import Pipeline
from app.pages.pipelines import bp

NODES_A_PAGE = 50


@bp.get("/<pipeline_id>/review")
def review_deploy(pipeline_id: str) -> ResponseReturnValue:
    """What a deploy of the saved draft would do."""
    pipeline = pipelines.get(pipeline_id)
    return _page(pipeline, pipeline.config_yaml, pipeline.node_selector, None)


@bp.get("/<pipeline_id>/rollback/<int:version>")
def review_rollback(pipeline_id: str, version: int) -> ResponseReturnValue:
    """What going back to a version would do."""
    found = pipelines.version(pipeline_id, version)
    return _page(pipelines.get(pipeline_id), found.config_yaml, found.node_selector, version)


@one_view()
def _page(pipeline: Pipeline, config_yaml: str, selector: str, version: int | None) -> str:
    problem: SignalboxError | None = None
    try:
        deploys.check_deployable_in(pipeline.environment_id, config_yaml)
        selectors.parse(selector)
    except InvalidInputError as error:
        problem = error
    text = request.args.get("page", "1")
    page = max(1, int(text)) if text.isascii() and text.isdecimal() and len(text) < 7 else 1
    found = targets.preview(pipeline.id, selector)
    pages = max(1, -(-found.targets // NODES_A_PAGE))
    page = min(page, pages)
    runs = None
    if pipeline.wanted_version is not None:
        runs = pipelines.version(pipeline.id, pipeline.wanted_version)
    return render_template(
        "pipelines/review.html",
        pipeline=pipeline,
        preview=found,
        version=version,
        is_protected=environments.is_protected(pipeline.environment_id),
        runs=runs,
        selector=selector,
        problem=problem,
        lines=text_difference.difference(runs.config_yaml if runs else "", config_yaml),
        count=found.targets,
        nodes=targets.part(found, page, NODES_A_PAGE),
        page=page,
        pages=pages,
        changelog=request.args.get("changelog", "")[:500],
        revision=deploys.draft_revision(pipeline),
    )
