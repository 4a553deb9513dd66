"""``/api/v1/accounts/{id}/sessions``: where people are signed in."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, account_admin, sessions
from app.clock import rfc3339
from app.models import AccountSession

blueprint = Blueprint("account_sessions", __name__)


@blueprint.get("/accounts/<account_id>/sessions")
def listing(account_id: str) -> ResponseReturnValue:
    """All that are good now, the one used last first; there are a hundred at most."""
    account_admin.get(account_id)
    return jsonify(items=[_row(each) for each in sessions.listing(account_id)])


@blueprint.delete("/accounts/<account_id>/sessions/<session_id>")
def end_session(account_id: str, session_id: str) -> ResponseReturnValue:
    """End one."""
    sessions.end(account_id, session_id, access.actor())
    return "", 204


@blueprint.delete("/accounts/<account_id>/sessions")
def end_all(account_id: str) -> ResponseReturnValue:
    """End all; how many."""
    return jsonify(ended=sessions.end_all(account_id, access.actor()))


def _row(session: AccountSession) -> dict[str, str | None]:
    return {
        "id": session.id,
        "method": session.method,
        "address": session.address,
        "userAgent": session.user_agent,
        "createdAt": rfc3339(session.created_at),
        "lastSeenAt": rfc3339(session.last_seen_at),
    }
