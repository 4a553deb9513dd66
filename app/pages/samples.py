"""A look at the events of a deployed pipeline: which components, and what nodes have shown of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, environments, pipelines, sample_views, samples
from app.errors import ConflictError, InvalidInputError, SignalboxError
from app.pages import live, words
from app.pages.live import Picture
from app.sample_views import Samples
from app.switchboard_process import switchboard

bp = Blueprint("samples", __name__)


@dataclass(frozen=True)
class Draft:
    """What stands in the form."""

    keys: list[str] = field(default_factory=list)
    limit: str = str(samples.DEFAULT_EVENTS)


@bp.get("/pipelines/<pipeline_id>/samples")
def index(pipeline_id: str) -> ResponseReturnValue:
    """The form, and what was asked lately."""
    return _page(pipeline_id, Draft())


@bp.post("/pipelines/<pipeline_id>/samples")
def ask(pipeline_id: str) -> ResponseReturnValue:
    """Ask the nodes that run it."""
    draft = Draft(request.form.getlist("components"), request.form.get("limit", "").strip())
    try:
        limit = (
            int(draft.limit)
            if draft.limit.isascii() and draft.limit.isdecimal() and len(draft.limit) < 5
            else 0
        )
        done = samples.ask(pipeline_id, draft.keys, limit, access.actor())
    except (InvalidInputError, ConflictError) as error:
        return _page(pipeline_id, draft, error), error.status
    told = f"Asked {words.plural(done.nodes, 'node')}, {done.pushed} of them told at once"
    if done.push_error is not None:
        flash(f"{told}. {done.push_error}", "busy")
    elif done.pushed < done.nodes:
        flash(f"{told}; the others hear of it when they next ask.", "good")
    return redirect(url_for("pages.samples.show", request_id=done.request_id))


@bp.get("/samples/<request_id>")
def show(request_id: str) -> ResponseReturnValue:
    """What has come of a request so far."""
    found = sample_views.get(request_id)
    return render_template(
        "samples/show.html",
        found=found,
        environment_name=environments.get(found.environment_id).name,
        picture=_picture(found),
    )


@bp.get("/samples/<request_id>/events")
def events(request_id: str) -> ResponseReturnValue:
    """What comes of it, as it does."""
    return live.events(_painter(request_id))


@bp.get("/samples/<request_id>/rows")
def rows(request_id: str) -> ResponseReturnValue:
    """The page's changing parts, for a browser that polls."""
    return live.rows(_painter(request_id))


def _painter(request_id: str) -> live.Paint:
    last: list[Picture] = []

    def paint() -> Picture:
        # An ended request does not change, and may have megabytes.
        if not last:
            found = sample_views.get(request_id)
            picture = _picture(found)
            if found.request.finished_at is None:
                return picture
            last.append(picture)
        return last[0]

    return paint


def _picture(found: Samples) -> Picture:
    by_key = {sample.component_key: sample for sample in found.samples}
    since = switchboard().unknown_since if found.request.finished_at is None else None
    parts = {"summary": live.draw("samples/summary.html", found=found, unknown_since=since)}
    for number, key in enumerate(found.request.component_keys):
        parts[f"component-{number}"] = live.draw(
            "samples/component.html",
            id=f"component-{number}",
            key=key,
            of_inputs=key in found.request.sink_keys,
            request=found.request,
            sample=by_key.get(key),
            failures=[failure for failure in found.failures if failure.component_key == key],
        )
    return Picture(parts, {}, frozenset(found.asked))


def _page(pipeline_id: str, draft: Draft, problem: SignalboxError | None = None) -> str:
    pipeline = pipelines.get(pipeline_id)
    return render_template(
        "samples/index.html",
        pipeline=pipeline,
        environment_name=environments.get(pipeline.environment_id).name,
        components=samples.components(pipeline_id),
        latest=samples.latest(pipeline_id),
        draft=draft,
        problem=problem,
        most_components=samples.MAX_COMPONENTS,
        most_events=samples.MAX_EVENTS,
        most_nodes=samples.MAX_NODES,
    )
