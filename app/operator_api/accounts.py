"""``/api/v1/accounts``: who may sign in, and what they may do. For admins overall."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, account_admin
from app.account_admin import AccountRow, Wanted
from app.clock import rfc3339
from app.operator_api import requests, rows, schemas

blueprint = Blueprint("accounts", __name__, url_prefix="/accounts")


@blueprint.get("")
def listing() -> ResponseReturnValue:
    """All of them, newest first."""
    page = account_admin.listing(limit=requests.limit(), cursor=requests.cursor())
    return jsonify(rows.page(page, _row))


@blueprint.post("")
def create() -> ResponseReturnValue:
    """Make one; without a password in the body one is made, which is in this answer only."""
    body = requests.body(schemas.NewAccount)
    row, password = account_admin.create(
        body.email, body.password, access.actor(), role=body.role, grants=schemas.by_environment(body.grants)
    )
    return _with(password, _row(row), 201)


@blueprint.get("/<account_id>")
def show(account_id: str) -> ResponseReturnValue:
    """One of them."""
    return jsonify(_row(account_admin.get(account_id)))


@blueprint.patch("/<account_id>")
def update(account_id: str) -> ResponseReturnValue:
    """Change its role, its roles in environments, or whether it is disabled."""
    account_admin.get(account_id)
    given = requests.body(schemas.AccountChanges).given()
    if "grants" in given:
        given["grants"] = {grant["environment_id"]: grant["role"] for grant in given["grants"]}
    return jsonify(_row(account_admin.update(account_id, Wanted(**given), access.actor())))


@blueprint.delete("/<account_id>")
def delete(account_id: str) -> ResponseReturnValue:
    """Delete it; its sessions end."""
    account_admin.delete(account_id, access.actor())
    return "", 204


@blueprint.post("/<account_id>/password")
def set_password(account_id: str) -> ResponseReturnValue:
    """Give it another password, by default one that is made; its sessions end."""
    account_admin.get(account_id)
    body = requests.body(schemas.NewPassword)
    password = account_admin.set_password(account_id, body.password, access.actor())
    return _with(password, {}, 200)


def _row(row: AccountRow) -> dict[str, Any]:
    """An account, without anything of its password."""
    return {
        "id": row.id,
        "email": row.email,
        "role": row.role,
        "grants": [{"environmentId": key, "role": role} for key, role in sorted(row.grants.items())],
        "disabled": row.disabled_at is not None,
        "createdAt": rfc3339(row.created_at),
        "lastLoginAt": rfc3339(row.last_login_at),
        "provider": row.provider,
    }


def _with(password: str | None, body: dict[str, Any], status: int) -> ResponseReturnValue:
    """An answer that shows a password that we made, once."""
    response = jsonify({**body, "password": password} if password is not None else body)
    response.headers["Cache-Control"] = "no-store"
    return response, status
