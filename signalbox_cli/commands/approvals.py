"""``approvals``: what is asked for in protected environments, and deciding it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from signalbox_cli import approval, options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import ConflictFailure, Failure, UnknownFailure, UsageFailure
from signalbox_cli.output import colours
from signalbox_cli.waiting import wait

STATES = ("open", "approved", "rejected", "cancelled", "expired", "overtaken")
COLUMNS: list[output.Column] = [
    ("PIPELINE", lambda row: row["pipeline"]),
    ("WHAT", lambda row: what(row)),
    ("STATE", lambda row: row["state"]),
    ("ASKED BY", lambda row: row["askedBy"]),
    ("ASKED", lambda row: output.ago(row["askedAt"])),
    ("EXPIRES", lambda row: row["expiresAt"] if row["state"] == "open" else None),
    ("DECIDED BY", lambda row: row["decidedBy"]),
    ("ID", lambda row: row["id"]),
]
_COLOURS = {"+": "green", "-": "red"}

argument = click.argument("request", metavar="REQUEST")
comment_option = click.option("-m", "--comment", metavar="TEXT", help="Kept with the decision.")


@click.group()
def approvals() -> None:
    """Deploys that somebody else must approve. REQUEST is an id, or a pipeline that one open request is for."""


@approvals.command("list")
@click.option("--state", type=click.Choice((*STATES, "all")), default="open", show_default=True)
@options.environment
@options.output_format
@pass_access
def listing(access: Access, state: str, environment: str | None, kind: str) -> None:
    """Newest first."""
    query = {
        "environmentId": access.environment_id(environment),
        "state": None if state == "all" else state,
    }
    rows = list(access.api.rows("/deploy-requests", query))
    output.show(rows, kind, lambda: output.table(rows, COLUMNS, "Nothing waits for approval."))


@approvals.command()
@argument
@options.output_format
@pass_access
def show(access: Access, request: str, kind: str) -> None:
    """What one would bring in place of what is deployed, and which nodes it would reach."""
    row = _request(access, request)
    output.show(row, kind, lambda: _print(row))


@approvals.command()
@argument
@comment_option
@click.option(
    "--targets-changed", is_flag=True, help="It is meant, although it reaches other nodes than before."
)
@options.yes
@options.wait
@options.output_format
@pass_access
def approve(
    access: Access,
    request: str,
    comment: str | None,
    targets_changed: bool,
    yes: bool,
    waits: bool,
    wait_seconds: float,
    kind: str,
) -> None:
    """Deploy exactly what was asked for. Nobody approves what they have asked for themselves."""
    row = _request(access, request)
    reach = row["reach"]
    if reach is None:
        raise ConflictFailure(f"The request is not open any more: it was {row['state']}.")
    if kind == "table" and not yes:
        _print(row)
    if reach["changed"] and not targets_changed:
        raise ConflictFailure(
            "It reaches other nodes than when it was asked for. Say --targets-changed if they are meant.",
            _changes(reach),
        )
    number = f"{reach['targets']} node{'s' if reach['targets'] != 1 else ''}"
    options.confirm(f"{what(row)} {row['pipeline']} on {number}?", yes)
    body = {"comment": comment, "checksum": row["checksum"]}
    if reach["changed"]:
        body["targetsChecksum"] = reach["checksum"]
    answer = access.api.post(path("deploy-requests", row["id"], "approve"), body)
    version = f"version {answer['version']}" if answer["version"] is not None else "taken off"
    told = f"{row['pipeline']} is {version}: {number}, {answer['pushed']} told at once."
    output.show(answer, kind, lambda: click.echo(output.printable(told)))
    if waits:
        approved = approval.awaited(access.api, {**row, "deploymentId": answer["deploymentId"]})
        if not wait(access.api, [approved], wait_seconds):
            raise Failure(f"{row['pipeline']} is not as it should be on every node.")


@approvals.command()
@argument
@comment_option
@options.output_format
@pass_access
def reject(access: Access, request: str, comment: str | None, kind: str) -> None:
    """End it without a deployment."""
    row = _request(access, request)
    answer = access.api.post(path("deploy-requests", row["id"], "reject"), {"comment": comment})
    output.show(answer, kind, lambda: click.echo(output.printable(f"{row['pipeline']} is rejected.")))


@approvals.command()
@argument
@options.output_format
@pass_access
def cancel(access: Access, request: str, kind: str) -> None:
    """Take back what you have asked for yourself."""
    row = _request(access, request)
    answer = access.api.post(path("deploy-requests", row["id"], "cancel"))
    output.show(answer, kind, lambda: click.echo(output.printable(f"{row['pipeline']} is cancelled.")))


def what(row: Row) -> str:
    """``Deploy``, ``Undeploy`` or ``Roll back to v3``."""
    if row["kind"] == "rollback":
        return f"Roll back to v{row['fromVersion']}"
    return str(row["kind"]).capitalize()


def _request(access: Access, wanted: str) -> Row:
    """The request of this id, else the only open one of the pipeline that is called so."""
    rows = list(access.api.rows("/deploy-requests", {"state": "open"}))
    found = [row for row in rows if row["pipeline"] == wanted] or [row for row in rows if row["id"] == wanted]
    if len(found) > 1:
        raise UsageFailure(
            f"{len(found)} requests for {wanted} are open. Which one is meant?",
            [f"{row['id']} {what(row)}, asked by {row['askedBy']}" for row in found],
        )
    try:
        row: Row = access.api.get(path("deploy-requests", found[0]["id"] if found else wanted))
    except UnknownFailure:
        raise UnknownFailure(
            f'There is no request "{wanted}", and none is open for a pipeline of that name.'
            " What is open: signalbox approvals list"
        ) from None
    return row


def _print(row: Row) -> None:
    reach = row["reach"]
    before = f"version {row['baseVersion']}" if row["baseVersion"] is not None else "nothing"
    output.fields(
        [
            ("Request", row["id"]),
            ("What", f"{what(row)} {row['pipeline']}"),
            ("State", row["state"]),
            ("Asked by", f"{row['askedBy']}, {output.ago(row['askedAt'])}"),
            ("Expires", row["expiresAt"]),
            *([("Decided by", row["decidedBy"])] if row["decidedBy"] else []),
            *([("Comment", row["comment"])] if row["comment"] else []),
            ("In place of", before),
            ("Selector", row["nodeSelector"] or "(every node)"),
            ("Changelog", row["changelog"]),
            ("Nodes when asked", row["targets"]),
            *([("Nodes now", f"{reach['targets']}, {reach['gained']} new")] if reach else []),
            *([("Will stop it", reach["lost"])] if reach else []),
        ]
    )
    for line in _changes(reach) if reach else []:
        click.echo(output.printable(line))
    coloured = colours()
    if row["difference"] and row["kind"] != "undeploy":
        click.echo()
    for line in row["difference"] if row["kind"] != "undeploy" else []:
        text = output.printable(f"{line['mark']} {line['text']}")
        colour = _COLOURS.get(line["mark"]) if coloured else None
        click.echo(click.style(text, fg=colour) if colour else text)


def _changes(reach: Row) -> Sequence[str]:
    return [
        f"{title}: {', '.join(node['name'] for node in reach[field])}"
        for field, title in (("joined", "Joined since it was asked"), ("left", "Not reached any more"))
        if reach[field]
    ]
