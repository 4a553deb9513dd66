"""``maintenance``: nodes that run nothing for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from signalbox_cli import completion, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import Failure, UsageFailure

MAX_NAMED = 5
EDITED = ("name", "operatorLabels", "environmentId")
"""What somebody may have changed of a node that was chosen by it."""


@click.group()
def maintenance() -> None:
    """Let nodes run nothing for a while, and let them go on."""


def _arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.argument("nodes", nargs=-1, shell_complete=completion.nodes)(command)
    command = click.option("-l", "--label", metavar="SELECTOR", help="All nodes whose labels match.")(command)
    return options.environment(options.yes(command))


@maintenance.command()
@_arguments
@pass_access
def on(access: Access, nodes: tuple[str, ...], label: str | None, environment: str | None, yes: bool) -> None:
    """Stop every pipeline on these nodes."""
    _change(access, nodes, label, environment, yes, True)


@maintenance.command()
@_arguments
@pass_access
def off(
    access: Access, nodes: tuple[str, ...], label: str | None, environment: str | None, yes: bool
) -> None:
    """Let these nodes run again what they should."""
    _change(access, nodes, label, environment, yes, False)


def _change(
    access: Access,
    named: tuple[str, ...],
    label: str | None,
    environment: str | None,
    yes: bool,
    wanted: bool,
) -> None:
    if bool(named) == (label is not None):
        raise UsageFailure("Which nodes are meant? Name them, or give --label SELECTOR ('' for all of them).")
    if label is not None:
        query = {"environmentId": access.environment_id(environment), "label": label or None}
        found = [row for row in access.api.rows("/nodes", query) if not row.get("revokedAt")]
    else:
        found = list({row["id"]: row for row in (access.node(each, environment) for each in named)}.values())
    rows = [row for row in found if row["maintenanceMode"] is not wanted]
    if not rows:
        output.note(
            f"{len(found)} nodes match; {'all of them are so already' if found else 'nothing to do'}."
        )
        return
    what = "Stop every pipeline on" if wanted else "Let run again"
    options.confirm(f"{what} {_named(rows)}?", yes)
    failures = []
    for row in rows:
        try:
            # Read only now, since the list of a large fleet is read at once, and has no tags.
            seen = access.api.see_again(path("nodes", row["id"]), f"the node {row['name']}", row, EDITED)
            access.api.patch(path("nodes", row["id"]), {"maintenanceMode": wanted}, seen)
        except Failure as failure:
            failures.append((row["name"], failure))
    output.note(
        f"{len(rows) - len(failures)} of {len(rows)} nodes are {'in' if wanted else 'out of'} maintenance."
    )
    if failures:
        for name, refusal in failures[:-1]:
            output.note(f"{name}: {refusal.message}")
        raise failures[-1][1]


def _named(rows: list[Row]) -> str:
    names = ", ".join(row["name"] for row in rows[:MAX_NAMED])
    more = f" and {len(rows) - MAX_NAMED} more" if len(rows) > MAX_NAMED else ""
    return f"{len(rows)} node{'s' if len(rows) != 1 else ''} ({names}{more})"
