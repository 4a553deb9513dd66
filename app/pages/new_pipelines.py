"""How a pipeline begins: from one of the gallery, from a ``vector.yaml`` that somebody has, or empty."""

from __future__ import annotations

from dataclasses import replace

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, environments, pipeline_yaml, pipelines, starter_pipelines, vector_file
from app.errors import InvalidInputError, SignalboxError
from app.pages.pipelines import Draft, bp
from app.starter_pipelines import STARTERS


@bp.get("/new")
def new() -> ResponseReturnValue:
    """The form for a new pipeline, with a starter in it: the first one runs as it stands."""
    starter = starter_pipelines.get(request.args.get("starter") or STARTERS[0].key)
    draft = Draft(
        name=starter.key if request.args.get("starter") else "",
        environment_id=request.args.get("environment", ""),
        config_yaml=starter.config_yaml,
    )
    return _page(draft, starter_key=starter.key)


@bp.post("/new")
def create() -> ResponseReturnValue:
    """Make a pipeline; nothing reaches a node."""
    draft = Draft.from_request()
    try:
        access.require("editor", draft.environment_id)
        pipeline = pipelines.create(
            access.actor(),
            environment_id=draft.environment_id,
            name=draft.name,
            config_yaml=draft.config_yaml,
            node_selector=draft.node_selector,
        )
    except SignalboxError as error:
        return _page(draft, error), error.status
    flash(f"Made the pipeline {pipeline.name}, a draft that runs nowhere yet. Next: deploy it.", "good")
    return redirect(url_for("pages.pipelines.show", pipeline_id=pipeline.id))


@bp.post("/import")
def import_file() -> ResponseReturnValue:
    """Put a file, or what was pasted, into the form for a new pipeline, and say what was left out of it."""
    draft = Draft.from_request()
    sent = request.files.get("file")
    try:
        if sent is not None and sent.filename:
            content = sent.stream.read(pipeline_yaml.MAX_BYTES + 1)
        else:
            content = draft.config_yaml.encode("utf-8", "surrogatepass")
        if not content.strip():
            message = "choose a file, or paste one"
            raise InvalidInputError(
                f"There is nothing to import: {message}.", [{"field": "file", "message": message}]
            )
        found = vector_file.read(content)
    except InvalidInputError as error:
        return _page(replace(draft, config_yaml=draft.config_yaml or STARTERS[0].config_yaml), error), 400
    return _page(replace(draft, config_yaml=found.config_yaml), notes=found.notes, is_imported=True)


def _page(
    draft: Draft,
    problem: SignalboxError | None = None,
    notes: list[str] | None = None,
    is_imported: bool = False,
    starter_key: str = "",
) -> str:
    return render_template(
        "pipelines/new.html",
        draft=draft,
        problem=problem,
        notes=notes or [],
        is_imported=is_imported,
        starters=STARTERS,
        starter_key=starter_key,
        environments=environments.choices(access.where("editor")),
    )
