"""``/api/v1/environments/{id}/secrets`` and ``…/certificates``: put, list by name, remove; never a value back."""

from __future__ import annotations

import base64
import binascii

from flask import Blueprint, jsonify
from flask.typing import ResponseReturnValue

from app import access, certificate_store, environments, secret_store
from app.certificate_store import MAX_FILE_BYTES
from app.errors import InvalidInputError
from app.operator_api import answers, queries, requests, rows, schemas
from app.operator_api.contract import declares
from app.operator_api.etags import tagged

MAX_CERTIFICATE_BODY_BYTES = MAX_FILE_BYTES * 3 // 2

blueprint = Blueprint("secrets", __name__, url_prefix="/environments/<environment_id>")


@blueprint.get("/secrets")
@declares(answers.Page[answers.Secret], query=queries.Listing)
def secrets(environment_id: str) -> ResponseReturnValue:
    """By name, with the deployed pipelines that use each."""
    asked = requests.query(queries.Listing)
    page = secret_store.listing(environment_id, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.secret))


@blueprint.get("/secrets/<name>")
@declares(answers.Secret, is_tagged=True)
def secret(environment_id: str, name: str) -> ResponseReturnValue:
    """One, without its value."""
    row = secret_store.get(environment_id, name)
    return tagged(rows.secret(row), secret_store.edit_revision(row))


@blueprint.put("/secrets/<name>")
@declares(answers.SecretPut, body=schemas.SecretValue, refusals=(409,), is_tagged=True, is_guarded=True)
def put_secret(environment_id: str, name: str) -> ResponseReturnValue:
    """Make one or give it a new value; restarts exactly the pipelines that name it."""
    environments.get(environment_id)
    body = requests.body(schemas.SecretValue)
    row, outcome = secret_store.put(environment_id, name, body.value, access.actor())
    return tagged({**rows.secret(row), **rows.rotation(outcome)}, secret_store.edit_revision(row))


@blueprint.delete("/secrets/<name>")
@declares(None, 204, refusals=(409,), is_guarded=True)
def delete_secret(environment_id: str, name: str) -> ResponseReturnValue:
    """Remove one that no deployed pipeline uses."""
    secret_store.delete(environment_id, name, access.actor())
    return "", 204


@blueprint.get("/certificates")
@declares(answers.Page[answers.Certificate], query=queries.Listing)
def certificates(environment_id: str) -> ResponseReturnValue:
    """By name, with what expires when and the deployed pipelines that use each."""
    asked = requests.query(queries.Listing)
    page = certificate_store.listing(environment_id, limit=asked.limit, cursor=asked.cursor)
    return jsonify(rows.page(page, rows.certificate))


@blueprint.get("/certificates/<name>")
@declares(answers.Certificate, is_tagged=True)
def certificate(environment_id: str, name: str) -> ResponseReturnValue:
    """One, without its content."""
    row = certificate_store.get(environment_id, name)
    return tagged(rows.certificate(row), secret_store.edit_revision(row))


@blueprint.put("/certificates/<name>")
@declares(
    answers.CertificatePut, body=schemas.CertificateFile, refusals=(409,), is_tagged=True, is_guarded=True
)
def put_certificate(environment_id: str, name: str) -> ResponseReturnValue:
    """Make one or replace it; restarts exactly the pipelines that name it."""
    environments.get(environment_id)
    body = requests.body(schemas.CertificateFile, MAX_CERTIFICATE_BODY_BYTES)
    try:
        # People wrap base64 into lines; nothing else but its alphabet is let through.
        data = base64.b64decode("".join(body.data.split()), validate=True)
    except (binascii.Error, ValueError):
        message = "it is not base64"
        raise InvalidInputError(
            f"The certificate cannot be used: {message}.", [{"field": "data", "message": message}]
        ) from None
    row, outcome = certificate_store.put(environment_id, name, body.filename, data, access.actor())
    return tagged({**rows.certificate(row), **rows.rotation(outcome)}, secret_store.edit_revision(row))


@blueprint.delete("/certificates/<name>")
@declares(None, 204, refusals=(409,), is_guarded=True)
def delete_certificate(environment_id: str, name: str) -> ResponseReturnValue:
    """Remove one that no deployed pipeline uses."""
    certificate_store.delete(environment_id, name, access.actor())
    return "", 204
