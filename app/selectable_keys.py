"""Which keys of agents' own labels the selectors of an environment look at: its list, and whom a change concerns.

A node's token lets whoever holds it report any label, and so would choose what is sent there, secrets included
(hazard 30): what is not on the list chooses nothing, and the list is empty until somebody fills it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from agent.protocol import Reason
from app import assembly, audit, environments, preconditions, revisions
from app.audit import Actor
from app.database import snapshot
from app.errors import InvalidInputError, NotFoundError
from app.ids import is_id
from app.matching import Deployed
from app.models import Environment, Node
from app.push import messages
from app.selectors import MAX_LABELS, key_problem
from app.switchboard_process import switchboard


def allow(
    environment_id: str,
    keys: Sequence[str],
    actor: Actor,
    *,
    name: str | None = None,
    protected: bool | None = None,
) -> int:
    """Replace the list by *keys*; how many nodes must run something else, all of which are nudged.

    *name* and *protected*, as ``environments.update`` has them, are changed with it, or nothing is.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: more than 64 keys, or one that is none, or a name that cannot be used.
    :raises ConflictError: the name is taken.
    """
    wanted = _checked(environment_id, keys)
    others = environments.checked(name, protected)

    def work(session: Session) -> list[str]:
        revisions.lock(session, environment_id)
        environment = session.get_one(Environment, environment_id)
        preconditions.check(environments.edit_revision(environment))
        environments.change(session, environment, others, actor)
        before = environment.selectable_agent_labels
        if before == wanted:
            return []
        concerned = _concerned(session, environment_id, before, wanted)
        environment.selectable_agent_labels = wanted
        if concerned:
            revisions.touch(session, environment_id)
        audit.record(
            session,
            actor,
            "environment.selectable_agent_labels",
            environment_id=environment_id,
            subject_id=environment_id,
            before={"selectable_agent_labels": before},
            after={"selectable_agent_labels": wanted},
            nodes=len(concerned),
        )
        return concerned

    concerned = environments.with_unique_name(others.get("name", ""), work)
    if concerned:
        switchboard().nudge(concerned, messages.config_changed(Reason.LABEL))
        switchboard().publish_fleet_changed(environment_id, concerned)
    return len(concerned)


def count_concerned(environment_id: str, keys: Sequence[str]) -> int:
    """How many nodes ``allow`` would make run something else.

    :raises NotFoundError: there is no such environment.
    :raises InvalidInputError: as ``allow``.
    """
    wanted = _checked(environment_id, keys)

    def read(session: Session) -> int:
        environment = session.get(Environment, environment_id)
        if environment is None:
            raise NotFoundError("There is no such environment.")
        return len(_concerned(session, environment_id, environment.selectable_agent_labels, wanted))

    return snapshot(read)


def _checked(environment_id: str, keys: Sequence[str]) -> list[str]:
    if not is_id(environment_id):
        raise NotFoundError("There is no such environment.")
    wanted = sorted(set(keys))
    problem = next((found for key in wanted if (found := key_problem(key))), None)
    if len(wanted) > MAX_LABELS:
        problem = f"there are more than {MAX_LABELS} keys"
    if problem is not None:
        raise InvalidInputError(
            f"The list of keys cannot be used: {problem}.",
            [{"field": "selectableAgentLabels", "message": problem}],
        )
    return wanted


def _concerned(
    session: Session, environment_id: str, before: Sequence[str], after: Sequence[str]
) -> list[str]:
    """The nodes that gain or lose a deployed pipeline."""
    deployed = Deployed.of(session, environment_id)
    rows = session.execute(
        select(Node.id, Node.operator_labels, Node.agent_labels)
        .where(
            Node.environment_id == environment_id, Node.revoked_at.is_(None), Node.maintenance_mode.is_(False)
        )
        .order_by(Node.id)
    )
    return [
        node_id
        for node_id, operator, agent in rows
        if deployed.reaching(assembly.selectable_labels(operator, agent, before))
        != deployed.reaching(assembly.selectable_labels(operator, agent, after))
    ]
