"""``apply`` and ``diff``: a folder of files says which pipelines there should be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from signalbox_cli import approval, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Api, Row, path
from signalbox_cli.commands.deploying import awaited, sentence
from signalbox_cli.failures import ChangedFailure, ExitCode, Failure
from signalbox_cli.output import colours, paint
from signalbox_cli.plain_text import printable
from signalbox_cli.planning import plan
from signalbox_cli.plans import Action, Step, summary
from signalbox_cli.waiting import Awaited, wait

EDITED = ("name", "configYaml", "nodeSelector", "logLevel", "wantedVersion")
"""What somebody may have made of a pipeline that is to be pruned."""

_DIFFERENCE_COLOURS = {"+": "green", "-": "red", "@": "cyan"}


def _arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--prune", is_flag=True, help="Also pipelines of these environments that no file names."
    )(command)
    command = click.option(
        "-f", "--file", "root", required=True, metavar="DIR", type=click.Path(exists=True, path_type=Path),
        help="A folder of files, or one file.",
    )(command)  # fmt: skip
    return options.environment(options.output_format(command))


@click.command()
@_arguments
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@click.option("-m", "--changelog", metavar="TEXT", help="What is new, for whoever looks at the versions.")
@options.yes
@options.wait
@pass_access
def apply(
    access: Access,
    root: Path,
    prune: bool,
    environment: str | None,
    kind: str,
    dry_run: bool,
    changelog: str | None,
    yes: bool,
    waits: bool,
    wait_seconds: float,
) -> None:
    """Make pipelines what the files in DIR say, and deploy those that differ from what nodes run.

    First everything is read and checked, and what will be done is shown; a broken file stops all of it. Doing it
    again changes nothing. With --prune, pipelines that no file names are undeployed and deleted, after a question.
    In a protected environment deploys are asked for: --wait also waits until somebody else has approved them.
    """
    steps = plan(access, root, environment, prune, only_reads=dry_run)
    if kind == "table":
        _show(steps)
    pruned = [each for each in steps if each.action == Action.PRUNE]
    done: list[tuple[Step, Row | None]] = []
    if not dry_run:
        if pruned:
            named = ", ".join(each.title for each in pruned)
            options.confirm(f"Undeploy and delete {len(pruned)} pipelines ({named})?", yes)
        done = _carry_out(access.api, steps, changelog, kind)
    answers = {id(each): answer for each, answer in done}
    result = [{**each.to_json(), "deployment": answers.get(id(each))} for each in steps]
    output.show({"dryRun": dry_run, "steps": result}, kind, lambda: None)
    if waits and not dry_run:
        _wait(access.api, done, wait_seconds)


@click.command()
@_arguments
@pass_access
@click.pass_context
def diff(
    context: click.Context, access: Access, root: Path, prune: bool, environment: str | None, kind: str
) -> None:
    """Show what "apply" would do; the exit code is 1 if that is anything, else 0."""
    steps = plan(access, root, environment, prune, only_reads=True)
    output.show({"dryRun": True, "steps": [each.to_json() for each in steps]}, kind, lambda: _show(steps))
    if any(each.action != Action.UNCHANGED for each in steps):
        context.exit(ExitCode.DIFFERS)


def _show(steps: Sequence[Step]) -> None:
    coloured = colours()
    for each in steps:
        word = paint(f"{each.action!s:<9}", each.action, coloured)
        click.echo(f"{word}  {printable(each.title)}  ({printable(each.reason)})")
        for line in each.difference():
            colour = _DIFFERENCE_COLOURS.get(line[:1]) if coloured else None
            click.echo(f"    {click.style(printable(line), fg=colour) if colour else printable(line)}")
    click.echo(f"\n{summary(steps)}.")


def _carry_out(
    api: Api, steps: Sequence[Step], changelog: str | None, kind: str
) -> list[tuple[Step, Row | None]]:
    """Do it, one after the other; each step that was done, and what its deploy answered."""
    done: list[tuple[Step, Row | None]] = []
    for each in (step for step in steps if step.action != Action.UNCHANGED):
        try:
            row, answer = _prune(api, each) if each.action == Action.PRUNE else _bring(api, each, changelog)
        except Failure as failure:
            failure.details.insert(
                0, f"at {each.title}; {len(done)} steps before it were done, those behind it were not"
            )
            failure.details.append("Applying again goes on from here.")
            raise
        done.append((each, answer))
        if kind == "table":
            click.echo(
                printable(
                    f"{row['name']} is deleted."
                    if each.action == Action.PRUNE and not _waits(answer)
                    else _said(row, answer)
                )
            )
        sys.stdout.flush()
    return done


def _waits(answer: Row | None) -> bool:
    return answer is not None and approval.asked(answer) is not None


def _said(row: Row, answer: Row | None) -> str:
    return sentence(row, answer) if answer is not None else f"The draft of {row['name']} is changed."


def _bring(api: Api, step: Step, changelog: str | None) -> tuple[Row, Row | None]:
    """Write the draft, if it is another, and deploy it, if nodes have another."""
    manifest = step.manifest
    assert manifest is not None
    body = {
        "configYaml": manifest.config_yaml,
        "nodeSelector": manifest.selector,
        "logLevel": manifest.log_level,
    }
    what = f"the pipeline {step.title}"
    if step.seen is None:
        body |= {"environmentId": step.environment["id"], "name": manifest.name}
        seen = api.write("POST", "/pipelines", body, what)
    else:
        seen, where = step.seen, path("pipelines", step.seen.row["id"])
        if step.deploys:
            # No tag says what is deployed, so that the moment between this and the deploy stays open to others.
            api.see_again(where, what, seen.row, ("wantedVersion",))
        if step.saves:
            seen = api.write("PUT", where, body, what, seen)
    if not step.deploys:
        return seen.row, None
    try:
        return seen.row, api.post(path("pipelines", seen.row["id"], "deploy"), {"changelog": changelog}, seen)
    except ChangedFailure as failure:
        if step.saves:
            failure.details.append("Its draft had been written before that; it was not deployed.")
        raise


def _prune(api: Api, step: Step) -> tuple[Row, Row | None]:
    seen = step.seen
    assert seen is not None
    where = path("pipelines", seen.row["id"])
    answer = None
    if seen.row["wantedVersion"] is not None:
        # An undeploy takes no condition.
        api.see_again(where, seen.what, seen.row, EDITED)
        answer = api.post(f"{where}/undeploy")
        if _waits(answer):
            return seen.row, answer  # it can be deleted once that is approved
    try:
        api.delete(where, seen)
    except ChangedFailure as failure:
        if answer is not None:
            failure.details.append("It had been taken off its nodes before that; it was not deleted.")
        raise
    return seen.row, answer


def _wait(api: Api, done: Sequence[tuple[Step, Row | None]], seconds: float) -> None:
    requests = [request for _, answer in done if answer and (request := approval.asked(answer))]
    waiting: list[Awaited] = [
        awaited({"name": each.name, "environmentId": each.environment["id"]}, answer)
        for each, answer in done
        if answer is not None and not _waits(answer)
    ]
    waiting += approval.wait(api, requests, seconds) if requests else []
    if waiting and not wait(api, waiting, seconds):
        raise Failure("Not every node runs what it should.")
