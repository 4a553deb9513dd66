"""``/api/v1/settings``: how often agents ask and report, how long history is kept."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue
from pydantic.alias_generators import to_camel

from app import access, server_settings
from app.operator_api import requests, schemas

blueprint = Blueprint("settings", __name__, url_prefix="/settings")


@blueprint.get("")
def show() -> ResponseReturnValue:
    """All of them, each in its own unit."""
    return jsonify(server_settings.values())


@blueprint.patch("")
def update() -> ResponseReturnValue:
    """Change some and tell whoever is connected."""
    given = requests.body(schemas.SettingsChanges).given()
    wanted = {to_camel(name): value for name, value in given.items()}
    return jsonify(server_settings.update(access.actor(), wanted))
