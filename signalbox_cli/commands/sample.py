"""``sample``: a few events of a pipeline's components, with their fields."""

from __future__ import annotations

import time

import click

from signalbox_cli import manifests, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import ConflictFailure, Failure

MAX_COMPONENTS = 16
FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 2.0

FIELD_COLUMNS: list[output.Column] = [
    ("FIELD", lambda row: row["path"]),
    ("TYPE", lambda row: row["type"]),
    ("FOR EXAMPLE", lambda row: row["sample"]),
]


@click.command()
@options.pipeline_argument
@click.argument("components", nargs=-1)
@click.option(
    "-n", "--count", type=click.IntRange(1, 100), default=5, show_default=True, help="Events of each."
)
@click.option("--schema", "only_schema", is_flag=True, help="Only the fields, not the events.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS",
    help="How long to wait for the nodes.",
)  # fmt: skip
@options.environment
@options.output_format
@pass_access
def sample(
    access: Access,
    pipeline: str,
    components: tuple[str, ...],
    count: int,
    only_schema: bool,
    timeout: float,
    environment: str | None,
    kind: str,
) -> None:
    """Ask up to five nodes that run PIPELINE for events of COMPONENTS (by default: of the first sixteen)."""
    row = access.pipeline(pipeline, environment)
    if row["wantedVersion"] is None:
        raise ConflictFailure(f"{row['name']} is not deployed, so there is nothing to sample.")
    if not components:
        version = access.api.get(path("pipelines", row["id"], "versions", str(row["wantedVersion"])))
        components = tuple(manifests.components(version["configYaml"])[:MAX_COMPONENTS])
    body = {"componentKeys": list(components), "limit": count}
    asked = access.api.post(path("pipelines", row["id"], "samples"), body)
    found = _wait(access, asked["requestId"], timeout)
    output.show(found, kind, lambda: _table(found, only_schema))
    if found["status"] == "PENDING":
        raise Failure(f"Not every component has answered within {timeout:g} s.")
    if found["status"] != "COMPLETED":
        raise Failure(f"The request ended as {found['status']}.")


def _wait(access: Access, request_id: str, seconds: float) -> Row:
    """The request as it is once it has ended, or *seconds* have passed."""
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE_SECONDS
    while True:
        found: Row = access.api.get(path("samples", request_id))
        left = deadline - time.monotonic()
        if found["status"] != "PENDING" or left <= 0:
            return found
        time.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE_SECONDS, pause * 1.5)


def _table(found: Row, only_schema: bool) -> None:
    names = {node["nodeId"]: node["name"] for node in found["nodes"]}
    for each in found["samples"]:
        click.echo(output.printable(f"# {each['componentKey']} on {names.get(each['nodeId'], '-')}"))
        if each["error"]:
            output.note(f"signalbox: {each['componentKey']}: {each['error']}")
        elif only_schema:
            output.table(each["schema"] or [], FIELD_COLUMNS, "No field is known.")
        else:
            for event in each["events"] or []:
                click.echo(output.printable(event if isinstance(event, str) else output.to_json(event, None)))
    for failure in found["failures"]:
        name = names.get(failure["nodeId"], failure["nodeId"])
        output.note(f"signalbox: {failure['componentKey']} on {name}: {failure['error']}")
