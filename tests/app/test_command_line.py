"""The commands of `flask --app wsgi`, run as an operator runs them."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from flask import Flask

from app import create_app
from app.config import Settings
from tests.support import PROJECT
from tests.support.people import make_account
from tests.support.server import Server, ServerError, clean_environment, fresh_secrets, run_flask

TOKEN = re.compile(r"sbx_api_[0-9a-z]{1,32}_[0-9a-f]{64}\n")


def refusal(app: Flask, *arguments: str, typed: str = "") -> str:
    """What a command that fails says; in this process, since each `flask` imports for a second of its own."""
    done = app.test_cli_runner().invoke(args=arguments, input=typed)
    assert done.exit_code not in (0, None)
    assert isinstance(done.exception, SystemExit), done.exception
    assert "Error:" in done.output
    assert "Traceback" not in done.output
    return done.output


def call(server: Server, token: str, path: str, method: str = "GET") -> int:
    headers = {"Authorization": f"Bearer {token.strip()}"}
    return requests.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=30).status_code


def test_an_api_token_is_printed_and_nothing_else(server: Server) -> None:
    """On standard output; without options it may do everything, and names may repeat."""
    tokens = [run_flask(server.settings, "api-token", "create", "same name")]
    runner = create_app(Settings.from_environ(server.settings)).test_cli_runner()
    tokens.append(runner.invoke(args=["api-token", "create", "same name"]).stdout)
    for token in tokens:
        assert TOKEN.fullmatch(token), token
        assert call(server, token, "/environments") == 200
        assert call(server, token, "/settings", "PATCH") == 200
    assert tokens[0] != tokens[1]


def test_an_api_token_takes_a_role_an_environment_and_an_expiry(server: Server) -> None:
    """The environment by name or id; a span, a date or a moment."""
    admin = server.create_api_token()
    headers = {"Authorization": f"Bearer {admin}"}
    made = requests.post(
        f"{server.url}/api/v1/environments", json={"name": "for a token"}, headers=headers, timeout=30
    ).json()
    runner = create_app(Settings.from_environ(server.settings)).test_cli_runner()

    def create(*options: str) -> str:
        done = runner.invoke(args=["api-token", "create", "t", *options])
        assert done.exit_code == 0, done.output
        assert TOKEN.fullmatch(done.stdout)
        return done.stdout

    for environment in (made["id"], made["name"]):
        token = create("--role", "viewer", "--environment", environment, "--expires", "1h")
        assert call(server, token, f"/environments/{made['id']}") == 200
        assert call(server, token, "/settings") == 403
        assert call(server, token, "/pipelines", "POST") == 403
    for expires in ("30", "2w", "2999-12-31T12:00:00+02:00"):
        token = create("--expires", expires)
        assert call(server, token, "/nodes") == 200


@pytest.mark.parametrize(
    "options",
    [
        ("--role", "root"),
        ("--environment", "nowhere"),
        ("--expires", "soon"),
        ("--expires", "2001-01-01"),
        ("--expires", "0d"),
        ("--expires", "999999w"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_in_a_sentence(app: Flask, options: tuple[str, str]) -> None:
    """With an exit code other than 0 and no trace."""
    refusal(app, "api-token", "create", "t", *options)


def test_an_admin_is_made_with_a_password_from_standard_input(app: Flask) -> None:
    """One line; a second account of the address and a password that is too short are refused in a sentence."""
    made = app.test_cli_runner().invoke(
        args=["admin", "create", "Ada@example.org"], input="correct horse battery\nmore\n"
    )
    assert made.exit_code == 0, made.output
    assert "Made the account ada@example.org." in made.output
    assert "already an account" in refusal(
        app, "admin", "create", "ada@example.org", typed="another password\n"
    )
    for typed in ("\n", ""):
        assert "at least 8" in refusal(app, "admin", "create", "bob@example.org", typed=typed)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(
    server: Server, terminal: tuple[int, int]
) -> None:
    """As people expect of a prompt for a password."""
    ours, theirs = terminal
    process = subprocess.Popen(
        [sys.executable, "-m", "flask", "--app", "wsgi", "admin", "create", "tty@example.org"],
        cwd=PROJECT,
        env={**clean_environment(), **server.settings},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""

    def read_until(wanted: bytes) -> None:
        nonlocal said
        while wanted not in said:
            said += os.read(ours, 1024)

    read_until(b"Password: ")
    os.write(ours, b"correct horse battery\n")
    read_until(b"Repeat for confirmation: ")
    os.write(ours, b"correct horse battery\n")
    read_until(b"Made the account tty@example.org.")
    assert process.wait(30) == 0
    assert b"battery" not in said


def test_without_the_schema_the_command_says_how_to_make_it(tmp_path: Path) -> None:
    """A sentence on standard error instead of a trace, and exit code 1, seen from outside."""
    settings = {**fresh_secrets(), "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path}/empty.db"}
    with pytest.raises(ServerError, match="exited with 1") as caught:
        run_flask(settings, "api-token", "create", "t")
    assert "db upgrade" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_the_setup_code_is_printed_while_there_is_no_account(app: Flask) -> None:
    """On standard output and alone; afterwards it is refused in a sentence."""
    printed = app.test_cli_runner().invoke(args=["admin", "setup-code"])
    assert re.fullmatch(r"[a-z2-7]{4}(-[a-z2-7]{4}){3}\n", printed.stdout)
    make_account(app, "ada@example.org", "correct horse", "admin")
    assert "There is an account already" in refusal(app, "admin", "setup-code")
