"""``pipelines``: drafts, their checks and versions, and files made of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from signalbox_cli import manifests, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import path
from signalbox_cli.failures import ConflictFailure, Failure, UsageFailure

COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("DEPLOYED", lambda row: f"v{row['wantedVersion']}" if row["wantedVersion"] is not None else "no"),
    ("SELECTOR", lambda row: row["nodeSelector"] or "(every node)"),
    ("LOG LEVEL", lambda row: row["logLevel"]),
    ("DRAFT CHANGED", lambda row: output.ago(row["updatedAt"])),
    ("ID", lambda row: row["id"]),
]

VERSION_COLUMNS: list[output.Column] = [
    ("VERSION", lambda row: row["version"]),
    ("MADE", lambda row: output.ago(row["createdAt"])),
    ("BY", lambda row: row["createdBy"]),
    ("SELECTOR", lambda row: row["nodeSelector"] or "(every node)"),
    ("CHANGELOG", lambda row: row["changelog"]),
]

FILE = click.Path(exists=True, dir_okay=False, allow_dash=True)


@click.group()
def pipelines() -> None:
    """Pipelines: what nodes run."""


@pipelines.command("list")
@options.environment
@options.output_format
@pass_access
def listing(access: Access, environment: str | None, kind: str) -> None:
    """By name."""
    query = {"environmentId": access.environment_id(environment)}
    rows = sorted(access.api.rows("/pipelines", query), key=lambda row: str(row["name"]))
    empty = (
        "There is no pipeline. Make one: signalbox pipelines create NAME -f FILE, or signalbox apply -f DIR"
    )
    output.show(rows, kind, lambda: output.table(rows, COLUMNS, empty))


@pipelines.command()
@options.pipeline_argument
@options.environment
@options.output_format
@pass_access
def show(access: Access, pipeline: str, environment: str | None, kind: str) -> None:
    """One draft, and what of it is deployed."""
    row = access.api.get(path("pipelines", access.pipeline(pipeline, environment)["id"]))

    def table() -> None:
        output.fields(
            [
                ("Name", row["name"]),
                ("Id", row["id"]),
                ("Environment", row["environmentId"]),
                ("Deployed", f"version {row['wantedVersion']}" if row["wantedVersion"] is not None else "no"),
                ("Selector", row["nodeSelector"] or "(every node)"),
                ("Log level", row["logLevel"]),
                ("Draft changed", row["updatedAt"]),
                *([("Held", row["hold"])] if "hold" in row else []),
            ]
        )
        click.echo(f"\n{output.printable(row['configYaml'], keep=chr(10) + chr(9))}".rstrip())

    output.show(row, kind, table)


@pipelines.command()
@click.argument("name")
@click.option(
    "-f", "--file", "file", type=FILE, required=True, help="Vector's configuration; - for standard input."
)
@click.option(
    "--selector", default="", metavar="SELECTOR", help="The nodes that a deploy reaches; every one, if empty."
)
@click.option("--log-level", type=click.Choice(manifests.LOG_LEVELS), help="Vector's own, if not given.")
@options.environment
@options.output_format
@pass_access
def create(
    access: Access,
    name: str,
    file: str,
    selector: str,
    log_level: str | None,
    environment: str | None,
    kind: str,
) -> None:
    """Make a draft; nothing reaches a node before a deploy."""
    body = {
        "environmentId": access.environment(environment)["id"],
        "name": name,
        "configYaml": read_text(file),
        "nodeSelector": selector,
        "logLevel": log_level,
    }
    row = access.api.post("/pipelines", body)
    output.show(row, kind, lambda: output.table([row], COLUMNS, ""))


@pipelines.command()
@click.argument("file", type=FILE)
@options.environment
@options.output_format
@pass_access
def validate(access: Access, file: str, environment: str | None, kind: str) -> None:
    """Say what a deploy of FILE (Vector's configuration; - for standard input) would be refused for."""
    where = access.environment(environment)
    body = {"configYaml": read_text(file), "environmentId": where["id"]}
    answer = access.api.post("/pipelines/validate", body)

    def table() -> None:
        for error in answer["errors"]:
            place = f"{file}:{error['line']}" if error.get("line") else file
            component = f" component {error['component']}:" if error.get("component") else ""
            click.echo(output.printable(f"{place}:{component} {error['message']}"))

    output.show(answer, kind, table)
    if not answer["valid"]:
        raise Failure(f"{file} cannot be deployed in {where['name']}.")
    if kind == "table":
        output.note(f"{file} can be deployed in {where['name']}.")


@pipelines.command()
@options.pipeline_argument
@options.environment
@options.output_format
@pass_access
def versions(access: Access, pipeline: str, environment: str | None, kind: str) -> None:
    """What deploys made, newest first."""
    row = access.pipeline(pipeline, environment)
    rows = list(access.api.rows(path("pipelines", row["id"], "versions")))
    empty = f"{row['name']} was never deployed: signalbox deploy {row['name']}"
    output.show(rows, kind, lambda: output.table(rows, VERSION_COLUMNS, empty))


@pipelines.command()
@options.pipeline_argument
@options.environment
@options.yes
@pass_access
def delete(access: Access, pipeline: str, environment: str | None, yes: bool) -> None:
    """Delete one that is not deployed, with its versions."""
    row = access.pipeline(pipeline, environment)
    if row["wantedVersion"] is not None:
        raise ConflictFailure(
            f"{row['name']} is deployed. Take it off first: signalbox undeploy {row['name']}"
        )
    seen = access.api.see(path("pipelines", row["id"]), f"the pipeline {row['name']}")
    options.confirm(f"Delete the pipeline {seen.row['name']} with all its versions?", yes)
    access.api.delete(path("pipelines", row["id"]), seen)
    output.note(f"{row['name']} is deleted.")


@pipelines.command()
@click.argument("names", nargs=-1, metavar="[PIPELINE]...")
@click.option("--version", "number", type=click.IntRange(min=1), help="This version in place of the draft.")
@click.option(
    "-d",
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="A file for each, in this folder.",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@options.environment
@pass_access
def export(
    access: Access,
    names: tuple[str, ...],
    number: int | None,
    directory: Path | None,
    force: bool,
    environment: str | None,
) -> None:
    """Write pipelines as "apply" reads them: those that are named, else all of the environment."""
    if number is not None and len(names) != 1:
        raise UsageFailure("A version is of one pipeline: name it.")
    if names:
        rows = [access.pipeline(name, environment) for name in names]
    else:
        query = {"environmentId": access.environment(environment)["id"]}
        rows = sorted(access.api.rows("/pipelines", query), key=lambda row: str(row["name"]))
    known = {row["id"]: row["name"] for row in access.api.rows("/environments")}
    contents = []
    for row in rows:
        content = (
            row if number is None else access.api.get(path("pipelines", row["id"], "versions", str(number)))
        )
        contents.append(
            (row["name"], manifests.written(known.get(row["environmentId"]), row["name"], content))
        )
    if directory is None:
        click.echo("---\n".join(text for _, text in contents), nl=False)
        return
    files = [directory / f"{_file_name(name)}.yaml" for name, _ in contents]
    if len(set(files)) != len(files):
        raise ConflictFailure("Several of these names would make the same file. Export them one at a time.")
    there = [str(file) for file in files if file.exists()]
    if there and not force:
        raise ConflictFailure("These files are there already; --force overwrites them.", there)
    directory.mkdir(parents=True, exist_ok=True)
    for file, (_, text) in zip(files, contents, strict=True):
        file.write_text(text, encoding="utf-8")
        output.note(f"{file} is written.")


def read_text(file: str) -> str:
    """What is in a file, or comes on standard input (``-``).

    :raises UsageFailure: it is not text.
    """
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageFailure(f"{file} cannot be read: {error}") from None


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip(".-") or "pipeline"
