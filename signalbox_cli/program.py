"""``signalbox``: the program and its commands, and how each way of ending becomes an exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from signalbox_cli import version
from signalbox_cli.access import Access
from signalbox_cli.client import READ_SECONDS
from signalbox_cli.commands import (
    alerts,
    applying,
    approvals,
    certificates,
    completions,
    deploying,
    environments,
    logs,
    maintenance,
    nodes,
    pipelines,
    sample,
    secrets,
    signing_in,
    status,
    tail,
    tokens,
)
from signalbox_cli.failures import ExitCode
from signalbox_cli.profiles import Wishes

COMMANDS = (
    signing_in.login, signing_in.logout, signing_in.profiles_group,
    status.status, nodes.nodes, maintenance.maintenance,
    pipelines.pipelines, applying.apply, applying.diff,
    deploying.deploy, deploying.rollback, deploying.undeploy, approvals.approvals,
    logs.logs, tail.tail, sample.sample, alerts.alerts,
    secrets.secrets, certificates.certificates, environments.environments, tokens.tokens,
    completions.completion,
)  # fmt: skip


class Program(click.Group):
    """Ends with the codes of ``ExitCode``, and lists commands in the order in which they are met."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BrokenPipeError:
            # Whoever read has seen enough; nothing more can be said there, by Python at its end neither.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(ExitCode.PIPE_CLOSED)

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        **extra: Any,
    ) -> NoReturn:
        extra.pop("standalone_mode", None)
        try:
            code = super().main(args, prog_name or "signalbox", complete_var, standalone_mode=False, **extra)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(ExitCode.INTERRUPTED)
        except Exception:
            traceback.print_exc()
            click.echo(
                "signalbox: this is a fault of the program itself; the lines above say where.", err=True
            )
            sys.exit(ExitCode.FAULT)
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version(), prog_name="signalbox")
@click.option("--profile", metavar="NAME", help="The profile to use, see signalbox profiles.")
@click.option("--url", metavar="URL", help="The server, in place of the profile's.")
@click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The authorities to trust.",
)
@click.option(
    "--request-timeout", "read_seconds", metavar="SECONDS", type=click.FloatRange(min=0.1), default=READ_SECONDS,
    show_default=True, help="How long to wait for each answer.",
)  # fmt: skip
@click.pass_context
def main(
    context: click.Context, profile: str | None, url: str | None, ca_file: str | None, read_seconds: float
) -> None:
    """Operate a Signalbox server: its nodes, and the pipelines that they run.

    SIGNALBOX_URL and SIGNALBOX_API_TOKEN say which server and as whom; without them the profile that
    "signalbox login" keeps does. Exit codes: 0 done, 1 differs or failed, 2 not understood, 3 not reached,
    4 not allowed, 5 not found, 6 in the way, 7 the server failed, 8 not
    approved, 130 interrupted.
    """
    context.obj = Access(Wishes(profile, url, ca_file), read_seconds)


for _command in COMMANDS:
    main.add_command(_command)
