"""Who uses a secret or certificate, and whom a new value of it concerns: those pipelines' nodes and no others."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from agent.protocol import Reason
from app import assembly, selectors
from app.matching import matching
from app.materials import CERTIFICATE, SECRET, UnassembledError
from app.models import Environment, Pipeline, PipelineVersion
from app.push import messages
from app.push.switchboard import NudgeOutcome
from app.references import Names
from app.switchboard_process import switchboard

log = logging.getLogger("signalbox.rotation")

PIPELINES_IN_A_REFUSAL = 20


class User(NamedTuple):
    """A deployed pipeline that names a secret or certificate."""

    name: str
    pipeline_id: str


@dataclass(frozen=True, slots=True)
class Concern:
    """Whom a committed change concerns."""

    environment_id: str
    kind: str
    name: str
    users: tuple[User, ...]
    node_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many nodes run a pipeline that names it, and how many of them were handed a nudge."""

    targets: int
    pushed: int
    push_error: str | None


def names_in_use(session: Session, environment_id: str) -> list[tuple[User, Names]]:
    """Every deployed pipeline of the environment that names something, by name, and what it names."""
    rows = session.execute(
        select(Pipeline.name, Pipeline.id, PipelineVersion.reference_names)
        .join(PipelineVersion, PipelineVersion.pipeline_id == Pipeline.id)
        .where(Pipeline.environment_id == environment_id, PipelineVersion.version == Pipeline.wanted_version)
        .order_by(Pipeline.name)
    )
    found = ((User(name, pipeline_id), Names.from_json(stored)) for name, pipeline_id, stored in rows)
    return [(user, names) for user, names in found if names]


def users(session: Session, environment_id: str) -> dict[tuple[str, str], list[User]]:
    """The deployed pipelines that use it, by name, for each (kind, name) in use."""
    found: dict[tuple[str, str], list[User]] = {}
    for user, names in names_in_use(session, environment_id):
        for kind, own in ((SECRET, names.secrets), (CERTIFICATE, names.certificates)):
            for name in own:
                found.setdefault((kind, name), []).append(user)
    return found


def node_counts(session: Session, environment_id: str) -> dict[tuple[str, str], int]:
    """How many nodes a new value would make restart something, for each (kind, name) in use."""
    found = users(session, environment_id)
    ids = sorted({user.pipeline_id for own in found.values() for user in own})
    rows = session.execute(
        select(Pipeline.id, PipelineVersion.node_selector)
        .join(PipelineVersion, PipelineVersion.pipeline_id == Pipeline.id)
        .where(Pipeline.id.in_(ids), PipelineVersion.version == Pipeline.wanted_version)
    )
    wanted = {pipeline_id: selectors.parse(text) for pipeline_id, text in rows}
    environment = session.get_one(Environment, environment_id)
    reached = matching(session, environment, wanted.values(), with_maintenance=False) if wanted else []
    nodes = {key: {target.node_id for target in own} for key, own in zip(wanted, reached, strict=True)}
    return {
        named: len(set().union(*(nodes.get(user.pipeline_id, set()) for user in own)))
        for named, own in found.items()
    }


def in_words(found: list[User]) -> str:
    """``the deployed pipeline "a"``, or several of them."""
    listed = ", ".join(f'"{user.name}"' for user in found[:PIPELINES_IN_A_REFUSAL])
    more = f" and {len(found) - PIPELINES_IN_A_REFUSAL} more" if len(found) > PIPELINES_IN_A_REFUSAL else ""
    return f"the deployed pipeline{'' if len(found) == 1 else 's'} {listed}{more}"


def concern(session: Session, environment_id: str, kind: str, name: str) -> Concern:
    """Whom the new value of *name*, which has been flushed, concerns; notes what they get from now on."""
    environment = session.get_one(Environment, environment_id)
    found = users(session, environment_id).get((kind, name), [])
    wanted = []
    for user in found:
        version = session.scalars(
            select(PipelineVersion)
            .join(Pipeline, Pipeline.id == PipelineVersion.pipeline_id)
            .where(Pipeline.id == user.pipeline_id, PipelineVersion.version == Pipeline.wanted_version)
        ).one()
        wanted.append(selectors.parse(version.node_selector))
        try:
            assembly.remember(session, environment, version)
        except UnassembledError as error:
            # Something else that it names cannot be read: it stays on hold, as it was.
            log.warning("pipeline stays held pipeline=%s: %s", user.pipeline_id, error)
    found_targets = matching(session, environment, wanted, with_maintenance=False)
    node_ids = {target.node_id for targets in found_targets for target in targets}
    return Concern(environment_id, kind, name, tuple(found), tuple(sorted(node_ids)))


def tell(concerned: Concern) -> Outcome:
    """Nudge those nodes, once each, after the commit."""
    outcome = NudgeOutcome(0, None)
    if concerned.node_ids:
        only = concerned.users[0].pipeline_id if len(concerned.users) == 1 else None
        outcome = switchboard().nudge(concerned.node_ids, messages.config_changed(Reason.SECRET, only))
        switchboard().publish_fleet_changed(concerned.environment_id, concerned.node_ids)
    log.info(
        "value changed kind=%s environment=%s name=%s pipelines=%d targets=%d pushed=%d",
        concerned.kind,
        concerned.environment_id,
        concerned.name,
        len(concerned.users),
        len(concerned.node_ids),
        outcome.pushed,
    )
    return Outcome(len(concerned.node_ids), outcome.pushed, outcome.error)
