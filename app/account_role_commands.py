"""``flask --app wsgi account``: who there is, and what each may do."""

from __future__ import annotations

import click

from app import account_admin, environments
from app.account_admin import AccountRow, Wanted
from app.account_commands import account, typed_password
from app.audit import COMMAND_LINE
from app.clock import rfc3339
from app.command_errors import in_one_sentence
from app.principal import ROLES

__all__ = ["account"]

NONE = "none"
"""No role."""

ROLE_OR_NONE = click.Choice((*ROLES, NONE))
ACCOUNTS_AT_ONCE = 500


@account.command("list")
@in_one_sentence
def list_accounts() -> None:
    """Print each account: its address, its role overall, those in environments, and whether it is disabled."""
    names = {each.id: each.name for each in environments.choices()}
    cursor = None
    while True:
        page = account_admin.listing(limit=ACCOUNTS_AT_ONCE, cursor=cursor)
        for row in page.items:
            click.echo(_line(row, names))
        cursor = page.next_cursor
        if cursor is None:
            return


@account.command("create")
@click.argument("email")
@click.option("--role", type=ROLE_OR_NONE, default=NONE, show_default=True, help="Overall.")
@click.option(
    "--grant", "grants", metavar="E=ROLE", multiple=True, help="A role in the environment of this name or id."
)
@in_one_sentence
def create(email: str, role: str, grants: tuple[str, ...]) -> None:
    """Make an account.

    Asks for the password on a terminal; else reads it as one line from standard input.
    """
    row, _ = account_admin.create(
        email, typed_password(), COMMAND_LINE, role=_role(role), grants=dict(_grant(each) for each in grants)
    )
    click.echo(f"Made the account {row.email}.", err=True)


@account.command("role")
@click.argument("email")
@click.argument("role", type=ROLE_OR_NONE)
@click.option("--environment", metavar="E", help="Name or id of the one environment; by default overall.")
@in_one_sentence
def set_role(email: str, role: str, environment: str | None) -> None:
    """Give an account a role overall or in one environment, or take it away (none)."""
    row = account_admin.find(email)
    if environment is None:
        account_admin.update(row.id, Wanted(role=_role(role)), COMMAND_LINE)
        return
    grants: dict[str, str] = dict(row.grants)
    environment_id = environments.find(environment).id
    grants.pop(environment_id, None)
    if role != NONE:
        grants[environment_id] = role
    account_admin.update(row.id, Wanted(grants=grants), COMMAND_LINE)


@account.command("disable")
@click.argument("email")
@in_one_sentence
def disable(email: str) -> None:
    """Sign an account out everywhere, and let nobody sign in with it."""
    account_admin.update(account_admin.find(email).id, Wanted(disabled=True), COMMAND_LINE)


@account.command("enable")
@click.argument("email")
@in_one_sentence
def enable(email: str) -> None:
    """Let a disabled account be used again."""
    account_admin.update(account_admin.find(email).id, Wanted(disabled=False), COMMAND_LINE)


@account.command("delete")
@click.argument("email")
@in_one_sentence
def delete(email: str) -> None:
    """Delete an account; what it did stays in the audit log."""
    account_admin.delete(account_admin.find(email).id, COMMAND_LINE)


def _line(row: AccountRow, names: dict[str, str]) -> str:
    grants = " ".join(f"{names.get(key, key)}={role}" for key, role in sorted(row.grants.items())) or "-"
    state = f"disabled since {rfc3339(row.disabled_at)}" if row.disabled_at else "enabled"
    return f"{row.email}\t{row.role or NONE}\t{grants}\t{state}"


def _role(role: str) -> str | None:
    return None if role == NONE else role


def _grant(text: str) -> tuple[str, str]:
    environment, is_pair, role = text.rpartition("=")
    if not is_pair or role not in ROLES:
        raise click.BadParameter(
            f"{text!r} is no environment, =, and one of {', '.join(ROLES)}.", param_hint="--grant"
        )
    return environments.find(environment).id, role
