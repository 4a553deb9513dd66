"""``flask --app wsgi account …``: what whoever runs the server can do to somebody's account without a browser."""

from __future__ import annotations

import sys

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy import select

from app import passwords, recovery, sessions
from app.audit import COMMAND_LINE
from app.clock import rfc3339
from app.command_errors import in_one_sentence
from app.config import Settings
from app.database import snapshot
from app.errors import NotFoundError
from app.models import Account

account = AppGroup("account", help="One account: its password, its sessions, and the way back in.")


def typed_password() -> str:
    """What is typed twice on a terminal, else one line of standard input."""
    if sys.stdin.isatty():
        typed: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return typed
    return sys.stdin.readline().rstrip("\r\n")


@account.command("set-password")
@click.argument("email")
@in_one_sentence
def set_password(email: str) -> None:
    """Give an account another password and end its sessions.

    Asks for the password on a terminal; else reads it as one line from standard input.
    """
    passwords.set_for(email, typed_password(), COMMAND_LINE)
    click.echo("The password was changed, and the account's sessions were ended.", err=True)


@account.command("recover")
@click.argument("email")
@in_one_sentence
def recover(email: str) -> None:
    """Print a code with which an admin signs in once, within ten minutes, on the page /recover.

    Also where local accounts are turned off. Nothing else is printed on standard output.
    """
    issued = recovery.issue(email, COMMAND_LINE)
    settings: Settings = current_app.extensions["settings"]
    page = f"{settings.public_url}/recover" if settings.public_url else "the page /recover"
    click.echo(issued.code)
    click.echo(f"Good once, until {rfc3339(issued.expires_at)}, on {page}", err=True)


@account.command("end-sessions")
@click.argument("email")
@in_one_sentence
def end_sessions(email: str) -> None:
    """End every session of an account: its browsers are signed out at once."""
    query = select(Account.id).where(Account.email == email.strip().lower())
    account_id = snapshot(lambda session: session.scalar(query))
    if account_id is None:
        raise NotFoundError(f'There is no account for "{email[:80]}".')
    click.echo(f"Sessions ended: {sessions.end_all(account_id, COMMAND_LINE)}.", err=True)
