"""The commands of ``flask --app wsgi``: accounts and API tokens, ``secrets reencrypt``, ``audit``, ``doctor``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TextIO

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

from app import (
    account_role_commands,
    accounts,
    audit_chain,
    doctor,
    environments,
    first_account,
    reencryption,
    setup_code,
)
from app.account_commands import typed_password
from app.audit import COMMAND_LINE
from app.clock import rfc3339, utc_now
from app.command_errors import in_one_sentence
from app.database import db
from app.principal import ROLES

_SPAN = re.compile(r"(\d{1,6})([smhdw]?)")
"""A number and its unit; days where there is none."""
_HASH = re.compile("[0-9a-f]{64}")
_UNITS = {"": "days", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

admin = AppGroup("admin", help="Accounts of people who operate the fleet.")
api_token = AppGroup("api-token", help="Tokens with which scripts use the operator API.")
secrets = AppGroup("secrets", help="What is stored encrypted.")
audit = AppGroup("audit", help="The audit log as a chain in which nothing can be changed unseen.")
SHOWN_EVERY = 100
"""Values between two lines of progress."""


def register_commands(app: Flask) -> None:
    """Give *app* its commands."""
    app.cli.add_command(admin)
    app.cli.add_command(account_role_commands.account)
    app.cli.add_command(api_token)
    app.cli.add_command(secrets)
    app.cli.add_command(audit)
    app.cli.add_command(examine_surroundings)


@admin.command("create")
@click.argument("email")
@in_one_sentence
def create_admin(email: str) -> None:
    """Make an account that may do everything.

    Asks for the password on a terminal; else reads it as one line from standard input.
    """
    account = accounts.create_account(email, typed_password(), "admin", COMMAND_LINE)
    click.echo(f"Made the account {account.email}.", err=True)


@admin.command("setup-code")
@in_one_sentence
def show_setup_code() -> None:
    """Print the code with which the page /setup makes the first account; changes nothing."""
    if not first_account.is_needed():
        raise click.ClickException("There is an account already; another one: flask --app wsgi admin create")
    click.echo(first_account.current_code())
    click.echo(f"Good until {rfc3339(setup_code.good_until(utc_now()))}.", err=True)


@api_token.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="admin", show_default=True)
@click.option("--environment", metavar="E", help="Name or id of the one environment that it may use.")
@click.option(
    "--expires", metavar="D", help="Such as 12h, 30d, 2027-01-31 or 2027-01-31T12:00:00Z; default never."
)
@click.option(
    "--may-approve", is_flag=True, help="It may approve what others ask for in protected environments."
)
@in_one_sentence
def create_api_token(
    name: str, role: str, environment: str | None, expires: str | None, may_approve: bool
) -> None:
    """Make an API token and print it, and nothing else, on standard output."""
    minted = accounts.create_api_token(
        name,
        COMMAND_LINE,
        role=role,
        environment_id=environments.find(environment).id if environment is not None else None,
        expires_at=_moment(expires) if expires is not None else None,
        may_approve=may_approve,
    )
    click.echo(minted.text)


@secrets.command("reencrypt")
@in_one_sentence
def reencrypt_secrets() -> None:
    """Encrypt all secrets and certificates with the first of the keys in SIGNALBOX_ENCRYPTION_KEY.

    Exits with 1 where something cannot be decrypted, which then stays as it is. May run beside the server, and again.
    """

    def progress(number: int, total: int) -> None:
        if number % SHOWN_EVERY == 0 or number == total:
            click.echo(f"{number} of {total}", err=True)

    report = reencryption.reencrypt(progress)
    for failure in report.failures:
        click.echo(failure, err=True)
    click.echo(
        f"Encrypted anew: {report.done}; had the first key already: {report.unchanged};"
        f" cannot be decrypted: {len(report.failures)};"
        f" deployed pipelines whose checksum was noted: {report.remembered}."
    )
    if report.failures:
        sys.exit(1)


@audit.command("verify")
@click.option("--head", metavar="N:HASH", help="A link that was kept elsewhere and that the chain must hold.")
@click.option(
    "--file", type=click.File(encoding="utf-8"), help="Verify an exported chain (- for standard input)."
)
@in_one_sentence
def verify_audit(head: str | None, file: TextIO | None) -> None:
    """Compute the chain of the audit log anew; exit with 1 and the first broken place if it does not hold.

    Prints the newest link: keep it where this server cannot write, and give it with --head the next time.
    """
    expected = _audit_link(head) if head is not None else None

    def progress(number: int) -> None:
        click.echo(f"{number} entries", err=True)

    if file is not None:
        finding = audit_chain.check(_exported(file), expected, progress=progress)
    else:
        finding = audit_chain.verify(expected, progress)
    for fault in finding.faults:
        click.echo(fault, err=True)
    if finding.faults:
        click.echo(f"The first {finding.entries} entries hold.", err=True)
        sys.exit(1)
    click.echo(f"All {finding.entries} entries hold. The newest link is {finding.head[0]}:{finding.head[1]}")


@audit.command("export")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only entries behind this number.")
@in_one_sentence
def export_audit(after: int) -> None:
    """Print the chain on standard output: one JSON object a line, oldest first, each with its number and hash."""
    for link in audit_chain.read(after):
        click.echo(json.dumps(link.as_json(), sort_keys=True))


def _audit_link(text: str) -> tuple[int, str]:
    number, _, hash_ = text.strip().partition(":")
    if not number.isdecimal() or not _HASH.fullmatch(hash_):
        raise click.BadParameter("it is a number, a colon and 64 hexadecimal digits", param_hint="--head")
    return int(number), hash_


def _exported(file: TextIO) -> Iterator[audit_chain.Link]:
    for number, line in enumerate(file, start=1):
        try:
            yield audit_chain.Link.from_json(json.loads(line))
        except ValueError as error:
            raise click.ClickException(f"Line {number} cannot be read: {error}.") from error


@click.command("doctor")
@with_appcontext
def examine_surroundings() -> None:
    """Check the database, Redis and this machine; exit with 1 if the server cannot work with them."""
    has_failed = False
    for finding in doctor.examine(current_app.extensions["settings"], db.engine):
        click.echo(str(finding))
        has_failed = has_failed or finding.level is doctor.Level.FAIL
    sys.exit(1 if has_failed else 0)


def _moment(text: str) -> datetime:
    """The moment that *text* names: a span from now, a date (its end, UTC) or a time."""
    text = text.strip()
    span = _SPAN.fullmatch(text)
    try:
        if span:
            return utc_now() + timedelta(**{_UNITS[span[2]]: int(span[1])})
        moment = datetime.fromisoformat(text)
        if len(text) <= len("2027-01-31"):
            moment += timedelta(days=1)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is neither a span such as 30d nor a date such as 2027-01-31.", param_hint="--expires"
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
