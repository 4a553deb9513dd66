"""The pipelines' pages: a draft to edit, a deploy, versions to go back to, and how the deployment stands."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import (
    access,
    action_batches,
    alerts,
    deploy_requests,
    deploys,
    environments,
    pipelines,
    progress,
    taps,
)
from app import targets as target_previews
from app.database import one_view
from app.errors import ConflictError, InvalidInputError, SignalboxError
from app.models import Pipeline
from app.pages import flow, live
from app.pages.live import Picture
from app.starter_pipelines import STARTERS
from app.switchboard_process import switchboard
from app.targets import Preview

VERSIONS_SHOWN = 25

bp = Blueprint("pipelines", __name__, url_prefix="/pipelines")


@dataclass(frozen=True)
class Draft:
    """What stands in the form, saved or not."""

    name: str = ""
    environment_id: str = ""
    config_yaml: str = ""
    node_selector: str = ""
    changelog: str = ""
    revision: str = ""
    """``deploys.draft_revision`` of what was edited; empty: of what is saved now."""

    @classmethod
    def from_request(cls) -> Draft:
        """Read the form; browsers end lines in CRLF, YAML on nodes does not."""
        form = request.form
        return cls(
            name=form.get("name", "").strip(),
            environment_id=form.get("environment_id", ""),
            config_yaml=form.get("config_yaml", "").replace("\r\n", "\n"),
            node_selector=form.get("node_selector", "").strip(),
            changelog=form.get("changelog", "").strip(),
            revision=form.get("revision", ""),
        )

    @classmethod
    def of(cls, pipeline: Pipeline) -> Draft:
        """The saved draft."""
        return cls(pipeline.name, pipeline.environment_id, pipeline.config_yaml, pipeline.node_selector)


@bp.get("")
def index() -> ResponseReturnValue:
    """All pipelines, or those of ``?environment=``, newest first."""
    chosen = request.args.get("environment") or None
    within = access.where("viewer")
    page = pipelines.listing(
        environment_id=chosen, within=within, limit=100, cursor=request.args.get("cursor") or None
    )
    known = environments.choices(within)
    names = {environment.id: environment.name for environment in known}
    return render_template(
        "pipelines/index.html",
        pipelines=page.items,
        standings=flow.standings([pipeline.id for pipeline in page.items]),
        starters=STARTERS,
        next_cursor=page.next_cursor,
        environments=known,
        environment_names=names,
        chosen=chosen,
        chosen_name=names.get(chosen or ""),
    )


@bp.get("/<pipeline_id>")
def show(pipeline_id: str) -> ResponseReturnValue:
    """The page as it is now."""
    return page_of(pipeline_id)


@bp.get("/<pipeline_id>/events")
def events(pipeline_id: str) -> ResponseReturnValue:
    """How the deployment goes on, as it does."""
    return live.events(_painter(pipeline_id))


@bp.get("/<pipeline_id>/rows")
def rows(pipeline_id: str) -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(_painter(pipeline_id))


@bp.post("/<pipeline_id>")
def save(pipeline_id: str) -> ResponseReturnValue:
    """Save the draft; nothing reaches a node."""
    draft = Draft.from_request()
    try:
        save_draft(pipeline_id, draft)
    except InvalidInputError as error:
        return page_of(pipeline_id, error, "The draft was not saved.", draft), error.status
    except ConflictError as error:
        return overtaken_page(pipeline_id, error, draft)
    flash("Saved the draft. Nodes go on with what was deployed.", "good")
    return redirect(url_for("pages.pipelines.show", pipeline_id=pipeline_id))


@bp.post("/<pipeline_id>/preview")
def preview(pipeline_id: str) -> ResponseReturnValue:
    """The page with what stands in the form, and whom a deploy of that would reach; nothing is saved."""
    draft = Draft.from_request()
    try:
        found = target_previews.preview(pipeline_id, draft.node_selector)
    except InvalidInputError as error:
        return page_of(pipeline_id, error, "Nothing was saved.", draft), error.status
    return page_of(pipeline_id, draft=draft, typed=found)


@bp.get("/<pipeline_id>/targets")
def targets(pipeline_id: str) -> ResponseReturnValue:
    """The nodes, by name, that a deploy would reach; ``?change=``, ``?selector=`` as in the operator API."""
    pipeline = pipelines.get(pipeline_id)
    asked = request.args.get("selector")
    change = next((each for each in target_previews.CHANGES if each == request.args.get("change")), None)
    found = target_previews.preview(pipeline_id, asked, field="selector")
    page = target_previews.page(found, change, request.args.get("cursor") or None)
    return render_template(
        "pipelines/target_list.html",
        pipeline=pipeline,
        change=change,
        asked=asked,
        selector=pipeline.node_selector if asked is None else asked,
        nodes=page.items,
        next_cursor=page.next_cursor,
    )


@bp.post("/<pipeline_id>/review")
def review(pipeline_id: str) -> ResponseReturnValue:
    """Save what stands in the form, and go on to what a deploy of it would do."""
    draft = Draft.from_request()
    try:
        save_draft(pipeline_id, draft)
    except InvalidInputError as error:
        refusal = "The draft was not saved, and nothing was deployed."
        return page_of(pipeline_id, error, refusal, draft), error.status
    except ConflictError as error:
        return overtaken_page(pipeline_id, error, draft)
    # A change that was described before a refusal is not asked for again.
    return redirect(
        url_for("pages.pipelines.review_deploy", pipeline_id=pipeline_id, changelog=draft.changelog or None)
    )


def paint(pipeline_id: str, target_count: int | None) -> Picture:
    """The picture of the latest deployment (before the first, of the *target_count* nodes that one would reach),
    and of what one can go back to or end.
    """
    latest, pipeline = progress.latest(pipeline_id), pipelines.get(pipeline_id)
    page = pipelines.versions(pipeline_id, limit=VERSIONS_SHOWN, content=False)
    is_other = pipelines.differs_from_wanted(pipeline_id)
    reporting = progress.count_reporting(pipeline_id)
    is_protected = environments.is_protected(pipeline.environment_id)
    waiting = deploy_requests.listing(pipeline_id=pipeline_id, is_open=True)
    parts = {
        **flow.parts(pipeline),
        "alerts": live.draw(
            "alerts/beside.html", rows=alerts.of_pipeline(pipeline_id), most=alerts.MOST_BESIDE
        ),
        "progress": live.draw(
            "pipelines/progress.html",
            pipeline=pipeline,
            progress=latest,
            target_count=target_count,
            unknown_since=switchboard().unknown_since,
        ),
        "retry": live.draw(
            "pipelines/retry.html",
            pipeline=pipeline,
            failed=action_batches.count_failed(pipeline_id),
            most=action_batches.MAX_NODES,
        ),
        "difference": live.draw("pipelines/difference.html", pipeline=pipeline, is_other=is_other),
        "more-versions": live.draw(
            "pipelines/more_versions.html",
            pipeline=pipeline,
            has_any=bool(page.items),
            has_more=page.next_cursor is not None,
        ),
        "end": live.draw(
            "pipelines/end.html", pipeline=pipeline, reporting=reporting, is_protected=is_protected
        ),
        "requests": live.draw("pipelines/requests.html", requests=waiting.items),
    }
    for each in page.items:
        parts[f"version-{each.version}"] = live.draw(
            "pipelines/version_row.html", pipeline=pipeline, version=each
        )
    shown = latest.nodes if latest else ()
    return Picture(
        parts,
        {"versions": [f"version-{each.version}" for each in page.items]},
        frozenset(node.node_id for node in shown),
    )


def _saved_targets(pipeline_id: str) -> Preview | None:
    """Whom a deploy of the draft would reach; ``None`` if its selector cannot be understood.

    :raises NotFoundError: there is no such pipeline.
    """
    try:
        return target_previews.preview(pipeline_id)
    except InvalidInputError:
        return None


def _count(found: Preview | None) -> int | None:
    return found.targets if found is not None else None


def _painter(pipeline_id: str) -> live.Paint:
    # Counted once, not at each look, and only to be shown: it looks at every node of the environment.
    pipelines.get(pipeline_id)
    target_count = None if progress.latest(pipeline_id) else _count(_saved_targets(pipeline_id))
    return lambda: paint(pipeline_id, target_count)


def save_draft(pipeline_id: str, draft: Draft) -> None:
    """Make it what is saved.

    :raises InvalidInputError: it cannot be saved.
    :raises ConflictError: somebody has saved another one since it was looked at.
    """
    pipelines.update(
        pipeline_id,
        access.actor(),
        config_yaml=draft.config_yaml,
        node_selector=draft.node_selector,
        made_from=draft.revision or None,
    )


def overtaken_page(pipeline_id: str, error: ConflictError, draft: Draft) -> ResponseReturnValue:
    """What was typed, beside what somebody else has saved meanwhile; sent again it replaces that."""
    html = page_of(pipeline_id, error, "Nothing was saved.", replace(draft, revision=""), overtaken=True)
    return html, error.status


@one_view()
def page_of(
    pipeline_id: str,
    problem: SignalboxError | None = None,
    refusal: str = "",
    draft: Draft | None = None,
    overtaken: bool = False,
    typed: Preview | None = None,
) -> str:
    """The page; *typed* is the preview of the selector in *draft*, where that is not saved."""
    pipeline = pipelines.get(pipeline_id)
    saved = _saved_targets(pipeline_id)
    target_count = _count(saved)
    return render_template(
        "pipelines/show.html",
        pipeline=pipeline,
        hold=pipelines.hold(pipeline),
        environment_name=environments.get(pipeline.environment_id).name,
        draft=draft or Draft.of(pipeline),
        draft_problems=pipelines.problems(pipeline.environment_id, pipeline.config_yaml),
        target_count=target_count,
        preview=typed or saved,
        previewed=draft.node_selector if draft is not None and typed is not None else None,
        revision=(draft and draft.revision) or deploys.draft_revision(pipeline),
        overtaken=overtaken,
        picture=paint(pipeline_id, target_count),
        problem=problem,
        refusal=refusal,
        tail_components=taps.components(pipeline_id),
    )
