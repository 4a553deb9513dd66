"""``secrets``: values go in, from standard input alone, and never come back."""

from __future__ import annotations

import sys

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import UsageFailure

COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("CHANGED", lambda row: output.ago(row["updatedAt"])),
    ("USED BY", lambda row: f"{len(row['usedBy'])} pipelines" if len(row["usedBy"]) != 1 else "1 pipeline"),
    ("READABLE", lambda row: row.get("readable", True)),
]


@click.group()
def secrets() -> None:
    """Secrets of an environment, which pipelines name as SECRET[name]."""


@secrets.command("list")
@options.environment
@options.output_format
@pass_access
def listing(access: Access, environment: str | None, kind: str) -> None:
    """By name, without their values."""
    where = access.environment(environment)
    rows = list(access.api.rows(path("environments", where["id"], "secrets")))
    empty = f"{where['name']} has no secret. Put one: signalbox secrets set NAME"
    output.show(rows, kind, lambda: output.table(rows, COLUMNS, empty))


@secrets.command("set")
@click.argument("name")
@click.option("--keep-newline", is_flag=True, help="Keep the line's end behind the value.")
@options.environment
@options.output_format
@pass_access
def put(access: Access, name: str, keep_newline: bool, environment: str | None, kind: str) -> None:
    """Give a secret a value, which is read from standard input (on a terminal: asked for, unseen).

    One line's end behind it is left out, so that "echo" can be used. Nodes that run a pipeline with it are
    told at once.
    """
    where = access.environment(environment)
    seen = access.api.see_if_there(path("environments", where["id"], "secrets", name), f"the secret {name}")
    if sys.stdin.isatty():
        value = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)
    else:
        try:
            value = sys.stdin.buffer.read().decode("utf-8")
        except UnicodeDecodeError:
            raise UsageFailure("The value is not UTF-8.") from None
        if not keep_newline:
            value = value.removesuffix("\n").removesuffix("\r")
    if not value:
        raise UsageFailure("The value is empty: nothing came on standard input. Nothing was changed.")
    row = access.api.put(path("environments", where["id"], "secrets", name), {"value": value}, seen)
    output.show(row, kind, lambda: output.note(rotated(row, where)))


@secrets.command()
@click.argument("name")
@options.environment
@options.yes
@pass_access
def delete(access: Access, name: str, environment: str | None, yes: bool) -> None:
    """Remove one that no deployed pipeline uses."""
    where = access.environment(environment)
    seen = access.api.see(path("environments", where["id"], "secrets", name), f"the secret {name}")
    options.confirm(f"Delete the secret {name} of {where['name']}?", yes)
    access.api.delete(path("environments", where["id"], "secrets", name), seen)
    output.note(f"{name} is deleted.")


def rotated(row: Row, where: Row) -> str:
    """What a new value has set going."""
    sentence = f"{row['name']} of {where['name']} is kept"
    if row["targets"]:
        sentence += f"; {row['targets']} nodes run pipelines with it, {row['pushed']} of them were told"
    return f"{sentence}. {row.get('pushError', '')}".rstrip()
