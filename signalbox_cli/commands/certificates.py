"""``certificates``."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import path
from signalbox_cli.commands.secrets import rotated


def _expires(moment: str | None) -> str:
    if moment is None:
        return "-"
    days = (datetime.fromisoformat(moment) - datetime.now(UTC)).days
    return f"{moment[:10]} ({'expired' if days < 0 else f'in {days} d'})"


COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("FILE", lambda row: row["filename"]),
    ("EXPIRES", lambda row: _expires(row["expiresAt"])),
    ("USED BY", lambda row: f"{len(row['usedBy'])} pipelines" if len(row["usedBy"]) != 1 else "1 pipeline"),
]


@click.group()
def certificates() -> None:
    """Certificates and keys of an environment, which pipelines name as CERT[name]."""


@certificates.command("list")
@options.environment
@options.output_format
@pass_access
def listing(access: Access, environment: str | None, kind: str) -> None:
    """By name, with what expires when."""
    where = access.environment(environment)
    rows = list(access.api.rows(path("environments", where["id"], "certificates")))
    empty = f"{where['name']} has no certificate. Put one: signalbox certificates set NAME FILE"
    output.show(rows, kind, lambda: output.table(rows, COLUMNS, empty))


@certificates.command("set")
@click.argument("name")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@options.environment
@options.output_format
@pass_access
def put(access: Access, name: str, file: Path, environment: str | None, kind: str) -> None:
    """Make one of FILE, which is PEM, or replace it."""
    where = access.environment(environment)
    body = {"filename": file.name, "data": base64.b64encode(file.read_bytes()).decode()}
    place = path("environments", where["id"], "certificates", name)
    row = access.api.put(place, body, access.api.see_if_there(place, f"the certificate {name}"))
    output.show(row, kind, lambda: output.note(rotated(row, where)))


@certificates.command()
@click.argument("name")
@options.environment
@options.yes
@pass_access
def delete(access: Access, name: str, environment: str | None, yes: bool) -> None:
    """Remove one that no deployed pipeline uses."""
    where = access.environment(environment)
    seen = access.api.see(path("environments", where["id"], "certificates", name), f"the certificate {name}")
    options.confirm(f"Delete the certificate {name} of {where['name']}?", yes)
    access.api.delete(path("environments", where["id"], "certificates", name), seen)
    output.note(f"{name} is deleted.")
