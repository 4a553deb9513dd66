"""Signing in: what is kept, for whose eyes, and to whom a token is sent."""

import os
import stat

import yaml

from tests.cli.conftest import Cli
from tests.support.api import Operator
from tests.support.server import Server


def test_a_token_is_kept_once_the_server_has_taken_it(stranger: Cli, cli: Cli, operator: Operator) -> None:
    """From standard input, for its owner's eyes only; several servers are kept apart; a bad token is not kept."""
    name = operator.create_environment(f"login-{stranger.folder.name}")["name"]
    url, token = cli.variables.pop("SIGNALBOX_URL"), cli.variables.pop("SIGNALBOX_API_TOKEN")
    assert "No server is known" in stranger.refused("nodes", "list", code=2)
    assert "does not take this token" in stranger.refused("login", url, typed="sbx_api_no\n", code=4)
    assert "which only agents can use" in stranger.refused("login", url, typed="sbx_node_x", code=2)
    assert "That is no token" in stranger.refused("login", url, typed="", code=2)
    assert not stranger.profiles.exists()

    said = stranger.run("login", f"{url}/", "-e", name, typed=f"{token}\n").stderr
    assert token not in said
    assert stat.S_IMODE(stranger.profiles.stat().st_mode) == 0o600
    assert stat.S_IMODE(stranger.profiles.parent.stat().st_mode) == 0o700
    assert os.listdir(stranger.profiles.parent) == ["profiles.yaml"]
    assert stranger.run("secrets", "list").stderr.startswith(f"{name} has no secret."), (
        "the profile's environment"
    )

    stranger.run("login", url, "--profile", "second", typed=token)
    assert [row["current"] for row in stranger.json("profiles")] == [False, True]
    stranger.run("profiles", "use", "default")
    assert "known: default, second" in stranger.refused("--profile", "secnd", "nodes", "list", code=2)
    stranger.run("logout")
    assert [row["name"] for row in stranger.json("profiles")] == ["second"]
    stranger.run("nodes", "list")

    os.chmod(stranger.profiles, 0o644)
    assert "others can read the token" in stranger.run("environments", "list").stderr
    stranger.profiles.write_text("- x")
    assert "is no file of profiles" in stranger.refused("nodes", "list", code=2)


def test_the_environment_wins_and_a_token_goes_to_no_other_server(cli: Cli, server: Server) -> None:
    """A kept one is for the address that it was kept with."""
    kept = {
        "current": "default",
        "profiles": {"default": {"url": "http://127.0.0.1:1", "token": "sbx_api_kept"}},
    }
    cli.profiles.parent.mkdir(parents=True)
    cli.profiles.write_text(yaml.safe_dump(kept))
    cli.profiles.chmod(0o600)
    cli.run("environments", "list")
    cli.profiles.write_text("broken: [")
    cli.run("environments", "list")
    cli.profiles.write_text(yaml.safe_dump(kept))
    token = cli.variables.pop("SIGNALBOX_API_TOKEN")
    said = cli.refused("environments", "list", code=2)
    assert "it is not sent there" in said
    del cli.variables["SIGNALBOX_URL"]
    cli.variables["SIGNALBOX_API_TOKEN"] = token
    assert "Nothing listens at http://127.0.0.1:1." in cli.refused("environments", "list", code=3)
