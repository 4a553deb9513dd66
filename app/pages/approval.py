"""One request to deploy in a protected environment: what it would bring, to whom, and the form that decides."""

from __future__ import annotations

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, approvals, deploy_reach, deploy_requests, parties, pipelines, text_difference
from app.deploy_requests import RequestRow
from app.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError, SignalboxError
from app.models import PipelineVersion
from app.pages import live, words
from app.pages.live import Picture

NAMES_SHOWN = 50

bp = Blueprint("approval", __name__, url_prefix="/approvals/<deploy_request_id>")


@bp.get("")
def show(deploy_request_id: str) -> ResponseReturnValue:
    """What one would bring, to whom, and the form that decides."""
    return _page(deploy_request_id)


@bp.get("/events")
def events(deploy_request_id: str) -> ResponseReturnValue:
    """How it stands, as that changes."""
    return live.events(lambda: _paint(deploy_request_id))


@bp.get("/rows")
def rows(deploy_request_id: str) -> ResponseReturnValue:
    """How it stands, for a browser that polls."""
    return live.rows(lambda: _paint(deploy_request_id))


@bp.post("/approve")
def approve(deploy_request_id: str) -> ResponseReturnValue:
    """Deploy exactly what was looked at."""
    row = deploy_requests.get(deploy_request_id)
    try:
        outcome = approvals.approve(
            deploy_request_id,
            parties.own(),
            comment=_comment(),
            checksum=request.form.get("checksum") or None,
            targets_checksum=request.form.get("targets_checksum") or None,
        )
    except (ConflictError, ForbiddenError, InvalidInputError) as error:
        return _page(deploy_request_id, error, "Nothing was deployed."), error.status
    done = f"deployed version {outcome.version}" if outcome.version is not None else "undeployed it"
    told = f"{words.plural(outcome.targets, 'node')}, {outcome.pushed:,} of them told at once"
    flash(f"Approved, and {done} for {told}.", "good")
    return redirect(url_for("pages.pipelines.show", pipeline_id=row.request.pipeline_id))


@bp.post("/reject")
def reject(deploy_request_id: str) -> ResponseReturnValue:
    """Let it end without a deployment."""
    try:
        approvals.reject(deploy_request_id, parties.own(), comment=_comment())
    except (ConflictError, ForbiddenError, InvalidInputError) as error:
        return _page(deploy_request_id, error, "It was not rejected."), error.status
    flash("Rejected; nothing was deployed.", "good")
    return redirect(url_for("pages.approval.show", deploy_request_id=deploy_request_id))


@bp.post("/cancel")
def cancel(deploy_request_id: str) -> ResponseReturnValue:
    """Take it back."""
    environment_id = deploy_requests.get(deploy_request_id).request.environment_id
    is_admin = access.principal().may("admin", environment_id)
    try:
        approvals.cancel(deploy_request_id, parties.own(), is_admin=is_admin)
    except (ConflictError, ForbiddenError) as error:
        return _page(deploy_request_id, error, "It was not cancelled."), error.status
    flash("Cancelled; nothing was deployed.", "good")
    return redirect(url_for("pages.approval.show", deploy_request_id=deploy_request_id))


def asked(row: RequestRow) -> ResponseReturnValue:
    """To the request that was made in place of a deploy, with a sentence that says so."""
    name = row.environment_name
    flash(f"Nothing was changed yet: {name} is protected, so somebody else must approve this first.", "busy")
    return redirect(url_for("pages.approval.show", deploy_request_id=row.request.id))


def _comment() -> str | None:
    return request.form.get("comment", "").replace("\r\n", "\n") or None


def _paint(deploy_request_id: str, comment: str = "") -> Picture:
    row = deploy_requests.get(deploy_request_id)
    party = parties.own()
    environment_id = row.request.environment_id
    found = deploy_reach.reach(deploy_request_id) if row.state == "open" else None
    values = {
        "row": row,
        "asked": row.request,
        "found": found,
        "is_own": row.request.asker == party.identity,
        "can_decide": access.principal().may("editor", environment_id),
        "is_admin": access.principal().may("admin", environment_id),
        "names_shown": NAMES_SHOWN,
        "comment": comment,
    }
    return Picture(
        {
            "request-state": live.draw("approvals/state.html", **values),
            "request-reach": live.draw("approvals/reach.html", **values),
            "request-decision": live.draw("approvals/decision.html", **values),
        }
    )


def _page(deploy_request_id: str, problem: SignalboxError | None = None, refusal: str = "") -> str:
    row = deploy_requests.get(deploy_request_id)
    asked = row.request
    runs: PipelineVersion | None = None
    if asked.base_version is not None:
        try:
            runs = pipelines.version(asked.pipeline_id, asked.base_version)
        except NotFoundError:
            pass  # it was not kept for so long
    return render_template(
        "approvals/show.html",
        row=row,
        asked=asked,
        runs=runs,
        lines=text_difference.difference(runs.config_yaml if runs else "", asked.config_yaml),
        picture=_paint(
            deploy_request_id, request.form.get("comment", "")[: approvals.MOST_COMMENT_CHARACTERS]
        ),
        problem=problem,
        refusal=refusal,
    )
