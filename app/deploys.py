"""Deploy, undeploy, roll back: a row that says what nodes must run, then a nudge to those concerned.

Commit, then tell: what is told is in the database, and what is not told is found by the sweep.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import assembly, certificate_store, pipeline_yaml, preconditions, references, secret_store
from app.audit import Actor
from app.database import look, snapshot, transaction
from app.deploy_acts import DeployOutcome, DraftChangedError, Release, perform, tell
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.models import Environment, Pipeline, PipelineVersion
from app.pipeline_yaml import Problem
from app.references import Reference


@dataclass(frozen=True, slots=True)
class Content:
    """What a version is made of."""

    config_yaml: str
    node_selector: str
    log_level: str | None
    changelog: str | None


def deploy(
    pipeline_id: str, actor: Actor, changelog: str | None = None, *, made_from: str | None = None
) -> DeployOutcome:
    """Make a version of the draft and tell the nodes that match it.

    *made_from* is the ``draft_revision`` that somebody has looked at: another draft is not deployed.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: the draft cannot run, or names what does not exist; ``details`` say where.
    :raises ConflictError: what it names cannot be decrypted, or the draft is not *made_from*.
    """

    named: list[Reference] = []

    def new_version(session: Session, pipeline: Pipeline, environment: Environment) -> PipelineVersion:
        check_draft(pipeline, made_from)
        content = Content(pipeline.config_yaml, pipeline.node_selector, pipeline.log_level, changelog)
        return rendered_version(session, environment, content, named)

    # The draft is checked outside the transaction (parsing takes a while) and again if it has changed since.
    checked: str | None = None
    while True:
        # Not db.session: the request may have begun a transaction that sees an older draft (hazard 6).
        found = look(select(Pipeline.config_yaml).where(Pipeline.id == pipeline_id))
        if not found:
            raise NotFoundError("There is no such pipeline.")
        (draft,) = found[0]
        if draft != checked:
            named[:] = check_deployable(draft)
            checked = draft
        try:
            act = transaction(
                partial(
                    perform,
                    kind="deploy",
                    pipeline_id=pipeline_id,
                    actor=actor,
                    new_version=new_version,
                    checked_draft=checked,
                )
            )
        except DraftChangedError:
            continue
        return tell(act, pipeline_id, "deploy")


def draft_revision(pipeline: Pipeline) -> str:
    """Another one for each YAML and selector that the draft can have (16 hex)."""
    content = f"{pipeline.node_selector}\0{pipeline.config_yaml}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


def edit_revision(pipeline: Pipeline) -> str:
    """Another one for each draft, name and log level included, for whoever edits it or deploys it on a condition."""
    return preconditions.revision_of(
        pipeline.name, pipeline.config_yaml, pipeline.node_selector, pipeline.log_level
    )


def check_draft(pipeline: Pipeline, made_from: str | None) -> None:
    """Refuse a draft that is not the one that somebody has looked at.

    :raises ConflictError: with a sentence.
    """
    preconditions.check(edit_revision(pipeline))
    if made_from not in (None, draft_revision(pipeline)):
        raise ConflictError(
            "The draft was changed since you looked at it. Look again at what it would bring."
        )


def rollback(pipeline_id: str, version: int, actor: Actor) -> DeployOutcome:
    """Make a new version with the content of an old one; the draft stays as it is.

    :raises NotFoundError: there is no such pipeline or version.
    :raises InvalidInputError: the version names what does not exist any more; ``details`` say where.
    :raises ConflictError: what it names cannot be decrypted, or another certificate has its file's name.
    """

    def new_version(session: Session, pipeline: Pipeline, environment: Environment) -> PipelineVersion:
        # No database column holds a number that large, and SQLite's driver fails on it.
        old = session.get(PipelineVersion, (pipeline_id, version)) if 0 < version < 2**31 else None
        if old is None:
            raise NotFoundError(f"The pipeline has no version {version}.")
        return version_again(session, environment, old)

    act = transaction(lambda session: perform(session, "rollback", pipeline_id, actor, new_version))
    return tell(act, pipeline_id, "rollback")


def undeploy(pipeline_id: str, actor: Actor, *, release: Release | None = None) -> DeployOutcome:
    """Take the pipeline off every node that runs it; versions and draft stay.

    :raises NotFoundError: there is no such pipeline.
    :raises ConflictError: it is not deployed, or the environment is protected and there is no *release*.
    """
    act = transaction(lambda session: perform(session, "undeploy", pipeline_id, actor, None, release=release))
    return tell(act, pipeline_id, "undeploy")


def rendered_version(
    session: Session, environment: Environment, content: Content, named: list[Reference]
) -> PipelineVersion:
    """A version of *content*, which names *named*; under the environment's lock: until the commit nobody removes it.

    :raises InvalidInputError: it names what does not exist; ``details`` say where.
    """
    check_references(session, environment.id, named)
    # Asked for where something is named at all: the database is between the call and the nodes.
    file_names = certificate_store.file_names(session, environment.id) if named else {}
    rendered = references.render(content.config_yaml, named, file_names)
    return PipelineVersion(
        config_yaml=content.config_yaml,
        node_selector=content.node_selector,
        log_level=content.log_level,
        rendered_yaml=rendered,
        checksum=assembly.checksum_of(environment.checksum_key, rendered, content.log_level),
        checksum_scheme=assembly.CHECKSUM_SCHEME,
        reference_names=references.names_of(named, file_names).to_json(),
        changelog=content.changelog,
    )


def version_again(session: Session, environment: Environment, old: PipelineVersion) -> PipelineVersion:
    """A version with the content of *old*, byte for byte as nodes had it.

    :raises InvalidInputError: it names what does not exist any more; ``details`` say where.
    """
    check_version(session, environment.id, old)
    return PipelineVersion(
        config_yaml=old.config_yaml,
        node_selector=old.node_selector,
        log_level=old.log_level,
        rendered_yaml=old.rendered_yaml,
        checksum=old.checksum,
        checksum_scheme=old.checksum_scheme,
        reference_names=old.reference_names,
        changelog=rolled_back_to(old.version),
    )


def rolled_back_to(version: int) -> str:
    """The changelog of a rollback."""
    return f"Rolled back to version {version}."


def check_deployable(config_yaml: str) -> list[Reference]:
    """Refuse a draft that no Vector would run; what it names, which may not exist.

    :raises InvalidInputError: ``details`` name each problem's component and line.
    """
    parsed = pipeline_yaml.parse(config_yaml)
    _refuse(parsed.problems)
    return pipeline_yaml.references(parsed.tree)


def check_deployable_in(environment_id: str, config_yaml: str) -> None:
    """Refuse a draft that a deploy in the environment would refuse.

    :raises InvalidInputError: ``details`` name each problem's component and line.
    """
    named = check_deployable(config_yaml)
    if named:
        snapshot(lambda session: check_references(session, environment_id, named))


def check_version(session: Session, environment_id: str, version: PipelineVersion) -> None:
    """Refuse a version that names what does not exist any more.

    :raises InvalidInputError: ``details`` say where.
    """
    if version.reference_names:
        named = pipeline_yaml.references(pipeline_yaml.parse(version.config_yaml).tree)
        check_references(session, environment_id, named)


def check_references(session: Session, environment_id: str, named: list[Reference]) -> None:
    """Refuse what names what does not exist in the environment.

    :raises InvalidInputError: ``details`` say where.
    """
    _refuse(missing_references(session, environment_id, named))


def missing_references(session: Session, environment_id: str, named: list[Reference]) -> list[Problem]:
    """A problem for each reference to what the environment does not have."""
    if not named:
        return []
    return pipeline_yaml.missing_references(
        named,
        secret_store.names(session, environment_id),
        certificate_store.file_names(session, environment_id).keys(),
    )


def _refuse(problems: list[Problem]) -> None:
    """Refuse a draft or version for its *problems*, if there are any.

    :raises InvalidInputError: ``details`` name each problem's component and line.
    """
    if problems:
        first = problems[0]
        where = ", ".join(
            part
            for part in (
                f"component {first.component}" if first.component else "",
                f"line {first.line}" if first.line else "",
            )
            if part
        )
        raise InvalidInputError(
            f"The pipeline cannot be deployed: {first.message.rstrip('.')}{f' ({where})' if where else ''}.",
            [problem.to_detail() for problem in problems],
        )
