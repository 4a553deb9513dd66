"""Requests to deploy in protected environments: those those that wait, and those that have ended."""

from __future__ import annotations

from flask import Blueprint, render_template, request
from flask.typing import ResponseReturnValue

from app import access, deploy_requests
from app.pages import live
from app.pages.live import Picture
from app.principal import Within

OPEN_SHOWN = 200
DECIDED_SHOWN = 50

bp = Blueprint("approvals", __name__, url_prefix="/approvals")


@bp.get("")
def index() -> ResponseReturnValue:
    """Those that are open, then those that have ended, each newest first."""
    cursor = request.args.get("cursor") or None
    decided = deploy_requests.listing(_within(), is_open=False, limit=DECIDED_SHOWN, cursor=cursor)
    return render_template(
        "approvals/index.html",
        picture=_paint_index(),
        decided=decided.items if cursor else None,
        next_cursor=decided.next_cursor,
    )


@bp.get("/events")
def events() -> ResponseReturnValue:
    """What comes and goes, as it does."""
    return live.events(_paint_index)


@bp.get("/rows")
def rows() -> ResponseReturnValue:
    """The lists, for a browser that polls."""
    return live.rows(_paint_index)


def _within() -> Within:
    return access.where("viewer")


def _paint_index() -> Picture:
    waiting = deploy_requests.listing(_within(), is_open=True, limit=OPEN_SHOWN).items
    decided = deploy_requests.listing(_within(), is_open=False, limit=DECIDED_SHOWN).items
    parts = {
        f"request-{row.request.id}": live.draw("approvals/row.html", row=row) for row in [*waiting, *decided]
    }
    parts["waiting-none"] = live.draw("approvals/none.html", has_any=bool(waiting))
    return Picture(
        parts,
        {
            "waiting": [f"request-{row.request.id}" for row in waiting],
            "decided": [f"request-{row.request.id}" for row in decided],
        },
    )
