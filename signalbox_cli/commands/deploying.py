"""``deploy``, ``rollback`` and ``undeploy``."""

from __future__ import annotations

from typing import Any

import click

from signalbox_cli import approval, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import Failure
from signalbox_cli.waiting import Awaited, wait


@click.command()
@options.pipeline_argument
@click.option("-m", "--changelog", metavar="TEXT", help="What is new, for whoever looks at its versions.")
@options.environment
@options.wait
@options.output_format
@pass_access
def deploy(
    access: Access,
    pipeline: str,
    changelog: str | None,
    environment: str | None,
    waits: bool,
    wait_seconds: float,
    kind: str,
) -> None:
    """Make a version of the draft and tell every node that matches it."""
    row = access.pipeline(pipeline, environment)
    _act(access, row, "deploy", {"changelog": changelog}, wait_seconds if waits else None, kind)


@click.command()
@options.pipeline_argument
@click.argument("version", type=click.IntRange(min=1))
@options.environment
@options.wait
@options.output_format
@pass_access
def rollback(
    access: Access,
    pipeline: str,
    version: int,
    environment: str | None,
    waits: bool,
    wait_seconds: float,
    kind: str,
) -> None:
    """Deploy again what VERSION was; the draft stays as it is."""
    row = access.pipeline(pipeline, environment)
    _act(access, row, "rollback", {"version": version}, wait_seconds if waits else None, kind)


@click.command()
@options.pipeline_argument
@options.environment
@click.option(
    "--emergency", metavar="TEXT", help="As an admin, without anybody's approval: why it cannot wait."
)
@options.yes
@options.wait
@options.output_format
@pass_access
def undeploy(
    access: Access,
    pipeline: str,
    environment: str | None,
    emergency: str | None,
    yes: bool,
    waits: bool,
    wait_seconds: float,
    kind: str,
) -> None:
    """Take it off every node; its draft and versions stay."""
    row = access.pipeline(pipeline, environment)
    options.confirm(f"Take {row['name']} off every node that runs it?", yes)
    _act(access, row, "undeploy", {"emergency": emergency}, wait_seconds if waits else None, kind)


def sentence(row: Row, answer: Row) -> str:
    """What a deploy, a rollback or an undeploy has set going."""
    request = approval.asked(answer)
    if request is not None:
        return approval.sentence(request)
    what = (
        f"{row['name']} is version {answer['version']}"
        if answer["version"]
        else f"{row['name']} is taken off"
    )
    if answer["targets"] == 0:
        return f"{what}; no node matches it."
    told = f"{answer['targets']} node{'s' if answer['targets'] != 1 else ''}, {answer['pushed']} told at once"
    return f"{what}: {told}. {answer.get('pushError', '')}".rstrip()


def awaited(row: Row, answer: Row) -> Awaited:
    """The same, to be waited for."""
    return Awaited(
        row["name"], row["environmentId"], answer["deploymentId"], answer["version"], answer["targets"]
    )


def _act(
    access: Access, row: Row, act: str, body: dict[str, Any], wait_seconds: float | None, kind: str
) -> None:
    answer = access.api.post(path("pipelines", row["id"], act), body)
    output.show(answer, kind, lambda: click.echo(output.printable(sentence(row, answer))))
    if wait_seconds is None:
        return
    request = approval.asked(answer)
    deploys = (
        [awaited(row, answer)] if request is None else approval.wait(access.api, [request], wait_seconds)
    )
    if not wait(access.api, deploys, wait_seconds):
        raise Failure(f"{row['name']} is not as it should be on every node.")
