"""``logs``: what pipelines have printed on a node, once or as it comes."""

from __future__ import annotations

import random
import sys
import time

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import UnreachableFailure
from signalbox_cli.windows import Window

LONGEST_PAUSE_SECONDS = 30.0


@click.command()
@options.node_argument
@click.option("-p", "--pipeline", metavar="NAME", help="Only this pipeline's.")
@click.option("-f", "--follow", is_flag=True, help="Go on, until Ctrl-C.")
@click.option(
    "-n", "--lines", "most", type=click.IntRange(min=0), help="At most so many of each pipeline at first."
)
@click.option(
    "--interval", type=click.FloatRange(min=0.2), default=1.0, show_default=True, metavar="SECONDS",
    help="How often to look.",
)  # fmt: skip
@options.environment
@options.output_format
@pass_access
def logs(
    access: Access,
    node: str,
    pipeline: str | None,
    follow: bool,
    most: int | None,
    interval: float,
    environment: str | None,
    kind: str,
) -> None:
    """The last lines that each pipeline's Vector printed on NODE; the server keeps two hundred.

    With -f it goes on when the server is away for a while. With -o json each line is an object
    {pipelineId, name, line}.
    """
    row = access.node(node, environment)
    query: dict[str, str | None] = {}
    if pipeline is not None:
        query["pipelineId"] = access.pipeline(pipeline, row["environmentId"])["id"]
    windows: dict[str, Window] = {}
    wide = 0
    pause, is_away = interval, False
    while True:
        try:
            kept = list(access.api.rows(path("nodes", row["id"], "logs"), query))
        except UnreachableFailure as failure:
            if not follow:
                raise
            if not is_away:
                output.note(f"signalbox: {failure.message} Trying again.")
            is_away, pause = True, min(LONGEST_PAUSE_SECONDS, pause * 2)
            # Jitter over the whole pause: many who follow do not come back at the same moment.
            time.sleep(random.uniform(interval / 2, pause))
            continue
        if is_away:
            output.note("signalbox: The server is there again.")
            is_away, pause = False, interval
        wide = max([wide, *(output.width(each["name"]) for each in kept)])
        for each in kept:
            first = each["pipelineId"] not in windows
            window = windows.setdefault(each["pipelineId"], Window())
            lines = window.new(each["lines"])
            if first and most is not None:
                lines = lines[-most:] if most else []
            for line in lines:
                _print(each, line, kind, wide if pipeline is None else None)
        sys.stdout.flush()
        if not follow:
            if not any(each["lines"] for each in kept) and kind == "table":
                output.note(f"{row['name']} has sent no lines.")
            return
        time.sleep(interval)


def _print(pipeline: Row, line: str, kind: str, wide: int | None) -> None:
    content = {"pipelineId": pipeline["pipelineId"], "name": pipeline["name"], "line": line}
    if kind == "json":
        click.echo(output.to_json(content, None))
    elif kind == "yaml":
        click.echo(f"---\n{output.to_yaml(content)}", nl=False)
    else:
        prefix = "" if wide is None else f"{output.printable(pipeline['name']).ljust(wide)}  "
        click.echo(f"{prefix}{output.printable(line)}")
