"""``/api/v1/accounts``: who may sign in, and what they may do. For admins overall."""

from __future__ import annotations

from typing import cast

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, account_admin
from app.account_admin import Wanted
from app.operator_api import answers, queries, requests, rows, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged

blueprint = Blueprint("accounts", __name__, url_prefix="/accounts")


@blueprint.get("")
@declares(answers.Page[answers.Account], query=queries.Listing)
def listing() -> ResponseReturnValue:
    """All of them, newest first."""
    asked = requests.query(queries.Listing)
    page = account_admin.listing(limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.account))


@blueprint.post("")
@declares(
    answers.MadeAccount, 201, body=schemas.NewAccount, refusals=(409, 429), is_tagged=True, shows_once=True
)
def create() -> ResponseReturnValue:
    """Make one; without a password in the body one is made, which is in this answer only."""
    body = requests.body(schemas.NewAccount)
    row, password = account_admin.create(
        body.email, body.password, access.actor(), role=body.role, grants=schemas.by_environment(body.grants)
    )
    answer = cast(answers.MadeAccount, rows.account(row))
    if password is not None:
        answer["password"] = password
    response = tagged(answer, account_admin.edit_revision(row), 201)
    response.headers["Cache-Control"] = "no-store"
    return response


@blueprint.get("/<account_id>")
@declares(answers.Account, is_tagged=True)
def show(account_id: str) -> ResponseReturnValue:
    """One of them."""
    row = account_admin.get(account_id)
    return tagged(rows.account(row), account_admin.edit_revision(row))


@blueprint.patch("/<account_id>")
@declares(answers.Account, body=schemas.AccountChanges, refusals=(409,), is_tagged=True, is_guarded=True)
def update(account_id: str) -> ResponseReturnValue:
    """Change its role, its roles in environments, or whether it is disabled."""
    account_admin.get(account_id)
    given = requests.body(schemas.AccountChanges).given()
    if "grants" in given:
        given["grants"] = {grant["environment_id"]: grant["role"] for grant in given["grants"]}
    row = account_admin.update(account_id, Wanted(**given), access.actor())
    return tagged(rows.account(row), account_admin.edit_revision(row))


@blueprint.delete("/<account_id>")
@declares(None, 204, refusals=(409,), is_guarded=True)
def delete(account_id: str) -> ResponseReturnValue:
    """Delete it; its sessions end."""
    account_admin.delete(account_id, access.actor())
    return "", 204


@blueprint.post("/<account_id>/password")
@declares(answers.PasswordSet, body=schemas.NewPassword, refusals=(429,), shows_once=True)
def set_password(account_id: str) -> ResponseReturnValue:
    """Give it another password, by default one that is made; its sessions end."""
    account_admin.get(account_id)
    body = requests.body(schemas.NewPassword)
    password = account_admin.set_password(account_id, body.password, access.actor())
    answer: answers.PasswordSet = {} if password is None else {"password": password}
    response = jsonify(answer)
    response.headers["Cache-Control"] = "no-store"
    return response
