"""``/api/v1/settings``: how often agents ask and report, how long history is kept."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from pydantic.alias_generators import to_camel

from app import access, server_settings
from app.operator_api import history_answers, requests, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged

blueprint = Blueprint("settings", __name__, url_prefix="/settings")


@blueprint.get("")
@declares(history_answers.Settings, is_tagged=True)
def show() -> ResponseReturnValue:
    """All of them, each in its own unit."""
    values = server_settings.values()
    return tagged(values, server_settings.edit_revision(values))


@blueprint.patch("")
@declares(history_answers.Settings, body=schemas.SettingsChanges, is_tagged=True, is_guarded=True)
def update() -> ResponseReturnValue:
    """Change some and tell whoever is connected."""
    given = requests.body(schemas.SettingsChanges).given()
    wanted = {to_camel(name): value for name, value in given.items()}
    values = server_settings.update(access.actor(), wanted)
    return tagged(values, server_settings.edit_revision(values))
