"""``/api/v1/api-tokens``: the tokens of scripts. For admins; one of single environments has the tokens of those."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, api_tokens
from app.errors import InvalidInputError
from app.operator_api import answers, approval_answers, approval_rows, queries, requests, rows, schemas
from app.operator_api.contract import declares

blueprint = Blueprint("api_tokens", __name__, url_prefix="/api-tokens")


@blueprint.get("")
@declares(answers.Page[approval_answers.ApiToken], query=queries.ApiTokens)
def listing() -> ResponseReturnValue:
    """Newest first; ``?environmentId=&revoked=``."""
    asked = requests.query(queries.ApiTokens)
    page = api_tokens.listing(
        access.where("admin"),
        environment_id=asked.environment_id,
        is_revoked=asked.revoked,
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return jsonify(rows.page(page, approval_rows.api_token))


@blueprint.post("")
@declares(approval_answers.MadeApiToken, 201, body=schemas.NewApiToken, refusals=(404,), shows_once=True)
def create() -> ResponseReturnValue:
    """Make one; the only answer that shows its text."""
    body = requests.body(schemas.NewApiToken)
    row, text = api_tokens.create(
        body.name,
        access.principal(),
        access.actor(),
        role=body.role,
        environment_id=body.environment_id,
        expires_at=_moment(body.expires_at),
        may_approve=body.may_approve,
    )
    response = jsonify({**approval_rows.api_token(row), "token": text})
    response.headers["Cache-Control"] = "no-store"
    return response, 201


@blueprint.get("/<api_token_id>")
@declares(approval_answers.ApiToken)
def show(api_token_id: str) -> ResponseReturnValue:
    """One of them."""
    return jsonify(approval_rows.api_token(api_tokens.get(api_token_id)))


@blueprint.post("/<api_token_id>/revoke")
@declares(approval_answers.ApiToken)
def revoke(api_token_id: str) -> ResponseReturnValue:
    """End it at once; the row stays for a while."""
    return jsonify(approval_rows.api_token(api_tokens.revoke(api_token_id, access.actor())))


def _moment(text: str | None) -> datetime | None:
    """A moment in RFC 3339, with its zone.

    :raises InvalidInputError: it is not one.
    """
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        message = "it is a moment with its zone, such as 2027-01-31T12:00:00Z"
        raise InvalidInputError(
            f'The field "expiresAt" is not valid: {message}.', [{"field": "expiresAt", "message": message}]
        ) from None
