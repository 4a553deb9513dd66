"""The operator's pages: parse, call a use, answer with HTML.

Everything in ``pages`` needs somebody who has signed in; ``sign_in`` is how they do, and ``setup`` how
the first of them gets an account.
"""

from __future__ import annotations

from flask import Blueprint, Flask

from app import first_account, sign_in_limits
from app import oidc as oidc_client
from app.pages import (
    account,
    account_sessions,
    accounts,
    actions,
    adoption,
    alert_rules,
    alerts,
    api_docs,
    approval,
    approvals,
    audit,
    editor,
    environment,
    first_steps,
    fleet,
    fleet_batches,
    new_pipelines,
    nodes,
    oidc,
    open_approvals,
    pipeline_acts,
    pipeline_reviews,
    pipeline_versions,
    pipelines,
    recovery,
    samples,
    security,
    settings,
    setup,
    sign_in,
    tail,
    tokens,
    typed_again,
    webhooks,
    words,
)


def init_app(app: Flask) -> None:
    """Register the pages, the security headers and what the templates use."""
    # The longest YAML (512 KiB) with each of its characters escaped.
    app.config["MAX_FORM_MEMORY_SIZE"] = 2 * 1024 * 1024

    security.init_app(app)
    words.init_app(app)
    app.add_template_global(alerts.count_for_navigation, "firing_alerts")
    typed_again.init_app(app)
    open_approvals.init_app(app)
    editor.init_app(app)

    sign_in.init_app(app)
    sign_in_limits.init_app(app, app.extensions["settings"].redis_prefix)
    oidc_client.init_app(app, app.extensions["settings"].oidc)
    app.register_blueprint(sign_in.bp)
    app.register_blueprint(oidc.bp)
    app.register_blueprint(recovery.bp)
    first_account.init_app(app)
    app.register_blueprint(setup.bp)

    # These add their views to the blueprint of the pipelines' pages, by being imported.
    assert all((new_pipelines, pipeline_acts, pipeline_reviews, pipeline_versions))
    pages = Blueprint("pages", __name__)
    pages.after_request(security.keep_private)
    # environment and secrets have the blueprint of the environments' pages
    for module in (
        fleet,
        first_steps,
        fleet_batches,
        nodes,
        editor,
        pipelines,
        environment,
        actions,
        adoption,
        samples,
        tail,
        audit,
        alerts,
        alert_rules,
        approvals,
        approval,
        api_docs,
        webhooks,
        accounts,
        account_sessions,
        tokens,
        settings,
        account,
    ):
        pages.register_blueprint(module.bp)
    app.register_blueprint(pages)
