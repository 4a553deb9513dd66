"""One act in an environment, written and told: a deploy, an undeploy or a rollback, whoever has asked for it.

Commit, then tell: what is told is in the database, and what is not told is found by the sweep.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import (
    assembly,
    audit,
    certificate_store,
    deploy_requests,
    deployments,
    references,
    revisions,
    selectors,
)
from app.audit import Actor
from app.clock import utc_now
from app.database import transaction
from app.errors import ConflictError, NotFoundError, UnavailableError
from app.ids import new_id
from app.many_ids import listed
from app.matching import matching, reached
from app.materials import UnassembledError
from app.models import Deployment, Environment, Pipeline, PipelineVersion
from app.push import messages
from app.switchboard_process import switchboard, worker_label

WRITING_SECONDS = 1e-5
"""For each node that was told: how long its worker may still be at it."""
WRITING_SECONDS_AT_MOST = 1.0

log = logging.getLogger("signalbox.deploys")


@dataclass(frozen=True, slots=True)
class DeployOutcome:
    """What an act did: ``version`` is ``None`` for an undeploy, ``pushed`` counts targets handed a nudge."""

    deployment_id: str
    version: int | None
    targets: int
    pushed: int
    push_error: str | None


@dataclass(frozen=True, slots=True)
class Act:
    """What was committed and whom to tell."""

    deployment_id: str
    environment_id: str
    version: int | None
    targets: list[str]
    former: list[str]
    """Nodes that ran the pipeline before and no longer match."""
    earlier: list[str]
    """Deployments of the pipeline that may still wait for nodes."""


class DraftChangedError(Exception):
    """The draft is no longer the one that was checked."""


class ProtectedError(ConflictError):
    """The environment is protected, and nobody else has approved the act; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Release:
    """Why an act is let through where the environment is protected."""

    check: Callable[[Session, Pipeline, Environment], None] = lambda session, pipeline, environment: None
    """Called under the environment's lock, before anything is written; refuses by raising."""
    note: Callable[[Session, Deployment], None] = lambda session, deployment: None
    """Called in the same transaction once the deployment is written."""
    author: str | None = None
    """Who is named as the maker of version and deployment; ``None``: whoever acts."""
    request_id: str | None = None
    """The request that is being carried out, which this deployment does not overtake."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """For the audit log."""


NewVersion = Callable[[Session, Pipeline, Environment], PipelineVersion]


def perform(
    session: Session,
    kind: str,
    pipeline_id: str,
    actor: Actor,
    new_version: NewVersion | None,
    checked_draft: str | None = None,
    release: Release | None = None,
) -> Act:
    """Write one act.

    :raises DraftChangedError: the draft is no longer the one that was checked.
    :raises ProtectedError: the environment is protected, and there is no *release*.
    """
    # First the environment's row: acts in one environment then happen one after the other, on both databases.
    environment = revisions.touch_for(session, pipeline_id)
    state = _state(session, pipeline_id)
    pipeline = state.pipeline
    if checked_draft is not None and pipeline.config_yaml != checked_draft:
        raise DraftChangedError

    if release is not None:
        release.check(session, pipeline, environment)
    elif environment.protected:
        raise ProtectedError(
            f'The environment "{environment.name}" is protected: somebody else must approve what is deployed there.'
        )

    before = selectors.parse(state.selector) if state.selector is not None else None
    author = (release.author if release is not None else None) or actor.name
    if new_version is None:
        if pipeline.wanted_version is None:
            raise ConflictError(f'The pipeline "{pipeline.name}" is not deployed.')
        number, after = None, None
    else:
        number = state.last_version + 1
        version = new_version(session, pipeline, environment)
        version.pipeline_id, version.version = pipeline_id, number
        version.created_by, version.created_at = author, utc_now()
        session.add(version)
        _check_assembled(session, environment, version)
        after = selectors.parse(version.node_selector)
    former_version, pipeline.wanted_version = pipeline.wanted_version, number

    concerns = before if after is None else after
    assert concerns is not None  # nothing is undeployed that was not deployed
    concerned = deployments.reached_ids(session, reached(environment, concerns))
    deployment = Deployment(
        id=new_id(),
        pipeline_id=pipeline_id,
        environment_id=environment.id,
        kind=kind,
        version=number,
        targets=len(concerned),
        nodes_due=listed(concerned) or None,
        created_by=author,
        created_at=utc_now(),
    )
    session.add(deployment)
    former: list[str] = []
    if before not in (None, concerns):
        kept = set(concerned)
        (found,) = matching(session, environment, [before])
        former = [target.node_id for target in found if target.node_id not in kept]
    audit.record(
        session,
        actor,
        f"pipeline.{kind}",
        environment_id=environment.id,
        subject_id=pipeline_id,
        name=pipeline.name,
        version=number,
        before={"version": former_version},
        after={"version": number},
        targets=len(concerned),
        **(release.told if release is not None else {}),
    )
    if release is not None:
        release.note(session, deployment)
    if state.has_requests:
        deploy_requests.overtake(
            session, pipeline, deployment, actor, but=release.request_id if release else None
        )
    return Act(deployment.id, environment.id, number, concerned, former, state.earlier)


@dataclass(frozen=True, slots=True)
class _State:
    """A pipeline as it is deployed."""

    pipeline: Pipeline
    selector: str | None
    """The deployed version's; ``None``: none is deployed."""
    last_version: int
    earlier: list[str]
    """See ``deployments.latest_of``."""
    has_requests: bool
    """Whether requests are open that the act may end."""


def _state(session: Session, pipeline_id: str) -> _State:
    """All in one query.

    :raises NotFoundError: there is no such pipeline.
    """
    deployed = select(PipelineVersion.node_selector).where(
        PipelineVersion.pipeline_id == Pipeline.id, PipelineVersion.version == Pipeline.wanted_version
    )
    last = select(func.max(PipelineVersion.version)).where(PipelineVersion.pipeline_id == pipeline_id)
    found = session.execute(
        select(
            Pipeline,
            deployed.scalar_subquery(),
            func.coalesce(last.scalar_subquery(), 0),
            deployments.latest_of(pipeline_id).scalar_subquery(),
            deploy_requests.has_open(),
        ).where(Pipeline.id == pipeline_id)
    ).first()
    if found is None:
        raise NotFoundError("There is no such pipeline.")
    pipeline, selector, last_version, earlier, has_requests = found
    return _State(pipeline, selector, last_version, earlier.split(",") if earlier else [], has_requests)


def _check_assembled(session: Session, environment: Environment, version: PipelineVersion) -> None:
    """Refuse a version that nodes could not be given; note what they are given."""
    names = references.Names.from_json(version.reference_names)
    if names.certificates:
        certificate_store.check_file_names(session, environment.id, dict(names.certificates))
    if not names:
        return
    session.flush()
    try:
        assembly.remember(session, environment, version)
    except UnassembledError as error:
        raise ConflictError(f"The pipeline cannot be deployed: {error} Put it again.") from None


def tell(act: Act, pipeline_id: str, reason: str) -> DeployOutcome:
    """Nudge whom the committed act concerns, and note how many nudges were taken."""
    message = messages.config_changed(reason, pipeline_id)
    outcome = switchboard().nudge(act.targets, message, act.deployment_id)
    if act.former:
        switchboard().nudge(act.former, message)

    def note(session: Session) -> None:
        session.execute(
            update(Deployment)
            .where(Deployment.id == act.deployment_id)
            .values(pushed=outcome.pushed, push_error=outcome.error)
        )

    # Published is not yet written: the database would take a core from the workers that write to the sockets.
    time.sleep(min(len(act.targets) * WRITING_SECONDS, WRITING_SECONDS_AT_MOST))
    try:
        transaction(note)
        deployments.ensure_made(Deployment.id == act.deployment_id)
    except (UnavailableError, SQLAlchemyError) as error:
        # The act itself is committed and told: an error answer would say the opposite.
        log.warning("not all written down deployment=%s: %s", act.deployment_id, error)
    switchboard().publish_fleet_changed(act.environment_id, [*act.targets, *act.former])
    try:
        deployments.overtake(act.earlier)
    except (UnavailableError, SQLAlchemyError) as error:
        log.warning("earlier ones still wait deployment=%s: %s", act.deployment_id, error)
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
