"""What the editor asks while somebody types: is it right, where is it not, and what could stand here."""

from __future__ import annotations

from flask import Blueprint, Flask, current_app, jsonify, request
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app import access, draft_check
from app.draft_check import CheckRate
from app.errors import SignalboxError
from app.pages import flow

bp = Blueprint("editor", __name__, url_prefix="/pipelines")


def init_app(app: Flask) -> None:
    """Give the worker its count of who has had how much checked."""
    app.extensions["draft_check_rate"] = CheckRate()


@bp.post("/check")
def check() -> ResponseReturnValue:
    """``{problems: [{message, component?, line?}], graph}``, the last as HTML; ``{error}`` where not checked."""
    rate: CheckRate = current_app.extensions["draft_check_rate"]
    try:
        rate.take(current_user.id)
        access.require("editor", request.form.get("environment_id", ""))
        text = request.form.get("config_yaml", "").replace("\r\n", "\n")
        checked = draft_check.check(request.form.get("environment_id", ""), text)
    except SignalboxError as error:
        return jsonify(error=error.sentence), error.status
    problems = [problem.to_detail() for problem in checked.problems]
    return jsonify(problems=problems, graph=flow.draw(flow.of(checked.graph), "drawn"))


@bp.get("/completions")
def completions() -> ResponseReturnValue:
    """``{sources, transforms, sinks, secrets, certificates}``: lists of names for the environment."""
    try:
        environment_id = request.args.get("environment", "")
        access.require("editor", environment_id)
        return jsonify(draft_check.completions(environment_id))
    except SignalboxError as error:
        return jsonify(error=error.sentence), error.status
