"""``/api/v1/accounts/{id}/sessions``: where people are signed in."""

from __future__ import annotations

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, account_admin, sessions
from app.clock import rfc3339
from app.models import AccountSession
from app.operator_api import answers, queries, requests, rows
from app.operator_api.contract import declares
from app.paging import Page, decode_cursor, encode_cursor

blueprint = Blueprint("account_sessions", __name__)


@blueprint.get("/accounts/<account_id>/sessions")
@declares(answers.Page[answers.AccountSession], query=queries.Listing)
def listing(account_id: str) -> ResponseReturnValue:
    """All that are good now, the newest first; there are a hundred at most."""
    account_admin.get(account_id)
    asked = requests.query(queries.Listing)
    found = sorted(sessions.listing(account_id), key=lambda each: each.id, reverse=True)
    if asked.cursor is not None:
        (last,) = decode_cursor(asked.cursor, 1)
        found = [each for each in found if each.id < last]
    more = encode_cursor(found[asked.limit - 1].id) if len(found) > asked.limit else None
    return jsonify(rows.page(Page(found[: asked.limit], more), _row))


@blueprint.delete("/accounts/<account_id>/sessions/<session_id>")
@declares(None, 204)
def end_session(account_id: str, session_id: str) -> ResponseReturnValue:
    """End one."""
    sessions.end(account_id, session_id, access.actor())
    return "", 204


@blueprint.delete("/accounts/<account_id>/sessions")
@declares(answers.SessionsEnded)
def end_all(account_id: str) -> ResponseReturnValue:
    """End all; how many."""
    return jsonify(ended=sessions.end_all(account_id, access.actor()))


def _row(session: AccountSession) -> answers.AccountSession:
    return {
        "id": session.id,
        "method": session.method,
        "address": session.address,
        "userAgent": session.user_agent,
        "createdAt": rfc3339(session.created_at),
        "lastSeenAt": rfc3339(session.last_seen_at),
    }
