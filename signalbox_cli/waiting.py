"""Waiting until the nodes that deploys concern have reported, with what is so far on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from signalbox_cli import output
from signalbox_cli.client import PAGE_ROWS, Api, Row, path
from signalbox_cli.failures import UnknownFailure, UnreachableFailure
from signalbox_cli.screen import Screen

SHORTEST_PAUSE_SECONDS = 0.3
BAR_COLUMNS = 24
MAX_NAMED = 10


@dataclass
class Awaited:
    """One deploy (*version* ``None``: an undeploy) and how far its nodes are."""

    pipeline: str
    environment_id: str
    deployment_id: str
    version: int | None
    targets: int
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Ids of nodes, and why."""
    pending: list[str] = field(default_factory=list)
    superseded: int = 0
    in_maintenance: int = 0
    is_known: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether every node that can report has."""
        return self.targets == 0 or (self.is_known and not self.pending)

    @property
    def is_well(self) -> bool:
        """Whether all of them run it."""
        return self.has_ended and not self.failed and not self.superseded

    @property
    def title(self) -> str:
        """What is waited for."""
        return f"{self.pipeline} {f'v{self.version}' if self.version is not None else 'off'}"

    @property
    def counts(self) -> str:
        """How many nodes are how far."""
        word = "running" if self.version is not None else "stopped"
        parts = [f"{self.done} of {self.targets - self.in_maintenance} {word}"]
        for number, what in (
            (len(self.failed), "failed"),
            (self.superseded, "superseded by a later deploy"),
            (self.in_maintenance, "in maintenance, not waited for"),
        ):
            if number:
                parts.append(f"{number} {what}")
        return ", ".join(parts)


def wait(api: Api, deploys: Sequence[Awaited], seconds: float) -> bool:
    """Look until all have ended or *seconds* have passed; whether all nodes run what they should."""
    deadline = time.monotonic() + seconds
    screen = Screen(sys.stderr)
    told: dict[str, str] = {}
    while True:
        began = time.monotonic()
        for each in deploys:
            if not each.has_ended:
                try:
                    _look(api, each)
                except UnreachableFailure as failure:
                    if began >= deadline:
                        raise failure from None
        if screen.is_live:
            screen.draw([_bar(each) for each in deploys])
        else:
            for each in deploys:
                if each.is_known and told.get(each.deployment_id) != each.counts:
                    told[each.deployment_id] = each.counts
                    output.note(f"{each.title}: {each.counts}")
        if all(each.has_ended for each in deploys) or began >= deadline:
            break
        # A large fleet is read in many pages: no more than a quarter of the time.
        pause = max(SHORTEST_PAUSE_SECONDS, 3 * (time.monotonic() - began))
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
    for each in deploys:
        _explain(api, each, seconds)
    return all(each.is_well for each in deploys)


def _look(api: Api, deploy: Awaited) -> None:
    rows = _nodes(api, deploy.deployment_id)
    pending = [row["nodeId"] for row in rows if row["status"] == "PENDING"]
    resting: set[str] = set()
    if pending:
        query = {"environmentId": deploy.environment_id, "status": "MAINTENANCE"}
        resting = {row["id"] for row in api.rows("/nodes", query)}
    deploy.pending = [node_id for node_id in pending if node_id not in resting]
    deploy.in_maintenance = len(pending) - len(deploy.pending)
    deploy.done = sum(row["status"] in ("RUNNING", "STOPPED") for row in rows)
    deploy.failed = {
        row["nodeId"]: row["error"] or "it says nothing" for row in rows if row["status"] == "FAILED"
    }
    deploy.superseded = sum(row["status"] == "SUPERSEDED" for row in rows)
    deploy.is_known = True


def _nodes(api: Api, deployment_id: str) -> list[Row]:
    rows: list[Row] = []
    cursor = None
    while True:
        page: Any = api.get(path("deployments", deployment_id), {"limit": PAGE_ROWS, "cursor": cursor})[
            "nodes"
        ]
        rows += page["items"]
        cursor = page["nextCursor"]
        if cursor is None:
            return rows


def _bar(deploy: Awaited) -> str:
    total = max(1, deploy.targets - deploy.in_maintenance)
    ended = min(total, deploy.done + len(deploy.failed) + deploy.superseded)
    filled = BAR_COLUMNS if deploy.targets == 0 else BAR_COLUMNS * ended // total
    return f"[{'#' * filled}{'.' * (BAR_COLUMNS - filled)}] {deploy.title}: {deploy.counts}"


def _explain(api: Api, deploy: Awaited, seconds: float) -> None:
    """Say of which nodes it is not done, and why."""
    for node_id, error in list(deploy.failed.items())[:MAX_NAMED]:
        output.note(f"{deploy.title} failed on {_name(api, node_id)}: {error}")
    if deploy.pending:
        named = ", ".join(_name(api, node_id) for node_id in deploy.pending[:MAX_NAMED])
        more = len(deploy.pending) - MAX_NAMED
        output.note(
            f"{deploy.title}: not reported within {seconds:g} s by {named}{f' and {more} more' if more > 0 else ''}"
        )


def _name(api: Api, node_id: str) -> str:
    try:
        return str(api.get(path("nodes", node_id))["name"])
    except UnknownFailure:
        return node_id
