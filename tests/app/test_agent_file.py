"""The agent's file as the server offers it."""

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask import Flask

from agent import __version__
from agent.update import is_signed
from app import agent_file, create_app
from app.config import Settings
from app.database import db
from tests.support.server import fresh_secrets
from tools.build_agent import build


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    """An application that looks for the file in a folder of its own."""
    app = create_app(
        Settings.from_environ(
            {
                **fresh_secrets(),
                "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path}/unused.db",
                "SIGNALBOX_AGENT_FILE": str(tmp_path / "dist" / "signalbox-agent.pyz"),
            }
        )
    )
    yield app
    with app.app_context():
        db.engine.dispose()


def test_what_was_built_is_offered_with_what_an_action_needs(app: Flask, tmp_path: Path) -> None:
    """Version, address, checksum, signature; each new build without a restart of the server."""
    client = app.test_client()
    for path in ("/agent/signalbox-agent.pyz", "/agent/signalbox-agent.json"):
        answer = client.get(path)
        assert (answer.status_code, answer.json) == (404, {"error": agent_file.NOT_BUILT})

    key = Ed25519PrivateKey.generate()
    built = build(tmp_path / "dist", key)
    offered = client.get("/agent/signalbox-agent.json").json
    assert offered["version"] == __version__
    assert offered["url"] == "http://localhost/agent/signalbox-agent.pyz"
    digest = offered["checksum"].removeprefix("sha256:")
    public = key.public_key().public_bytes_raw()
    assert is_signed(__version__, digest, offered["signature"], (public,))
    assert base64.b64decode(built["publicKey"]) == public
    with client.get(offered["url"]) as answer:
        assert answer.data == (tmp_path / "dist" / "signalbox-agent.pyz").read_bytes()
    with client.get(offered["url"], headers={"If-None-Match": f'"{digest}"'}) as answer:
        assert answer.status_code == 304

    build(tmp_path / "dist")
    assert client.get("/agent/signalbox-agent.json").json["signature"] is None


def test_half_a_pair_is_not_offered(app: Flask, tmp_path: Path) -> None:
    """A file that its description does not describe would be refused by every node."""
    build(tmp_path / "dist")
    file, beside = tmp_path / "dist" / "signalbox-agent.pyz", tmp_path / "dist" / "signalbox-agent.json"
    with app.test_request_context("/"):
        assert agent_file.current() is not None
        with file.open("ab") as more:
            more.write(b"\n")
        assert agent_file.current() is None
        os.truncate(file, file.stat().st_size - 1)
        assert agent_file.current() is not None
        for odd in (b"", b"[]", b"null", json.dumps({"version": 1}).encode()):
            beside.write_bytes(odd)
            assert agent_file.current() is None


def test_the_public_url_names_the_file(tmp_path: Path) -> None:
    """Also outside of a request."""
    build(tmp_path)
    app = create_app(
        Settings.from_environ(
            {
                **fresh_secrets(),
                "SIGNALBOX_DATABASE_URL": f"sqlite:///{tmp_path}/unused.db",
                "SIGNALBOX_AGENT_FILE": str(tmp_path / "signalbox-agent.pyz"),
                "SIGNALBOX_PUBLIC_URL": "https://signalbox.example",
            }
        )
    )
    with app.app_context():
        offered = agent_file.current()
        assert offered is not None
        assert offered.url == "https://signalbox.example/agent/signalbox-agent.pyz"
        db.engine.dispose()
