"""A node's labels: what is kept of those that its agent gives, and whether others change what it must run."""

from __future__ import annotations

import json
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

from app import assembly
from app.json_body import clean
from app.matching import Deployed
from app.models import Environment, Node
from app.selectors import MAX_KEY_CHARACTERS, MAX_LABELS, MAX_LABELS_BYTES, MAX_VALUE_CHARACTERS


def bounded(labels: Mapping[str, str]) -> dict[str, str]:
    """An agent's own labels, cut to 64 with keys of 63 and values of 253 characters, 8 KiB in all (hazard 30).

    By key: those behind the first that does not fit are left out.
    """
    kept: dict[str, str] = {}
    for key, value in sorted(labels.items())[:MAX_LABELS]:
        more = {**kept, clean(key)[:MAX_KEY_CHARACTERS]: clean(value)[:MAX_VALUE_CHARACTERS]}
        if len(json.dumps(more, ensure_ascii=False).encode()) > MAX_LABELS_BYTES:
            break
        kept = more
    return kept


def gains_or_loses(
    session: Session,
    node: Node,
    *,
    operator: Mapping[str, str] | None = None,
    agent: Mapping[str, str] | None = None,
) -> bool:
    """Whether other labels of the operator's or the agent's own change what the node must run.

    Under the environment's lock (``revisions.lock``), so that neither its pipelines nor its list of allowed keys
    change meanwhile.
    """
    if node.maintenance_mode:
        return False
    allowed = session.scalars(
        select(Environment.selectable_agent_labels).where(Environment.id == node.environment_id)
    ).one()
    before = assembly.selectable_labels(node.operator_labels, node.agent_labels, allowed)
    after = assembly.selectable_labels(
        node.operator_labels if operator is None else operator,
        node.agent_labels if agent is None else agent,
        allowed,
    )
    if before == after:
        return False
    deployed = Deployed.of(session, node.environment_id)
    return deployed.reaching(before) != deployed.reaching(after)
