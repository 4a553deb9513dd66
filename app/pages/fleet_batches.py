"""Acting on many nodes of the fleet: first what would happen to whom, then, once that is confirmed, the act."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from agent.protocol import ActionType
from app import access, action_batches, environments, fleet_filter, node_batches
from app.action_batches import Skipped
from app.action_wishes import Wish
from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.pages import words
from app.pages.fleet_look import Look
from app.principal import Role

NAMED = 20
"""Nodes that the preview names, of those it is about and of those it leaves out."""
MAX_NODES = 10_000
"""That one look may mean."""

bp = Blueprint("fleet_batches", __name__, url_prefix="/fleet/actions")


@dataclass(frozen=True)
class Act:
    """Something that can be done to many nodes."""

    role: Role
    title: str
    consequence: str
    button: str
    is_destructive: bool = False


ACTS: dict[str, Act] = {
    "restart": Act(
        "editor",
        "Restart the agent",
        "Each of them stops its pipelines in order, and starts them again within seconds.",
        "Restart",
    ),
    "self_update": Act(
        "admin",
        "Update the agent",
        "The update goes to one node first, then to 5 %, to 25 % and to the rest; where a node of a wave fails,"
        " nobody else is asked.",
        "Update",
    ),
    "pause": Act(
        "editor",
        "Begin maintenance",
        "Each of them stops every pipeline, and runs none until maintenance ends.",
        "Stop everything on",
        is_destructive=True,
    ),
    "resume": Act(
        "editor",
        "End maintenance",
        "Each of them runs again what it should.",
        "End maintenance of",
    ),
    "forget": Act(
        "admin",
        "Delete revoked nodes",
        "Their history goes with them, and cannot be brought back. What runs there keeps running until somebody"
        " stops the agent.",
        "Delete",
        is_destructive=True,
    ),
}


@dataclass(frozen=True)
class Preview:
    """What an act would do now."""

    environments: dict[str, list[Any]]
    """The nodes that it is about, by the environment's id."""
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Of the nodes that it is about."""
        return [node.name for nodes in self.environments.values() for node in nodes]

    @property
    def digest(self) -> str:
        """Another one if it is about other nodes."""
        ids = sorted(node.id for nodes in self.environments.values() for node in nodes)
        return hashlib.sha256(" ".join(ids).encode()).hexdigest()


@bp.get("")
def preview() -> ResponseReturnValue:
    """What would happen to how many nodes, and who would be left out."""
    return _page(request.args)


@bp.post("")
def perform() -> ResponseReturnValue:
    """Do it, unless it would by now be done to other nodes than those that were shown."""
    form = request.form
    what, act = _act(form)
    access.principal().require_somewhere(act.role)
    try:
        seen = _preview(what, _meant(form))
        if not hmac.compare_digest(seen.digest.encode(), form.get("seen", "").encode()):
            raise ConflictError("Meanwhile other nodes are meant; nothing was done. Look again.")
        return _done(what, seen)
    except (ConflictError, InvalidInputError) as error:
        return _page(form, error), error.status


def _act(given: Any) -> tuple[str, Act]:
    what = given.get("what", "")
    if what not in ACTS:
        raise NotFoundError("There is no such action for many nodes.")
    return what, ACTS[what]


def _meant(given: Any) -> list[str]:
    """The ids of the nodes that were selected: one by one, or all that match."""
    if given.get("all") != "yes":
        return list(given.getlist("node"))[:MAX_NODES]
    found = fleet_filter.all_ids(
        replace(Look.of(given).filter(), within=access.where("viewer")), MAX_NODES + 1
    )
    if len(found) > MAX_NODES:
        raise InvalidInputError(
            f"More than {MAX_NODES:,} nodes match: filter the fleet, so that fewer are meant."
        )
    return found


def _preview(what: str, node_ids: Sequence[str]) -> Preview:
    """
    :raises InvalidInputError: more nodes of one environment than can be asked at once.
    """
    found = node_batches.of_environments(node_ids)
    known = access.principal()
    groups = {key: nodes for key, nodes in found.items() if known.may(ACTS[what].role, key)}
    refused = [
        Skipped(node.id, node.name, f"this needs the role {ACTS[what].role} in its environment")
        for key, nodes in found.items()
        if key not in groups and known.sees(key)  # of others nobody is told that there are any
        for node in nodes
    ]
    if what in ("restart", "self_update"):
        skipped = [
            each
            for environment_id, nodes in groups.items()
            for each in action_batches.left_out(environment_id, Wish(what), [node.id for node in nodes])
        ]
    else:
        skipped = [
            Skipped(node.id, node.name, reason)
            for nodes in groups.values()
            for node in nodes
            if (reason := _why_not(what, node)) is not None
        ]
    out = {each.node_id for each in skipped}
    kept = {key: [node for node in nodes if node.id not in out] for key, nodes in groups.items()}
    return Preview({key: nodes for key, nodes in kept.items() if nodes}, skipped + refused)


def _why_not(what: str, node: Any) -> str | None:
    if what == "forget":
        return None if node.revoked_at is not None else "it is not revoked"
    if node.revoked_at is not None:
        return "it is revoked"
    if node.maintenance_mode is (what == "pause"):
        return "it is in maintenance already" if what == "pause" else "it is not in maintenance"
    return None


def _done(what: str, seen: Preview) -> ResponseReturnValue:
    if what in (ActionType.RESTART, ActionType.SELF_UPDATE):
        return _asked(what, seen)
    number = 0
    for environment_id, nodes in seen.environments.items():
        ids = [node.id for node in nodes]
        if what == "forget":
            number += len(node_batches.forget_revoked(environment_id, ids, access.actor()))
        else:
            number += len(node_batches.set_maintenance(environment_id, ids, what == "pause", access.actor()))
    done = {"pause": "Maintenance began on", "resume": "Maintenance ended on", "forget": "Deleted"}[what]
    flash(f"{done} {words.plural(number, 'node')}.", "good")
    back: dict[str, Any] = dict(Look.of(request.form).filters())
    return redirect(url_for("pages.fleet.index", **back))


def _asked(what: str, seen: Preview) -> ResponseReturnValue:
    """To the page on which it goes on; one batch for each environment."""
    batches = {}
    for environment_id, nodes in seen.environments.items():
        batches[environment_id] = action_batches.request(
            environment_id, Wish(what), access.actor(), node_ids=[node.id for node in nodes]
        )
    first = next(iter(batches.values()))
    asked = sum(batch.asked for batch in batches.values())
    pushed = sum(batch.pushed for batch in batches.values())
    told = f"Asked {words.plural(asked, 'node')}, {pushed:,} of them told at once."
    error = first.push_error
    flash(f"{told} {error}" if error else told, "busy" if error else "good")
    for environment_id, batch in list(batches.items())[1:]:
        address = url_for("pages.actions.show", batch_id=batch.batch_id)
        name = environments.get(environment_id).name
        flash(Markup('Those in {}: <a href="{}">how it goes on</a>.').format(name, address), "busy")
    return redirect(url_for("pages.actions.show", batch_id=first.batch_id))


def _page(given: Any, problem: Exception | None = None) -> str:
    what, act = _act(given)
    access.principal().require_somewhere(act.role)
    look = Look.of(given)
    try:
        seen = _preview(what, _meant(given))
    except (InvalidInputError, ConflictError) as error:
        seen, problem = Preview({}), error
    names = {key: environments.get(key).name for key in seen.environments}
    return render_template(
        "fleet/preview.html",
        what=what,
        act=act,
        look=look,
        is_all=given.get("all") == "yes",
        seen=seen,
        names=names,
        problem=problem,
        most_named=NAMED,
    )
