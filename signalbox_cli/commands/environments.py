"""``environments``."""

from __future__ import annotations

import click

from signalbox_cli import completion, names, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import path

COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("NODES", lambda row: row["nodeCount"]),
    ("PROTECTED", lambda row: row["protected"]),
    ("ID", lambda row: row["id"]),
]

argument = click.argument("environment", shell_complete=completion.environments)


@click.group()
def environments() -> None:
    """Environments: what nodes and pipelines lie in."""


@environments.command("list")
@options.output_format
@pass_access
def listing(access: Access, kind: str) -> None:
    """All that the token may see."""
    rows = sorted(access.api.rows("/environments"), key=lambda row: str(row["name"]))
    output.show(
        rows,
        kind,
        lambda: output.table(
            rows, COLUMNS, "There is no environment. Make one: signalbox environments create NAME"
        ),
    )


@environments.command()
@argument
@options.output_format
@pass_access
def show(access: Access, environment: str, kind: str) -> None:
    """One."""
    row = names.environment(access.api, environment)
    pairs = [
        ("Name", row["name"]),
        ("Id", row["id"]),
        ("Nodes", row["nodeCount"]),
        ("Protected", row["protected"]),
        ("Agent labels for selectors", ", ".join(row.get("selectableAgentLabels") or [])),
        ("Made", row["createdAt"]),
    ]
    output.show(row, kind, lambda: output.fields(pairs))


@environments.command()
@click.argument("name")
@click.option("--protected", is_flag=True, help="Mark it as protected.")
@options.output_format
@pass_access
def create(access: Access, name: str, protected: bool, kind: str) -> None:
    """Make one."""
    row = access.api.post("/environments", {"name": name, "protected": protected})
    output.show(row, kind, lambda: output.table([row], COLUMNS, ""))


@environments.command()
@argument
@options.yes
@pass_access
def delete(access: Access, environment: str, yes: bool) -> None:
    """Delete one that has neither nodes nor pipelines."""
    row = names.environment(access.api, environment)
    seen = access.api.see(path("environments", row["id"]), f"the environment {row['name']}")
    options.confirm(f"Delete the environment {seen.row['name']}?", yes)
    access.api.delete(path("environments", row["id"]), seen)
    output.note(f"{row['name']} is deleted.")


@environments.command("enrollment-token")
@argument
@options.yes
@pass_access
def enrollment_token(access: Access, environment: str, yes: bool) -> None:
    """Make a new enrollment token and print it; the one before ends at once."""
    row = names.environment(access.api, environment)
    options.confirm(f"Make a new enrollment token for {row['name']}, and end the one before?", yes)
    click.echo(access.api.post(path("environments", row["id"], "enrollment-token"))["token"])
