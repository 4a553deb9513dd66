"""What a change of a node would stop there, before it is made."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import assembly, selectors
from app.database import snapshot
from app.errors import NotFoundError
from app.matching import Deployed
from app.models import Environment, Node, Pipeline


def would_stop(node_id: str, labels: Mapping[str, str], maintenance_mode: bool) -> list[str]:
    """The names of the deployed pipelines that the node must run now and no longer with these labels and this mode.

    :raises NotFoundError: there is no such node.
    :raises InvalidInputError: a label cannot be used.
    """
    selectors.check_labels(labels)

    def read(session: Session) -> list[str]:
        node = session.get(Node, node_id)
        if node is None:
            raise NotFoundError("There is no such node.")
        if node.revoked_at is not None:
            return []
        allowed = session.get_one(Environment, node.environment_id).selectable_agent_labels
        deployed = Deployed.of(session, node.environment_id)
        before, after = (
            deployed.reaching(assembly.selectable_labels(operator, node.agent_labels, allowed), mode)
            for operator, mode in ((node.operator_labels, node.maintenance_mode), (labels, maintenance_mode))
        )
        gone = select(Pipeline.name).where(Pipeline.id.in_(before - after)).order_by(Pipeline.name)
        return list(session.scalars(gone))

    return snapshot(read)
