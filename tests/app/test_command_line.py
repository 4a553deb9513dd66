"""The commands of `flask --app wsgi`, run as an operator runs them."""

import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests

from tests.support import PROJECT
from tests.support.server import Server, ServerError, clean_environment, run_flask

TOKEN = re.compile(r"sbx_api_[0-9a-z]{1,32}_[0-9a-f]{64}\n")


def call(server: Server, token: str, path: str, method: str = "GET") -> int:
    headers = {"Authorization": f"Bearer {token.strip()}"}
    return requests.request(method, f"{server.url}/api/v1{path}", headers=headers, timeout=30).status_code


def test_an_api_token_is_printed_and_nothing_else(server: Server) -> None:
    """On standard output; without options it may do everything, and names may repeat."""
    tokens = [run_flask(server.settings, "api-token", "create", "same name") for _ in range(2)]
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
    for environment in (made["id"], made["name"]):
        options = ("--role", "viewer", "--environment", environment, "--expires", "1h")
        token = run_flask(server.settings, "api-token", "create", "t", *options)
        assert call(server, token, f"/environments/{made['id']}") == 200
        assert call(server, token, "/settings") == 403
        assert call(server, token, "/pipelines", "POST") == 403
    for expires in ("30", "2w", "2999-12-31T12:00:00+02:00"):
        token = run_flask(server.settings, "api-token", "create", "t", "--expires", expires)
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
def test_an_option_that_makes_no_sense_is_refused_in_a_sentence(
    server: Server, options: tuple[str, str]
) -> None:
    """With an exit code other than 0 and no trace."""
    with pytest.raises(ServerError) as caught:
        run_flask(server.settings, "api-token", "create", "t", *options)
    said = str(caught.value)
    assert "Error:" in said
    assert "Traceback" not in said


def test_an_admin_is_made_with_a_password_from_standard_input(server: Server) -> None:
    """One line; a second account of the address and a password that is too short are refused in a sentence."""
    run_flask(server.settings, "admin", "create", "Ada@example.org", typed="correct horse battery\nmore\n")
    for typed, sentence in (
        ("another password\n", "already an account"),
        ("\n", "at least 8"),
        ("", "at least 8"),
    ):
        email = "ada@example.org" if "already" in sentence else "bob@example.org"
        with pytest.raises(ServerError) as caught:
            run_flask(server.settings, "admin", "create", email, typed=typed)
        assert sentence in str(caught.value)
        assert "Traceback" not in str(caught.value)


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


def test_without_the_schema_the_command_says_how_to_make_it(server: Server, tmp_path: object) -> None:
    """A sentence instead of a trace."""
    settings = {**server.settings, "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path}/empty.db"}
    with pytest.raises(ServerError) as caught:
        run_flask(settings, "api-token", "create", "t")
    assert "db upgrade" in str(caught.value)
    assert "Traceback" not in str(caught.value)
