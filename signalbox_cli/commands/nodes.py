"""``nodes``: what there is, how it does, its labels, and its end."""

from __future__ import annotations

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, Seen, path
from signalbox_cli.failures import UsageFailure

STATUSES = ("UNKNOWN", "UNREACHABLE", "HEALTHY", "BEHIND", "FAILED", "MAINTENANCE", "REVOKED")


def standing(row: Row) -> str:
    """The node's status, and whatever else is to be known, in words."""
    words = ["REVOKED" if row.get("revokedAt") else str(row["status"])]
    if row["maintenanceMode"]:
        words.append("maintenance")
    if row["behind"]:
        words.append("behind")
    if any(
        each["failedVersion"] or each["status"] in ("FAILED", "CRASHED", "CRASH_LOOP")
        for each in row["pipelines"]
    ):
        words.append("failed")
    return " ".join(words)


def connected(row: Row) -> str:
    """``yes``, ``no``, or ``unknown`` while nobody can say."""
    return {True: "yes", False: "no", None: "unknown"}[row["push"]["connected"]]


def running(row: Row) -> str:
    """How many of its pipelines run in the version that is wanted."""
    wanted = [each for each in row["pipelines"] if each["wantedVersion"] is not None]
    good = [
        each for each in wanted if each["status"] == "RUNNING" and each["version"] == each["wantedVersion"]
    ]
    return f"{len(good)}/{len(wanted)}"


COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("STATUS", standing),
    ("CONNECTED", connected),
    ("PIPELINES", running),
    ("LABELS", lambda row: output.labels(row["labels"])),
    ("SEEN", lambda row: output.ago(row["lastSeenAt"])),
    ("ID", lambda row: row["id"]),
]

PIPELINE_COLUMNS: list[output.Column] = [
    ("PIPELINE", lambda row: row["name"]),
    ("STATUS", lambda row: row["status"]),
    ("VERSION", lambda row: row["version"]),
    ("WANTED", lambda row: row["wantedVersion"]),
    ("FAILED", lambda row: row["failedVersion"]),
    ("ERROR", lambda row: row["error"] or row.get("hold")),
]


@click.group()
def nodes() -> None:
    """Nodes: the machines that run pipelines."""


@nodes.command("list")
@options.environment
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False), help="Only these.")
@click.option(
    "--connected/--disconnected", "is_connected", default=None, help="Only with, or without, a push channel."
)
@click.option("-l", "--label", metavar="SELECTOR", help="Only those whose labels match, e.g. zone=a,!spot")
@click.option("-q", "--query", metavar="TEXT", help="Only those with TEXT in their name or host.")
@options.output_format
@pass_access
def listing(
    access: Access,
    environment: str | None,
    status: str | None,
    is_connected: bool | None,
    label: str | None,
    query: str | None,
    kind: str,
) -> None:
    """By name."""
    wanted = {
        "environmentId": access.environment_id(environment),
        "status": status,
        "connected": None if is_connected is None else str(is_connected).lower(),
        "label": label,
        "q": query,
    }
    rows = list(access.api.rows("/nodes", wanted))
    is_filtered = any(value is not None for value in (status, is_connected, label, query))
    empty = "No node matches." if is_filtered else "There is no node yet; an agent enrolls one."
    output.show(rows, kind, lambda: output.table(rows, COLUMNS, empty))


@nodes.command()
@options.node_argument
@options.environment
@options.output_format
@pass_access
def show(access: Access, node: str, environment: str | None, kind: str) -> None:
    """One, with its pipelines."""
    row = access.node(node, environment)

    def table() -> None:
        push = row["push"]
        since = f" through {push['transport']} since {push['since']}" if push["connected"] else ""
        output.fields(
            [
                ("Name", row["name"]),
                ("Id", row["id"]),
                ("Host", row["host"]),
                ("Status", standing(row)),
                ("Connected", connected(row) + since),
                ("Labels", output.labels(row["labels"])),
                ("Operator's labels", output.labels(row["operatorLabels"])),
                ("Agent", row["agentVersion"]),
                ("Vector", row["vectorVersion"]),
                ("Seen", output.ago(row["lastSeenAt"])),
                ("Enrolled", row["enrolledAt"]),
            ]
        )
        click.echo()
        output.table(row["pipelines"], PIPELINE_COLUMNS, "It runs no pipeline, and none is meant for it.")

    output.show(row, kind, table)


@nodes.command()
@options.node_argument
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
@options.environment
@options.output_format
@pass_access
def label(access: Access, node: str, changes: tuple[str, ...], environment: str | None, kind: str) -> None:
    """Set labels (zone=a) and remove them (zone-); others stay."""
    seen = _seen(access, node, environment)
    labels = dict(seen.row["operatorLabels"])
    for change in changes:
        key, equals, value = change.partition("=")
        if equals and key:
            labels[key] = value
        elif not equals and change.endswith("-") and len(change) > 1:
            labels.pop(change[:-1], None)
        else:
            raise UsageFailure(f"{change} is no change of a label: zone=a sets one, zone- removes one.")
    row = access.api.patch(path("nodes", seen.row["id"]), {"labels": labels}, seen)
    output.show(row, kind, lambda: output.table([row], COLUMNS, ""))


@nodes.command()
@options.node_argument
@click.argument("name")
@options.environment
@options.output_format
@pass_access
def rename(access: Access, node: str, name: str, environment: str | None, kind: str) -> None:
    """Give it another name."""
    seen = _seen(access, node, environment)
    row = access.api.patch(path("nodes", seen.row["id"]), {"name": name}, seen)
    output.show(row, kind, lambda: output.table([row], COLUMNS, ""))


@nodes.command()
@options.node_argument
@click.option("-p", "--pipeline", metavar="NAME", help="Only this pipeline, not the agent.")
@options.environment
@options.output_format
@pass_access
def restart(access: Access, node: str, pipeline: str | None, environment: str | None, kind: str) -> None:
    """Restart its agent, or one pipeline; what has failed is tried again."""
    row = access.node(node, environment)
    body = {"action": "restart"}
    if pipeline is not None:
        body["pipelineId"] = access.pipeline(pipeline, row["environmentId"])["id"]
    asked = access.api.post(path("nodes", row["id"], "actions"), body)
    told = "was told" if asked["pushed"] else "will hear of it when it asks next"
    output.show(asked, kind, lambda: output.note(f"{row['name']} {told}."))


@nodes.command()
@options.node_argument
@options.environment
@options.yes
@pass_access
def revoke(access: Access, node: str, environment: str | None, yes: bool) -> None:
    """End its token at once; the row stays. It goes on running what it runs, and hears of nothing more."""
    row = access.node(node, environment)
    options.confirm(f"Revoke the token of {row['name']}? It can only come back by enrolling again.", yes)
    access.api.post(path("nodes", row["id"], "revoke"))
    output.note(f"{row['name']} is revoked.")


@nodes.command()
@options.node_argument
@options.environment
@options.yes
@pass_access
def delete(access: Access, node: str, environment: str | None, yes: bool) -> None:
    """Forget it; its token ends."""
    seen = _seen(access, node, environment)
    options.confirm(f"Delete the node {seen.row['name']}?", yes)
    access.api.delete(path("nodes", seen.row["id"]), seen)
    output.note(f"{seen.row['name']} is deleted.")


def _seen(access: Access, node: str, environment: str | None) -> Seen:
    row = access.node(node, environment)
    return access.api.see(path("nodes", row["id"]), f"the node {row['name']}")
