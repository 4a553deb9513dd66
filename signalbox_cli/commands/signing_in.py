"""``login``, ``logout`` and ``profiles``: which server, as whom."""

from __future__ import annotations

import sys
from urllib.parse import urlsplit

import click

from signalbox_cli import options, output, profiles
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Place
from signalbox_cli.failures import UnknownFailure, UsageFailure
from signalbox_cli.names import similar
from signalbox_cli.profiles import Profile

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@click.command()
@click.argument("url", required=False)
@click.option("--profile", "name", metavar="NAME", help="Keep it under this name.")
@click.option(
    "--ca-file",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The authorities to trust.",
)
@click.option(
    "-e", "--environment", metavar="NAME", help="The environment that is meant where none is named."
)
@pass_access
def login(
    access: Access, url: str | None, name: str | None, ca_file: str | None, environment: str | None
) -> None:
    """Keep a server's address and an API token, once the server has taken it.

    The token is asked for on a terminal, else read as one line from standard input: never an argument, which
    everybody on the machine could see.
    """
    path = profiles.file_path()
    kept = profiles.read(path)
    name = name or access.wishes.profile or kept.current
    before = kept.known.get(name)
    url = url or access.wishes.url or (before.url if before else None)
    if url is None and sys.stdin.isatty():
        url = click.prompt("Address of the server", err=True)
    url = profiles.checked_url(url or "")
    ca_file = ca_file or access.wishes.ca_file or (before.ca_file if before and before.url == url else None)
    if url.startswith("http:") and urlsplit(url).hostname not in LOOPBACK:
        output.note(f"signalbox: {url} is not encrypted: whoever is on the way can read the token.")
    at_terminal = sys.stdin.isatty()
    typed = click.prompt("API token", hide_input=True, err=True) if at_terminal else sys.stdin.readline()
    token = profiles.checked_token(typed)
    api = access.connect(Place(url, token, ca_file))
    known = [row["name"] for row in api.rows("/environments")]
    if environment is not None and environment not in known:
        raise UnknownFailure(f'There is no environment "{environment}".{similar(environment, known)}')
    kept.known[name] = Profile(url, token, ca_file, environment)
    kept.current = name
    profiles.write(path, kept)
    seen = f"sees {', '.join(sorted(known))}" if known else "sees no environment yet"
    output.note(f'Signed in at {url} as profile "{name}"; it {seen}.')


@click.command()
@click.option("--profile", "name", metavar="NAME", help="Another one than the current.")
@pass_access
def logout(access: Access, name: str | None) -> None:
    """Forget a profile and its token. The token itself is not revoked."""
    path = profiles.file_path()
    kept = profiles.read(path)
    name = name or access.wishes.profile or kept.current
    if kept.known.pop(name, None) is None:
        raise UnknownFailure(f'There is no profile "{name}".{similar(name, kept.known)}')
    if kept.current == name:
        kept.current = next(iter(sorted(kept.known)), profiles.DEFAULT)
    profiles.write(path, kept)
    output.note(f'The profile "{name}" is forgotten. Its token works until it expires or is revoked.')


@click.group("profiles", invoke_without_command=True)
@options.output_format
@click.pass_context
def profiles_group(context: click.Context, kind: str) -> None:
    """List the servers that are kept; "use" chooses among them."""
    if context.invoked_subcommand is not None:
        return
    kept = profiles.read(profiles.file_path())
    rows = [
        {"name": name, "current": name == kept.current, "url": each.url, "environment": each.environment}
        for name, each in sorted(kept.known.items())
    ]
    columns: list[output.Column] = [
        ("PROFILE", lambda row: row["name"]),
        ("CURRENT", lambda row: row["current"]),
        ("URL", lambda row: row["url"]),
        ("ENVIRONMENT", lambda row: row["environment"]),
    ]
    output.show(
        rows, kind, lambda: output.table(rows, columns, "No server is kept. Sign in: signalbox login URL")
    )


@profiles_group.command()
@click.argument("name")
def use(name: str) -> None:
    """Make one the current profile."""
    path = profiles.file_path()
    kept = profiles.read(path)
    if name not in kept.known:
        raise UsageFailure(f'There is no profile "{name}".{similar(name, kept.known)}')
    kept.current = name
    profiles.write(path, kept)
