"""``status``: the fleet at a glance, once or as it changes."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row
from signalbox_cli.commands.nodes import connected, running, standing
from signalbox_cli.failures import UnreachableFailure
from signalbox_cli.screen import Screen

COLUMNS: list[output.Column] = [
    ("NODE", lambda row: row["name"]),
    ("STATUS", standing),
    ("CONNECTED", connected),
    ("PIPELINES", running),
    ("SEEN", lambda row: output.ago(row["lastSeenAt"])),
]


@dataclass
class Printed:
    """What was said last of the whole and of each node, where nothing that was said can be replaced."""

    counts: str = ""
    nodes: dict[str, str] = field(default_factory=dict)


@click.command()
@options.environment
@click.option("-l", "--label", metavar="SELECTOR", help="Only nodes whose labels match.")
@click.option("-w", "--watch", is_flag=True, help="Go on, until Ctrl-C.")
@click.option(
    "--interval", type=click.FloatRange(min=0.2), default=2.0, show_default=True, metavar="SECONDS",
    help="How often to look.",
)  # fmt: skip
@options.output_format
@pass_access
def status(
    access: Access, environment: str | None, label: str | None, watch: bool, interval: float, kind: str
) -> None:
    """How many nodes are how, and each of them, those with something wrong first.

    With --watch a terminal shows it in place; elsewhere there is a line for each change (with -o json an
    object a line).
    """
    query = {"environmentId": access.environment_id(environment), "label": label}
    if not watch:
        found = look(access, query)
        output.show(found, kind, lambda: _once(found))
        return
    screen, printed = Screen(sys.stdout), Printed()
    while True:
        began = time.monotonic()
        try:
            found = look(access, query)
            if kind != "table":
                click.echo(
                    output.to_json(found, None) if kind == "json" else f"---\n{output.to_yaml(found)}",
                    nl=kind == "json",
                )
            elif screen.is_live:
                screen.draw(_lines(found))
            else:
                _changes(found, printed)
        except UnreachableFailure as failure:
            if screen.is_live and kind == "table":
                screen.draw([f"{_now()}  {failure.message}", "Trying again until Ctrl-C."])
            else:
                output.note(f"{_now()}  {failure.message}")
        sys.stdout.flush()
        # A large fleet is read in many pages: no more than a fifth of the time.
        time.sleep(max(interval, 4 * (time.monotonic() - began)))


def look(access: Access, query: dict[str, str | None]) -> dict[str, Any]:
    """``{counts, nodes}``, the nodes as the API has them, those with something wrong first."""
    rows = [row for row in access.api.rows("/nodes", query) if not row.get("revokedAt")]
    rows.sort(key=lambda row: (_is_well(row), row["name"]))
    unknown = sum(row["push"]["connected"] is None for row in rows)
    counts = {
        "nodes": len(rows),
        "connected": sum(row["push"]["connected"] is True for row in rows) if not unknown else None,
        "behind": sum(bool(row["behind"]) for row in rows),
        "failed": sum("failed" in standing(row).split() for row in rows),
        "unreachable": sum(row["status"] == "UNREACHABLE" for row in rows),
        "maintenance": sum(bool(row["maintenanceMode"]) for row in rows),
    }
    return {"counts": counts, "nodes": rows}


def _is_well(row: Row) -> bool:
    return standing(row) == "HEALTHY" and row["push"]["connected"] is True


def _summary(counts: dict[str, Any]) -> str:
    return ", ".join(f"{'unknown' if number is None else number} {name}" for name, number in counts.items())


def _once(found: dict[str, Any]) -> None:
    click.echo(_summary(found["counts"]))
    click.echo()
    output.table(found["nodes"], COLUMNS, "There is no node.")


def _lines(found: dict[str, Any]) -> list[str]:
    return [
        f"{_now()}  {_summary(found['counts'])}",
        "",
        *output.lines(found["nodes"], COLUMNS, output.terminal_width()),
    ]


def _changes(found: dict[str, Any], printed: Printed) -> None:
    """A line for whatever is not as it was said last."""
    summary = _summary(found["counts"])
    if summary != printed.counts:
        printed.counts = summary
        click.echo(f"{_now()}  {summary}")
    names = {row["id"]: row["name"] for row in found["nodes"]}
    for node_id in [each for each in printed.nodes if each not in names]:
        click.echo(f"{_now()}  {printed.nodes.pop(node_id).partition(': ')[0]}: gone")
    for row in found["nodes"]:
        link = {"yes": "connected", "no": "not connected"}.get(connected(row), "connection unknown")
        text = output.printable(f"{row['name']}: {standing(row)}, {link}, pipelines {running(row)}")
        if printed.nodes.get(row["id"]) != text:
            printed.nodes[row["id"]] = text
            click.echo(f"{_now()}  {text}")


def _now() -> str:
    return datetime.now().strftime("%H:%M:%S")
