"""Pipelines: the draft that people edit, and the versions that deploys made of it."""

from __future__ import annotations

from datetime import UTC
from types import EllipsisType
from typing import Any

from sqlalchemy import delete as delete_rows
from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, defer

from app import assembly, audit, deploys, names, pipeline_yaml, preconditions, revisions, selectors
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, Detail, InvalidInputError, NotFoundError
from app.ids import is_id, new_id
from app.models import AuditEntry, Environment, NodePipeline, Pipeline, PipelineVersion
from app.paging import DEFAULT_LIMIT, Page, decode_cursor, first_of
from app.principal import Within

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "off")
"""What Vector takes as ``VECTOR_LOG``."""


def create(
    actor: Actor,
    *,
    environment_id: str,
    name: str,
    config_yaml: str,
    node_selector: str = "",
    log_level: str | None = None,
) -> Pipeline:
    """Make a draft; it may be unfinished, a deploy checks it.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: the name, the selector or the log level cannot be used.
    :raises ConflictError: the environment has a pipeline of that name.
    """
    now = utc_now()
    pipeline_id = new_id()
    wanted = _checked(name=name, config_yaml=config_yaml, node_selector=node_selector, log_level=log_level)

    def work(session: Session) -> Pipeline:
        # Held until the commit, so that the environment cannot be deleted in between.
        lock: Any = {"read": True, "key_share": True}
        if (
            not is_id(environment_id)
            or session.get(Environment, environment_id, with_for_update=lock) is None
        ):
            raise NotFoundError("There is no such environment.")
        pipeline = Pipeline(
            id=pipeline_id, environment_id=environment_id, created_at=now, updated_at=now, **wanted
        )
        session.add(pipeline)
        audit.record(
            session,
            actor,
            "pipeline.create",
            environment_id=environment_id,
            subject_id=pipeline_id,
            pipeline=wanted["name"],
        )
        return pipeline

    return _with_unique_name(wanted["name"], work)


def update(
    pipeline_id: str,
    actor: Actor,
    *,
    name: str | None = None,
    config_yaml: str | None = None,
    node_selector: str | None = None,
    log_level: str | EllipsisType | None = ...,
    made_from: str | None = None,
) -> Pipeline:
    """Change what is given of the draft; only a deploy brings it to nodes. ``log_level=None`` is Vector's own.

    *made_from* is the ``deploys.draft_revision`` that somebody edited: if the draft is another one by now, nothing is
    changed.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: the name, the selector or the log level cannot be used.
    :raises ConflictError: the environment has another pipeline of that name, or the draft is not *made_from*.
    """
    given = {"name": name, "config_yaml": config_yaml, "node_selector": node_selector}
    wanted = _checked(
        **{key: value for key, value in given.items() if value is not None},
        **({} if isinstance(log_level, EllipsisType) else {"log_level": log_level}),
    )

    def work(session: Session) -> Pipeline:
        pipeline = _get(session, pipeline_id)
        if "name" in wanted and wanted["name"] != pipeline.name:
            # Nodes are told the name as well: it belongs to their revision. None restarts for it, so there is
            # no hurry: the sweep tells those that are connected, the others ask.
            revisions.touch(session, pipeline.environment_id)
        pipeline = _get(session, pipeline_id, again=True)
        preconditions.check(deploys.edit_revision(pipeline))
        changed = {key: value for key, value in wanted.items() if getattr(pipeline, key) != value}
        if changed:
            if made_from not in (None, deploys.draft_revision(pipeline)):
                raise ConflictError(_who_changed(session, pipeline))
            # The YAML itself may hold what somebody should have made a secret.
            told = changed.keys() - {"config_yaml"}
            before = {key: getattr(pipeline, key) for key in told}
            for key, value in changed.items():
                setattr(pipeline, key, value)
            pipeline.updated_at = utc_now()
            audit.record(
                session,
                actor,
                "pipeline.update",
                environment_id=pipeline.environment_id,
                subject_id=pipeline_id,
                pipeline=pipeline.name,
                before=before,
                after={key: changed[key] for key in told},
                config_changed="config_yaml" in changed,
            )
        return pipeline

    return _with_unique_name(wanted.get("name", ""), work)


def differs_from_wanted(pipeline_id: str) -> bool:
    """Whether a deploy would bring other content to nodes than the version that is wanted; False if none is."""
    query = (
        select(PipelineVersion.version)
        .join(Pipeline, Pipeline.id == PipelineVersion.pipeline_id)
        .where(
            Pipeline.id == pipeline_id,
            PipelineVersion.version == Pipeline.wanted_version,
            or_(
                PipelineVersion.config_yaml != Pipeline.config_yaml,
                PipelineVersion.node_selector != Pipeline.node_selector,
                PipelineVersion.log_level.is_distinct_from(Pipeline.log_level),
            ),
        )
    )
    return snapshot(lambda session: session.scalar(query)) is not None


def hold(pipeline: Pipeline) -> str | None:
    """Why nodes must keep what they run of the deployed version, which cannot be assembled; ``None`` if it can."""
    if pipeline.wanted_version is None:
        return None
    return assembly.wanted_for(pipeline.environment_id).held.get(pipeline.id)


def delete(pipeline_id: str, actor: Actor) -> None:
    """Delete a pipeline that is not deployed, with its versions.

    :raises NotFoundError: there is no such pipeline.
    :raises ConflictError: it is deployed.
    """

    def work(session: Session) -> None:
        pipeline = _get(session, pipeline_id)
        # The environment's row first, as in a deploy: one of the two then sees what the other did.
        revisions.touch(session, pipeline.environment_id)
        pipeline = _get(session, pipeline_id, again=True)
        preconditions.check(deploys.edit_revision(pipeline))
        if pipeline.wanted_version is not None:
            raise ConflictError(
                f'The pipeline "{pipeline.name}" cannot be deleted: its version {pipeline.wanted_version} is'
                " deployed. Undeploy it first."
            )
        audit.record(
            session,
            actor,
            "pipeline.delete",
            environment_id=pipeline.environment_id,
            subject_id=pipeline_id,
            pipeline=pipeline.name,
        )
        session.execute(delete_rows(NodePipeline).where(NodePipeline.pipeline_id == pipeline_id))
        session.delete(pipeline)

    transaction(work)


def get(pipeline_id: str) -> Pipeline:
    """One pipeline.

    :raises NotFoundError: there is none of that id.
    """
    return snapshot(lambda session: _get(session, pipeline_id))


def listing(
    *,
    environment_id: str | None = None,
    within: Within = None,
    name: str | None = None,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page[Pipeline]:
    """A page of the pipelines of an environment (``None``: of all) that are *within*, newest first.

    With *name* those that are called so.

    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = select(Pipeline).order_by(Pipeline.id.desc()).limit(limit + 1)
    if environment_id is not None:
        query = query.where(Pipeline.environment_id == environment_id)
    if within is not None:
        query = query.where(Pipeline.environment_id.in_(within))
    if name is not None:
        query = query.where(Pipeline.name == name)
    if cursor is not None:
        query = query.where(Pipeline.id < decode_cursor(cursor, 1)[0])
    rows = list(snapshot(lambda session: session.scalars(query).all()))
    return first_of(rows, limit, lambda row: [row.id])


def versions(
    pipeline_id: str, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None, content: bool = True
) -> Page[PipelineVersion]:
    """A page of the pipeline's versions, newest first; without *content* their YAML is not read.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: the cursor is not one of this list.
    """
    query = (
        select(PipelineVersion)
        .where(PipelineVersion.pipeline_id == pipeline_id)
        .order_by(PipelineVersion.version.desc())
        .limit(limit + 1)
    )
    if not content:
        query = query.options(defer(PipelineVersion.config_yaml), defer(PipelineVersion.rendered_yaml))
    if cursor is not None:
        (last,) = decode_cursor(cursor, 1)
        if not last.isdecimal() or len(last) > 9:
            raise InvalidInputError("The cursor is not one of this list.")
        query = query.where(PipelineVersion.version < int(last))

    def read(session: Session) -> list[PipelineVersion]:
        _get(session, pipeline_id)
        return list(session.scalars(query))

    rows = snapshot(read)
    return first_of(rows, limit, lambda row: [str(row.version)])


def version(pipeline_id: str, number: int) -> PipelineVersion:
    """One version.

    :raises NotFoundError: there is no such pipeline, or no such version of it.
    """

    def read(session: Session) -> PipelineVersion:
        _get(session, pipeline_id)
        found = session.get(PipelineVersion, (pipeline_id, number)) if 0 < number < 2**31 else None
        if found is None:
            raise NotFoundError(f"The pipeline has no version {number}.")
        return found

    return snapshot(read)


def problems(environment_id: str, config_yaml: str) -> list[Detail]:
    """Why a deploy of *config_yaml* would be refused, with component and line; empty if it would not be."""
    try:
        deploys.check_deployable_in(environment_id, config_yaml)
    except InvalidInputError as error:
        return error.details
    return []


def _checked(**wanted: Any) -> dict[str, Any]:
    """The columns of a draft, refused where no draft can hold them."""
    if "name" in wanted:
        wanted["name"] = names.checked(wanted["name"])
    if "node_selector" in wanted:
        selectors.parse(wanted["node_selector"])
    if wanted.get("log_level") is not None:
        wanted["log_level"] = wanted["log_level"].lower()
        if wanted["log_level"] not in LOG_LEVELS:
            message = f"it is one of {', '.join(LOG_LEVELS)}"
            raise InvalidInputError(
                f"The log level cannot be used: {message}.", [{"field": "logLevel", "message": message}]
            )
    if len(wanted.get("config_yaml", "").encode("utf-8", "surrogatepass")) > pipeline_yaml.MAX_BYTES:
        message = f"it is larger than {pipeline_yaml.MAX_BYTES // 1024} KiB"
        raise InvalidInputError(
            f"The configuration cannot be kept: {message}.", [{"field": "configYaml", "message": message}]
        )
    return wanted


def _get(session: Session, pipeline_id: str, again: bool = False) -> Pipeline:
    """The pipeline; *again*, after waiting for a lock, reads it once more and locks it."""
    pipeline = None
    if is_id(pipeline_id):
        pipeline = session.get(Pipeline, pipeline_id, populate_existing=again, with_for_update=again or None)
    if pipeline is None:
        raise NotFoundError("There is no such pipeline.")
    return pipeline


def _who_changed(session: Session, pipeline: Pipeline) -> str:
    """A sentence on who changed the draft last, and when."""
    entry = session.scalar(
        select(AuditEntry)
        .where(
            AuditEntry.subject_id == pipeline.id,
            AuditEntry.action.in_(("pipeline.update", "pipeline.create")),
        )
        .order_by(AuditEntry.id.desc())
        .limit(1)
    )
    moment = pipeline.updated_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"The draft was changed meanwhile, by {entry.actor if entry else 'somebody else'} on {moment}."


def _with_unique_name(name: str, work: Any) -> Pipeline:
    try:
        pipeline: Pipeline = transaction(work)
    except IntegrityError:
        raise ConflictError(
            f'The environment already has a pipeline called "{name}".',
            [{"field": "name", "message": f'the name "{name}" is taken'}],
        ) from None
    return pipeline
