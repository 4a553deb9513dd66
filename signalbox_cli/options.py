"""Options and arguments that several commands take, and the question before what cannot be taken back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from signalbox_cli import completion, output
from signalbox_cli.failures import Failure, UsageFailure

Command = TypeVar("Command", bound=Callable[..., Any])

WAIT_SECONDS = 120.0


def output_format(command: Command) -> Command:
    """``-o``: a table, or the API's objects."""
    return click.option(
        "-o", "--output", "kind", type=click.Choice(output.FORMATS), default="table", show_default=True,
        help="A table for people, or the API's own objects.",
    )(command)  # fmt: skip


def environment(command: Command) -> Command:
    """``-e``: which environment."""
    return click.option(
        "-e", "--environment", metavar="NAME", shell_complete=completion.environments,
        help="The environment, by name or id. SIGNALBOX_ENVIRONMENT and the profile can name it too.",
    )(command)  # fmt: skip


def yes(command: Command) -> Command:
    """``--yes``: do not ask."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask first.")(command)


def wait(command: Command) -> Command:
    """``--wait`` and ``--timeout``."""
    command = click.option(
        "--timeout", "wait_seconds", type=click.FloatRange(min=0), default=WAIT_SECONDS, show_default=True,
        metavar="SECONDS", help="How long to wait.",
    )(command)  # fmt: skip
    return click.option("--wait", "waits", is_flag=True, help="Wait until every node has reported.")(command)


def pipeline_argument(command: Command) -> Command:
    """A pipeline's name or id."""
    return click.argument("pipeline", shell_complete=completion.pipelines)(command)


def node_argument(command: Command) -> Command:
    """A node's name or id."""
    return click.argument("node", shell_complete=completion.nodes)(command)


def confirm(question: str, yes: bool) -> None:
    """Go on only if somebody wants it.

    :raises Failure: they do not.
    :raises UsageFailure: nobody is there to be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageFailure(f"{question} Nobody is there to be asked: say --yes. Nothing was changed.")
    if not click.confirm(output.printable(question), err=True):
        raise Failure("Nothing was changed.")
