"""Which nodes a request to deploy reaches now, and how they differ from those of when it was asked."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session, undefer

from app import deploy_requests, selectors
from app.database import snapshot
from app.matching import Target, deployed_selector, matching
from app.models import DeployRequest, Environment, Pipeline


@dataclass(frozen=True, slots=True)
class Reach:
    """Which nodes a request would reach now; each list by name."""

    targets: list[Target]
    joined: list[Target]
    """Of those, the ones that it would not have reached when it was asked."""
    left: list[Target]
    """Nodes that it would have reached then, and would not now."""
    gained: list[Target]
    """Of the targets, those that do not match what is deployed."""
    lost: list[Target]
    """Nodes that match what is deployed and would stop it."""
    checksum: str
    """``deploy_requests.targets_checksum`` of ``targets``."""

    @property
    def has_changed(self) -> bool:
        """Whether approving has to say that these are meant."""
        return bool(self.joined or self.left)


def reach(request_id: str) -> Reach:
    """Which nodes an open request would reach now, and how they differ from those of when it was asked.

    :raises NotFoundError: there is no such request.
    """

    def work(session: Session) -> Reach:
        request = session.get(DeployRequest, request_id, options=[undefer(DeployRequest.targets)])
        if request is None:
            raise deploy_requests.unknown()
        pipeline = session.get_one(Pipeline, request.pipeline_id)
        return look(session, request, pipeline, session.get_one(Environment, request.environment_id))

    return snapshot(work)


def look(session: Session, request: DeployRequest, pipeline: Pipeline, environment: Environment) -> Reach:
    """As ``reach``, in a transaction that has read all three."""
    selector = selectors.parse(request.node_selector)
    runs, found = matching(session, environment, [deployed_selector(session, pipeline), selector])
    now, before = set(found), set(runs)
    if request.kind == "undeploy":
        gained, lost = [], sorted(before)
    else:
        gained, lost = sorted(now - before), sorted(before - now)
    checksum = deploy_requests.targets_checksum(target.node_id for target in found)
    joined: list[Target] = []
    left: list[Target] = []
    if checksum != request.targets_checksum:
        # By id: a node may have another name by now.
        asked: dict[str, str] = dict(request.targets)
        ids = {target.node_id for target in found}
        joined = sorted(target for target in found if target.node_id not in asked)
        left = sorted(Target(name, node_id) for node_id, name in asked.items() if node_id not in ids)
    return Reach(sorted(found), joined, left, gained, lost, checksum)


def in_words(found: Reach) -> str:
    """``1 node more would be reached, and 2 would not be any more``."""
    joined, left = len(found.joined), len(found.left)
    parts = [f"{joined} {'node' if joined == 1 else 'nodes'} more would be reached"] if joined else []
    parts += [f"{left} {'node' if left == 1 else 'nodes'} would not be reached any more"] if left else []
    return " and ".join(parts)
