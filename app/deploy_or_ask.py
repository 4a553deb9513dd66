"""Deploy, roll back and undeploy: at once, or by a request where the environment is protected.

Who approves such a request is in ``app/approvals.py``; what both of them write down in ``app/deploy_requests.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import audit, deploy_requests, deploys, leases, revisions, selectors, server_settings, webhook_events
from app.approvals import Party, checked_comment
from app.audit import Actor
from app.clock import rfc3339
from app.database import snapshot, transaction
from app.deploy_acts import DeployOutcome, DraftChangedError, ProtectedError, Release
from app.deploy_requests import RequestRow
from app.deploys import Content
from app.errors import ConflictError, NotFoundError
from app.ids import new_id
from app.matching import matching
from app.models import DeployRequest, Environment, Pipeline, PipelineVersion
from app.references import Reference

Kind = Literal["deploy", "rollback", "undeploy"]

MOST_OPEN = 20
"""Requests that may be open for one pipeline."""

Answer = DeployOutcome | RequestRow


def deploy(
    pipeline_id: str, party: Party, changelog: str | None = None, *, made_from: str | None = None
) -> Answer:
    """``deploys.deploy``, or where the environment is protected a request for it.

    Raises what ``deploys.deploy`` does.
    """
    return _act_or_ask(
        pipeline_id,
        lambda: deploys.deploy(pipeline_id, party.actor, changelog, made_from=made_from),
        partial(_ask_for_draft, pipeline_id, party, changelog, made_from),
    )


def rollback(pipeline_id: str, version: int, party: Party) -> Answer:
    """``deploys.rollback``, or where the environment is protected a request for it.

    Raises what ``deploys.rollback`` does.
    """

    def freeze(session: Session, pipeline: Pipeline) -> Content:
        old = session.get(PipelineVersion, (pipeline_id, version)) if 0 < version < 2**31 else None
        if old is None:
            raise NotFoundError(f"The pipeline has no version {version}.")
        deploys.check_version(session, pipeline.environment_id, old)
        return Content(old.config_yaml, old.node_selector, old.log_level, deploys.rolled_back_to(version))

    return _act_or_ask(
        pipeline_id,
        lambda: deploys.rollback(pipeline_id, version, party.actor),
        partial(_ask, "rollback", pipeline_id, party, freeze, version),
    )


def undeploy(pipeline_id: str, party: Party, *, emergency: str | None = None) -> Answer:
    """``deploys.undeploy``, or where the environment is protected a request for it.

    *emergency* is an admin's reason to do it at once all the same; the audit log keeps it.

    :raises NotFoundError: there is no such pipeline.
    :raises InvalidInputError: the reason is empty or too long.
    :raises ConflictError: it is not deployed.
    """
    if emergency is not None:
        told = {"emergency": checked_comment(emergency, "emergency", is_needed=True)}
        return deploys.undeploy(pipeline_id, party.actor, release=Release(told=told))

    def freeze(session: Session, pipeline: Pipeline) -> Content:
        if pipeline.wanted_version is None:
            raise ConflictError(f'The pipeline "{pipeline.name}" is not deployed.')
        version = session.get_one(PipelineVersion, (pipeline_id, pipeline.wanted_version))
        return Content("", version.node_selector, None, None)

    return _act_or_ask(
        pipeline_id,
        lambda: deploys.undeploy(pipeline_id, party.actor),
        partial(_ask, "undeploy", pipeline_id, party, freeze, None),
    )


def _act_or_ask(
    pipeline_id: str, act: Callable[[], DeployOutcome], ask: Callable[[], RequestRow | None]
) -> Answer:
    """Whichever the environment's protection asks for at the moment of the transaction."""
    while True:
        try:
            return act()
        except ProtectedError:
            asked = ask()
            if asked is not None:
                return asked  # else it is not protected any more


def _ask_for_draft(
    pipeline_id: str, party: Party, changelog: str | None, made_from: str | None
) -> RequestRow | None:
    while True:
        draft = snapshot(
            lambda session: session.scalar(select(Pipeline.config_yaml).where(Pipeline.id == pipeline_id))
        )
        if draft is None:
            raise NotFoundError("There is no such pipeline.")
        named = deploys.check_deployable(draft)

        def freeze(
            session: Session, pipeline: Pipeline, draft: str = draft, named: list[Reference] = named
        ) -> Content | None:
            deploys.check_draft(pipeline, made_from)
            if pipeline.config_yaml != draft:
                return None
            deploys.check_references(session, pipeline.environment_id, named)
            return Content(pipeline.config_yaml, pipeline.node_selector, pipeline.log_level, changelog)

        try:
            return _ask("deploy", pipeline_id, party, freeze, None)
        except DraftChangedError:
            continue  # it is checked again, outside of the transaction


def _ask(
    kind: Kind,
    pipeline_id: str,
    party: Party,
    freeze: Callable[[Session, Pipeline], Content | None],
    from_version: int | None,
) -> RequestRow | None:
    """Write the request and tell of it; ``None`` if the environment is not protected any more.

    Whoever asks again for what they have asked for already, and what is still open, is answered with that.
    """
    lifetime = timedelta(hours=server_settings.values()["deployRequestHours"])
    request_id = new_id()

    def work(session: Session) -> str | None:
        environment_id = session.scalar(select(Pipeline.environment_id).where(Pipeline.id == pipeline_id))
        if environment_id is None:
            raise NotFoundError("There is no such pipeline.")
        revisions.lock(session, environment_id)
        environment = session.get_one(Environment, environment_id)
        pipeline = session.get(Pipeline, pipeline_id)
        if pipeline is None:
            raise NotFoundError("There is no such pipeline.")
        if not environment.protected:
            return None
        content = freeze(session, pipeline)
        if content is None:
            raise DraftChangedError
        now = leases.database_now(session)
        request = DeployRequest(
            id=request_id,
            pipeline_id=pipeline_id,
            environment_id=environment_id,
            kind=kind,
            config_yaml=content.config_yaml,
            node_selector=content.node_selector,
            log_level=content.log_level,
            changelog=content.changelog,
            from_version=from_version,
            base_version=pipeline.wanted_version,
            asked_by=party.actor.name,
            asker=party.identity,
            asked_at=now,
            expires_at=now + lifetime,
            state="open",
        )
        request.checksum = deploy_requests.checksum(request)
        is_open = (
            DeployRequest.environment_id == environment_id,
            DeployRequest.pipeline_id == pipeline_id,
            DeployRequest.state == "open",
            DeployRequest.expires_at > now,
        )
        same = select(DeployRequest.id).where(
            *is_open, DeployRequest.asker == party.identity, DeployRequest.checksum == request.checksum
        )
        if (known := session.scalar(same.limit(1))) is not None:
            return known
        if (session.scalar(select(func.count()).where(*is_open)) or 0) >= MOST_OPEN:
            raise ConflictError(
                f'{MOST_OPEN} requests for "{pipeline.name}" are open already. Let some be decided or cancelled.'
            )
        (found,) = matching(session, environment, [selectors.parse(content.node_selector)])
        request.targets = [[target.node_id, target.name] for target in found]
        request.target_count = len(found)
        request.targets_checksum = deploy_requests.targets_checksum(target.node_id for target in found)
        session.add(request)
        _announce(session, request, pipeline, environment, party.actor)
        return request_id

    asked_id = transaction(work)
    return deploy_requests.get(asked_id) if asked_id is not None else None


def _announce(
    session: Session, request: DeployRequest, pipeline: Pipeline, environment: Environment, actor: Actor
) -> None:
    audit.record(
        session,
        actor,
        "deploy-request.ask",
        environment_id=environment.id,
        subject_id=request.id,
        pipelineId=pipeline.id,
        name=pipeline.name,
        kind=request.kind,
        checksum=request.checksum,
        before={"state": None},
        after={"state": "open"},
        targets=request.target_count,
    )
    webhook_events.emit(
        session,
        webhook_events.DEPLOY_REQUESTED,
        environment.id,
        request.asked_at,
        {
            "environment": environment.name,
            "deployRequestId": request.id,
            "pipelineId": pipeline.id,
            "pipeline": pipeline.name,
            "kind": request.kind,
            "changelog": request.changelog,
            "baseVersion": request.base_version,
            "targets": request.target_count,
            "askedBy": request.asked_by,
            "expiresAt": rfc3339(request.expires_at),
        },
    )
