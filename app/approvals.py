"""Where an environment is protected: what somebody has asked for, another one approves, and exactly that is deployed.

What was asked for is frozen in a row (``DeployRequest``); approving deploys that row's content, whatever the draft
has become. Request, deployment and audit log are written in one transaction under the environment's lock, so that two
who approve at once make one deployment, and no request stays open beside the deployment that overtakes it. Asking is
``app/deploy_or_ask.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session, undefer

from app import deploy_reach, deploy_requests, deploys, leases
from app.audit import Actor
from app.database import transaction
from app.deploy_acts import DeployOutcome, Release, perform, tell
from app.deploy_requests import RequestRow
from app.deploys import Content
from app.errors import ConflictError, ForbiddenError, InvalidInputError
from app.ids import is_id
from app.models import Deployment, DeployRequest, Environment, Pipeline, PipelineVersion
from app.principal import Principal
from app.references import Reference

MOST_COMMENT_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Party:
    """Who asks or decides, and whom that counts as where two are needed."""

    actor: Actor
    identity: str
    """``account:<id>`` or ``token:<id>``. A token that a person has made counts as that person."""
    may_approve: bool = True
    """Whether it may decide what others have asked for; a token only if it was given the right."""

    @classmethod
    def of(cls, principal: Principal, actor: Actor) -> Party:
        """Whoever is behind a request."""
        return cls(actor, principal.identity, principal.may_approve)


def approve(
    request_id: str,
    party: Party,
    *,
    comment: str | None = None,
    checksum: str | None = None,
    targets_checksum: str | None = None,
) -> DeployOutcome:
    """Deploy exactly what was asked for; *checksum*, where given, is that of the request that was looked at.

    *targets_checksum* says that the nodes with it (``reach``) are meant, which is needed where they are not those of
    when it was asked.

    :raises NotFoundError: there is no such request.
    :raises ForbiddenError: it is the asker's own, or a token without the right to approve.
    :raises ConflictError: it is not open any more, is not what was looked at, or reaches other nodes than it did.
    :raises InvalidInputError: what it names does not exist any more, or the comment is too long.
    """
    comment = checked_comment(comment)
    request = deploy_requests.get(request_id).request
    _check_may_decide(party)
    named: list[Reference] = []
    if request.kind != "undeploy":
        named = deploys.check_deployable(request.config_yaml)
    content = Content(request.config_yaml, request.node_selector, request.log_level, request.changelog)

    def check(session: Session, pipeline: Pipeline, environment: Environment) -> None:
        asked = _locked_open(session, request_id)
        if asked.asker == party.identity:
            raise ForbiddenError("You have asked for this yourself; somebody else must approve it.")
        if checksum not in (None, asked.checksum):
            raise ConflictError("The request is not the one that you looked at. Nothing was deployed.")
        if deploy_requests.checksum(asked) != asked.checksum:
            raise ConflictError("The request was changed after it was made, and cannot be approved any more.")
        found = deploy_reach.look(session, asked, pipeline, environment)
        if found.has_changed and targets_checksum != found.checksum:
            raise ConflictError(
                f"Other nodes are reached than when it was asked: {deploy_reach.in_words(found)}. Look at them, and"
                " approve with their targetsChecksum.",
                [{"field": "targetsChecksum", "message": "it is not that of the nodes reached now"}],
            )

    def note(session: Session, deployment: Deployment) -> None:
        asked = session.get_one(DeployRequest, request_id)
        asked.deployment_id = deployment.id
        deploy_requests.end(session, asked, "approved", party.actor, leases.database_now(session), comment)

    def new_version(session: Session, pipeline: Pipeline, environment: Environment) -> PipelineVersion:
        old = (
            session.get(PipelineVersion, (pipeline.id, request.from_version))
            if request.from_version is not None
            else None
        )
        if old is not None and (old.config_yaml, old.node_selector, old.log_level) == (
            content.config_yaml,
            content.node_selector,
            content.log_level,
        ):
            return deploys.version_again(session, environment, old)
        return deploys.rendered_version(session, environment, content, named)

    told = {"deployRequestId": request_id, "askedBy": request.asked_by}
    release = Release(check, note, request.asked_by, request_id, told)
    act = transaction(
        lambda session: perform(
            session,
            request.kind,
            request.pipeline_id,
            party.actor,
            None if request.kind == "undeploy" else new_version,
            release=release,
        )
    )
    return tell(act, request.pipeline_id, request.kind)


def reject(request_id: str, party: Party, *, comment: str | None = None) -> RequestRow:
    """Let it end without a deployment.

    :raises NotFoundError: there is no such request.
    :raises ForbiddenError: it is the asker's own (who cancels it), or a token without the right to approve.
    :raises ConflictError: it is not open any more.
    """
    comment = checked_comment(comment)
    deploy_requests.get(request_id)
    _check_may_decide(party)

    def work(session: Session) -> None:
        request = _locked_open(session, request_id)
        if request.asker == party.identity:
            raise ForbiddenError("You have asked for this yourself; you can cancel it.")
        deploy_requests.end(session, request, "rejected", party.actor, leases.database_now(session), comment)

    transaction(work)
    return deploy_requests.get(request_id)


def cancel(request_id: str, party: Party, *, is_admin: bool = False) -> RequestRow:
    """Take back what one has asked for; an admin also what others have.

    :raises NotFoundError: there is no such request.
    :raises ForbiddenError: it is somebody else's.
    :raises ConflictError: it is not open any more.
    """

    def work(session: Session) -> None:
        request = _locked_open(session, request_id)
        if request.asker != party.identity and not is_admin:
            raise ForbiddenError("Somebody else has asked for this; you can reject it.")
        deploy_requests.end(session, request, "cancelled", party.actor, leases.database_now(session))

    transaction(work)
    return deploy_requests.get(request_id)


def checked_comment(comment: str | None, field: str = "comment", *, is_needed: bool = False) -> str | None:
    """A comment or a reason without the spaces around it; ``None`` for an empty one.

    :raises InvalidInputError: it is too long, or empty where it *is_needed*.
    """
    comment = (comment or "").strip()
    problem = None
    if len(comment) > MOST_COMMENT_CHARACTERS:
        problem = f"it has more than {MOST_COMMENT_CHARACTERS} characters"
    elif is_needed and not comment:
        problem = "say in a sentence why it cannot wait for somebody else"
    if problem is not None:
        word = "comment" if field == "comment" else "reason"
        raise InvalidInputError(
            f"The {word} cannot be used: {problem}.", [{"field": field, "message": problem}]
        )
    return comment or None


def _check_may_decide(party: Party) -> None:
    if not party.may_approve:
        raise ForbiddenError(
            "This token may ask for deploys, but it was not given the right to approve them."
        )


def _locked_open(session: Session, request_id: str) -> DeployRequest:
    """The request, locked until the commit.

    :raises ConflictError: it is not open any more; the sentence says how it ended.
    """
    request = None
    if is_id(request_id):
        # Read anew where this session has read it before it was locked.
        request = session.get(
            DeployRequest,
            request_id,
            options=[undefer(DeployRequest.targets)],
            populate_existing=True,
            with_for_update=True,
        )
    if request is None:
        raise deploy_requests.unknown()
    if request.state != "open":
        raise ConflictError(
            f"The request is not open any more: it was {request.state} by {request.decided_by}."
        )
    if request.expires_at <= leases.database_now(session):
        raise ConflictError("The request has expired: it has to be asked for again.")
    return request
