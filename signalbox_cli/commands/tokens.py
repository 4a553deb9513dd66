"""``tokens``: with what scripts use the operator API."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Row, path
from signalbox_cli.failures import UnknownFailure, UsageFailure

COLUMNS: list[output.Column] = [
    ("NAME", lambda row: row["name"]),
    ("STATE", lambda row: row["state"]),
    ("ROLE", lambda row: f"{row['role']}, approves" if row["mayApprove"] else row["role"]),
    ("ENVIRONMENT", lambda row: row["environment"]),
    ("EXPIRES", lambda row: row["expiresAt"] or "never"),
    ("LAST USED", lambda row: output.ago(row["lastUsedAt"]) if row["lastUsedAt"] else "never"),
    ("MADE BY", lambda row: row["createdBy"]),
    ("ID", lambda row: row["id"]),
]
_SPAN = re.compile(r"(\d{1,5})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}


@click.group()
def tokens() -> None:
    """API tokens; for admins."""


@tokens.command("list")
@click.option("--revoked", is_flag=True, help="Those that were revoked.")
@options.environment
@options.output_format
@pass_access
def listing(access: Access, revoked: bool, environment: str | None, kind: str) -> None:
    """Newest first."""
    query = {"environmentId": access.environment_id(environment), "revoked": "true" if revoked else "false"}
    rows = list(access.api.rows("/api-tokens", query))
    known = {row["id"]: row["name"] for row in access.api.rows("/environments")} if kind == "table" else {}
    shown = [{**row, "environment": known.get(row["environmentId"], "all")} for row in rows]
    output.show(rows, kind, lambda: output.table(shown, COLUMNS, "There is no such token."))


@tokens.command()
@click.argument("name")
@click.option("--role", type=click.Choice(("viewer", "editor", "admin")), required=True)
@click.option(
    "--expires", metavar="D", help="Such as 12h, 30d, 2027-01-31 or 2027-01-31T12:00:00Z; else never."
)
@click.option(
    "--may-approve", is_flag=True, help="It may approve what others ask for in protected environments."
)
@click.option("--everywhere", is_flag=True, help="In every environment, also where the profile names one.")
@options.environment
@options.output_format
@pass_access
def create(
    access: Access,
    name: str,
    role: str,
    expires: str | None,
    may_approve: bool,
    everywhere: bool,
    environment: str | None,
    kind: str,
) -> None:
    """Make one and print it, once and alone. It may do nothing that you may not."""
    if everywhere and environment is not None:
        raise UsageFailure("It is either everywhere or in one environment.")
    body = {
        "name": name,
        "role": role,
        "environmentId": None if everywhere else access.environment_id(environment),
        "expiresAt": _moment(expires) if expires is not None else None,
        "mayApprove": may_approve,
    }
    row = access.api.post("/api-tokens", body)
    output.show(row, kind, lambda: click.echo(row["token"]))


@tokens.command()
@click.argument("token")
@options.yes
@pass_access
def revoke(access: Access, token: str, yes: bool) -> None:
    """End one at once, by its id or, where no other is called so, its name."""
    row = _token(access, token)
    options.confirm(f"Revoke the token {row['name']}? Whatever uses it is refused from then on.", yes)
    access.api.post(path("api-tokens", row["id"], "revoke"))
    output.note(f"{row['name']} is revoked.")


def _token(access: Access, wanted: str) -> Row:
    rows = list(access.api.rows("/api-tokens", {"revoked": "false"}))
    found = [row for row in rows if row["id"] == wanted] or [row for row in rows if row["name"] == wanted]
    if len(found) > 1:
        raise UsageFailure(
            f'{len(found)} tokens are called "{wanted}". Which one is meant?',
            [f"{row['id']} made by {row['createdBy'] or 'somebody'} on {row['createdAt']}" for row in found],
        )
    if not found:
        raise UnknownFailure(f'There is no token "{wanted}" that could be revoked: signalbox tokens list')
    return found[0]


def _moment(text: str) -> str:
    """The moment that *text* names, as the API takes it: a span from now, a date (its end, UTC) or a time."""
    span = _SPAN.fullmatch(text.strip())
    try:
        if span:
            moment = datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            moment = datetime.fromisoformat(text.strip())
            if len(text.strip()) <= len("2027-01-31"):
                moment += timedelta(days=1)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        raise UsageFailure(f"{text!r} is neither a span such as 30d nor a date such as 2027-01-31.") from None
