"""What became of a pipeline: its versions, the difference between any two, and each as a file."""

from __future__ import annotations

import re

from flask import Response, render_template, request
from flask.typing import ResponseReturnValue

from app import pipelines, text_difference
from app.errors import InvalidInputError
from app.pages.pipelines import bp

DRAFT = "draft"
CHOICES = 200
"""Versions that can be chosen for a comparison; older ones by their number in the address."""


@bp.get("/<pipeline_id>/versions")
def versions(pipeline_id: str) -> ResponseReturnValue:
    """All versions, newest first."""
    pipeline = pipelines.get(pipeline_id)
    cursor = request.args.get("cursor") or None
    page = pipelines.versions(pipeline_id, limit=100, cursor=cursor, content=False)
    return render_template(
        "pipelines/versions.html", pipeline=pipeline, versions=page.items, next_cursor=page.next_cursor
    )


@bp.get("/<pipeline_id>/versions/<int:number>")
def version(pipeline_id: str, number: int) -> ResponseReturnValue:
    """What one version brought to nodes."""
    pipeline, found = pipelines.get(pipeline_id), pipelines.version(pipeline_id, number)
    return render_template("pipelines/version.html", pipeline=pipeline, version=found)


@bp.get("/<pipeline_id>/compare")
def compare(pipeline_id: str) -> ResponseReturnValue:
    """The difference between two versions, or between one and the draft."""
    pipeline = pipelines.get(pipeline_id)
    known = [each.version for each in pipelines.versions(pipeline_id, limit=CHOICES, content=False).items]
    before = request.args.get("from") or str(pipeline.wanted_version or (known[0] if known else DRAFT))
    after = request.args.get("to") or DRAFT
    (old, old_selector), (new, new_selector) = (_content(pipeline_id, each) for each in (before, after))
    return render_template(
        "pipelines/compare.html",
        pipeline=pipeline,
        choices=[DRAFT, *(str(number) for number in known)],
        before=before,
        after=after,
        selectors=(old_selector, new_selector),
        lines=text_difference.difference(old, new),
    )


@bp.get("/<pipeline_id>/export/<which>")
def export(pipeline_id: str, which: str) -> ResponseReturnValue:
    """The YAML of the ``draft`` or of a version, as a file with a name that tells what it is."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", pipelines.get(pipeline_id).name).strip("-.") or "pipeline"
    text, _ = _content(pipeline_id, which)
    suffix = which if which == DRAFT else f"v{which}"
    return Response(
        text,
        mimetype="application/yaml",
        headers={"Content-Disposition": f'attachment; filename="{name}-{suffix}.yaml"'},
    )


def _content(pipeline_id: str, which: str) -> tuple[str, str]:
    """YAML and selector of the draft or of a version.

    :raises InvalidInputError: *which* is neither.
    """
    if which == DRAFT:
        pipeline = pipelines.get(pipeline_id)
        return pipeline.config_yaml, pipeline.node_selector
    if not which.isascii() or not which.isdecimal() or len(which) > 10:
        message = 'it is the number of a version, or "draft"'
        raise InvalidInputError(
            f"The versions cannot be compared: {message}.", [{"field": "version", "message": message}]
        )
    found = pipelines.version(pipeline_id, int(which))
    return found.config_yaml, found.node_selector
