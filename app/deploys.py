"""Deploy, undeploy, roll back: a row that says what nodes must run, then a nudge to those concerned.

Commit, then tell: what is told is in the database, and what is not told is found by the sweep.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import (
    assembly,
    audit,
    certificate_store,
    deployments,
    pipeline_yaml,
    preconditions,
    references,
    revisions,
    secret_store,
    selectors,
)
from app.audit import Actor
from app.clock import utc_now
from app.database import snapshot, transaction
from app.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from app.ids import new_id
from app.matching import deployed_selector, matching, reached
from app.materials import UnassembledError
from app.models import Deployment, Environment, Pipeline, PipelineVersion
from app.pipeline_yaml import Problem
from app.push import messages
from app.references import Reference
from app.switchboard_process import switchboard, worker_label

log = logging.getLogger("signalbox.deploys")


@dataclass(frozen=True, slots=True)
class DeployOutcome:
    """What an act did: ``version`` is ``None`` for an undeploy, ``pushed`` counts targets handed a nudge."""

    deployment_id: str
    version: int | None
    targets: int
    pushed: int
    push_error: str | None


class _DraftChangedError(Exception):
    """The draft is no longer the one that was checked."""


@dataclass(frozen=True, slots=True)
class _Act:
    """What was committed and whom to tell."""

    deployment_id: str
    environment_id: str
    version: int | None
    targets: list[str]
    former: list[str]
    """Nodes that ran the pipeline before and no longer match."""
    earlier: list[str]
    """Deployments of the pipeline that may still wait for nodes."""


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
        preconditions.check(edit_revision(pipeline))
        if made_from not in (None, draft_revision(pipeline)):
            raise ConflictError(
                "The draft was changed since you looked at it. Look again at what it would bring."
            )
        # Here, under the environment's lock: until the commit nobody removes what is named.
        _refuse(missing_references(session, environment.id, named))
        # Asked for where something is named at all: the database is between the call and the nodes.
        file_names = certificate_store.file_names(session, environment.id) if named else {}
        rendered = references.render(pipeline.config_yaml, named, file_names)
        return PipelineVersion(
            config_yaml=pipeline.config_yaml,
            node_selector=pipeline.node_selector,
            log_level=pipeline.log_level,
            rendered_yaml=rendered,
            checksum=assembly.checksum_of(environment.checksum_key, rendered, pipeline.log_level),
            checksum_scheme=assembly.CHECKSUM_SCHEME,
            reference_names=references.names_of(named, file_names).to_json(),
            changelog=changelog,
        )

    # The draft is checked outside the transaction (parsing takes a while) and again if it has changed since.
    checked: str | None = None
    while True:
        # Not db.session: the request may have begun a transaction that sees an older draft (hazard 6).
        draft = snapshot(
            lambda session: session.scalar(select(Pipeline.config_yaml).where(Pipeline.id == pipeline_id))
        )
        if draft is None:
            raise NotFoundError("There is no such pipeline.")
        if draft != checked:
            named[:] = check_deployable(draft)
            checked = draft
        try:
            act = transaction(
                partial(
                    _act,
                    kind="deploy",
                    pipeline_id=pipeline_id,
                    actor=actor,
                    new_version=new_version,
                    checked_draft=checked,
                )
            )
        except _DraftChangedError:
            continue
        return _tell(act, pipeline_id, "deploy")


def draft_revision(pipeline: Pipeline) -> str:
    """Another one for each YAML and selector that the draft can have (16 hex)."""
    content = f"{pipeline.node_selector}\0{pipeline.config_yaml}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:16]


def edit_revision(pipeline: Pipeline) -> str:
    """Another one for each draft, name and log level included, for whoever edits it or deploys it on a condition."""
    return preconditions.revision_of(
        pipeline.name, pipeline.config_yaml, pipeline.node_selector, pipeline.log_level
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
        if old.reference_names:
            named = pipeline_yaml.references(pipeline_yaml.parse(old.config_yaml).tree)
            _refuse(missing_references(session, environment.id, named))
        return PipelineVersion(
            config_yaml=old.config_yaml,
            node_selector=old.node_selector,
            log_level=old.log_level,
            rendered_yaml=old.rendered_yaml,
            checksum=old.checksum,
            checksum_scheme=old.checksum_scheme,
            reference_names=old.reference_names,
            changelog=f"Rolled back to version {version}.",
        )

    act = transaction(lambda session: _act(session, "rollback", pipeline_id, actor, new_version))
    return _tell(act, pipeline_id, "rollback")


def undeploy(pipeline_id: str, actor: Actor) -> DeployOutcome:
    """Take the pipeline off every node that runs it; versions and draft stay.

    :raises NotFoundError: there is no such pipeline.
    :raises ConflictError: it is not deployed.
    """
    act = transaction(lambda session: _act(session, "undeploy", pipeline_id, actor, None))
    return _tell(act, pipeline_id, "undeploy")


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
        _refuse(snapshot(lambda session: missing_references(session, environment_id, named)))


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


NewVersion = Callable[[Session, Pipeline, Environment], PipelineVersion]


def _act(
    session: Session,
    kind: str,
    pipeline_id: str,
    actor: Actor,
    new_version: NewVersion | None,
    checked_draft: str | None = None,
) -> _Act:
    """Write one act.

    :raises _DraftChangedError: the draft is no longer the one that was checked.
    """
    environment_id = session.scalar(select(Pipeline.environment_id).where(Pipeline.id == pipeline_id))
    if environment_id is None:
        raise NotFoundError("There is no such pipeline.")
    # First the environment's row: acts in one environment then happen one after the other, on both databases.
    revisions.touch(session, environment_id)
    environment = session.get_one(Environment, environment_id)
    pipeline = session.get(Pipeline, pipeline_id)
    if pipeline is None:
        raise NotFoundError("There is no such pipeline.")
    if checked_draft is not None and pipeline.config_yaml != checked_draft:
        raise _DraftChangedError

    before = deployed_selector(session, pipeline)
    if new_version is None:
        if pipeline.wanted_version is None:
            raise ConflictError(f'The pipeline "{pipeline.name}" is not deployed.')
        number, after = None, None
    else:
        number = _next_version(session, pipeline_id)
        version = new_version(session, pipeline, environment)
        version.pipeline_id, version.version = pipeline_id, number
        version.created_by, version.created_at = actor.name, utc_now()
        session.add(version)
        session.flush()
        _check_assembled(session, environment, version)
        after = selectors.parse(version.node_selector)
    former_version, pipeline.wanted_version = pipeline.wanted_version, number

    earlier = deployments.latest_of(session, pipeline_id)
    deployment = Deployment(
        id=new_id(),
        pipeline_id=pipeline_id,
        environment_id=environment_id,
        kind=kind,
        version=number,
        targets=0,
        created_by=actor.name,
        created_at=utc_now(),
    )
    session.add(deployment)
    session.flush()
    concerns = before if after is None else after
    assert concerns is not None  # nothing is undeployed that was not deployed
    concerned = deployments.open_for(session, deployment, reached(environment, concerns))
    deployment.targets = len(concerned)
    former: list[str] = []
    if before not in (None, concerns):
        kept = set(concerned)
        (found,) = matching(session, environment, [before])
        former = [target.node_id for target in found if target.node_id not in kept]
    audit.record(
        session,
        actor,
        f"pipeline.{kind}",
        environment_id=environment_id,
        subject_id=pipeline_id,
        name=pipeline.name,
        version=number,
        before={"version": former_version},
        after={"version": number},
        targets=len(concerned),
    )
    return _Act(deployment.id, environment_id, number, concerned, former, earlier)


def _check_assembled(session: Session, environment: Environment, version: PipelineVersion) -> None:
    """Refuse a version that nodes could not be given; note what they are given."""
    names = references.Names.from_json(version.reference_names)
    if names.certificates:
        certificate_store.check_file_names(session, environment.id, dict(names.certificates))
    try:
        assembly.remember(session, environment, version)
    except UnassembledError as error:
        raise ConflictError(f"The pipeline cannot be deployed: {error} Put it again.") from None


def _tell(act: _Act, pipeline_id: str, reason: str) -> DeployOutcome:
    """Nudge whom the committed act concerns, and note how many nudges were taken."""
    message = messages.config_changed(reason, pipeline_id)
    outcome = switchboard().nudge(act.targets, message, act.deployment_id)
    if act.former:
        switchboard().nudge(act.former, message)
    switchboard().publish_fleet_changed(act.environment_id, [*act.targets, *act.former])

    def note(session: Session) -> None:
        session.execute(
            update(Deployment)
            .where(Deployment.id == act.deployment_id)
            .values(pushed=outcome.pushed, push_error=outcome.error)
        )

    try:
        transaction(note)
        deployments.overtake(act.earlier)
    except (UnavailableError, SQLAlchemyError) as error:
        # The act itself is committed and told: an error answer would say the opposite.
        log.warning("not all written down deployment=%s: %s", act.deployment_id, error)
    log.info(
        "pipeline %s pipeline=%s version=%s deployment=%s targets=%d pushed=%d worker=%s",
        reason,
        pipeline_id,
        act.version,
        act.deployment_id,
        len(act.targets),
        outcome.pushed,
        worker_label(),
    )
    return DeployOutcome(act.deployment_id, act.version, len(act.targets), outcome.pushed, outcome.error)


def _next_version(session: Session, pipeline_id: str) -> int:
    last = session.scalar(
        select(func.max(PipelineVersion.version)).where(PipelineVersion.pipeline_id == pipeline_id)
    )
    return (last or 0) + 1
