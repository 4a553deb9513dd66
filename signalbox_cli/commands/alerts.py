"""``alerts``: what fires, and the rules that it fires by."""

from __future__ import annotations

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path

STATES = ("FIRING", "PENDING", "RESOLVED")


def place(row: Row) -> str:
    """What an alert is about."""
    if row["certificate"]:
        return f"certificate {row['certificate']}"
    return f"{row['pipeline']} on {row['node']}" if row["pipeline"] else str(row["node"])


def rule_state(row: Row) -> str:
    """How a rule does, in words."""
    if not row["enabled"]:
        return "disabled"
    return "broken" if row["problem"] else "evaluated" if row["evaluatedAt"] else "new"


def measured(row: Row) -> str | None:
    """A threshold with its unit."""
    return None if row["threshold"] is None else f"{row['threshold']:g} {row['unit']}"


COLUMNS: list[output.Column] = [
    ("STATE", lambda row: row["state"]),
    ("SEVERITY", lambda row: row["severity"]),
    ("WHERE", place),
    ("SINCE", lambda row: output.ago(row["firedAt"] or row["since"])),
    ("RULE", lambda row: row["rule"]),
    ("SEEN TO BY", lambda row: row["acknowledgedBy"]),
    ("WHAT", lambda row: row["text"]),
    ("ID", lambda row: row["id"]),
]

RULE_COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("KIND", lambda row: row["kind"]),
    ("THRESHOLD", measured),
    ("FIRING", lambda row: row["firing"]),
    ("PENDING", lambda row: row["pending"]),
    ("STATE", rule_state),
    ("PROBLEM", lambda row: row["problem"]),
    ("ID", lambda row: row["id"]),
]


@click.group()
def alerts() -> None:
    """Alerts: what fires, is about to, or was resolved."""


@alerts.command("list")
@options.environment
@click.option("--state", type=click.Choice(STATES, case_sensitive=False), help="Only these.")
@click.option("-a", "--all", "is_all", is_flag=True, help="Also those that were resolved.")
@click.option("-n", "most", type=click.IntRange(min=1), help="At most so many.")
@options.output_format
@pass_access
def listing(
    access: Access, environment: str | None, state: str | None, is_all: bool, most: int | None, kind: str
) -> None:
    """Those that fire and those that are about to, newest first."""
    states = [state] if state is not None else [None] if is_all else ["FIRING", "PENDING"]
    environment_id = access.environment_id(environment)
    rows = [
        row
        for each in states
        for row in access.api.rows("/alerts", {"environmentId": environment_id, "state": each}, most)
    ][:most]
    output.show(rows, kind, lambda: output.table(rows, COLUMNS, "No alert."))


@alerts.command()
@options.environment
@options.output_format
@pass_access
def rules(access: Access, environment: str | None, kind: str) -> None:
    """The rules, newest first."""
    rows = list(access.api.rows("/alert-rules", {"environmentId": access.environment_id(environment)}))
    output.show(rows, kind, lambda: output.table(rows, RULE_COLUMNS, "There is no alert rule yet."))


@alerts.command()
@click.argument("alert", metavar="ID")
@options.output_format
@pass_access
def acknowledge(access: Access, alert: str, kind: str) -> None:
    """Say that somebody sees to it; it goes on firing until it is well again."""
    row = access.api.post(path("alerts", alert, "acknowledge"))
    output.show(row, kind, lambda: output.table([row], COLUMNS, ""))
