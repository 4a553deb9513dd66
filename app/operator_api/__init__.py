"""The operator API under ``/api/v1``: parse, call a use, answer. See ``docs/protocol.md``, section 2."""

from __future__ import annotations

from flask import Blueprint, Flask, Response, current_app, request

from app.extensions import csrf
from app.operator_api import (
    account_sessions,
    accounts,
    actions,
    adoption,
    alert_rules,
    alerts,
    api_tokens,
    audit,
    deploy_requests,
    deployments,
    environments,
    history,
    nodes,
    openapi,
    pipelines,
    rate_limits,
    samples,
    secrets,
    settings,
    taps,
    webhooks,
)

MODULES = (
    environments,
    secrets,
    nodes,
    history,
    adoption,
    actions,
    pipelines,
    taps,
    deployments,
    samples,
    settings,
    accounts,
    account_sessions,
    webhooks,
    alert_rules,
    alerts,
    deploy_requests,
    api_tokens,
    audit,
)


def _options() -> Response | None:
    """Which methods this very address takes: werkzeug would add those of addresses with a parameter in its place."""
    rule = request.url_rule
    if request.method != "OPTIONS" or rule is None:
        return None
    response = Response()
    for other in current_app.url_map.iter_rules():
        if other.rule == rule.rule:
            response.allow.update(other.methods or ())
    return response


def init_app(app: Flask) -> None:
    """Register the routes. Tokens travel in a header, so there is nothing for CSRF protection to do."""
    blueprint = Blueprint("operator_api", __name__, url_prefix="/api/v1")
    blueprint.before_request(rate_limits.count)
    blueprint.before_request(_options)
    blueprint.after_request(rate_limits.tell)
    for module in MODULES:
        blueprint.register_blueprint(module.blueprint)
        csrf.exempt(module.blueprint)
    csrf.exempt(blueprint)
    app.register_blueprint(blueprint)
    openapi.init_app(app)
