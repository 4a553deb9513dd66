"""The secrets and certificates of one environment: who uses them, what expires, and forms that only write."""

from __future__ import annotations

from datetime import timedelta

from flask import flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, certificate_store, environments, rotation, secret_store
from app.certificate_store import MAX_CERTIFICATES, MAX_FILE_BYTES
from app.clock import utc_now
from app.database import snapshot
from app.errors import InvalidInputError, SignalboxError
from app.pages import words
from app.pages.environments import bp
from app.rotation import Outcome
from app.secret_store import MAX_SECRETS

SOON = timedelta(days=30)
"""Before it expires, a certificate is marked for so long."""


@bp.get("/<environment_id>/secrets")
def secrets(environment_id: str) -> ResponseReturnValue:
    """Both lists, by name."""
    return _page(environment_id)


@bp.post("/<environment_id>/secrets")
def put_secret(environment_id: str) -> ResponseReturnValue:
    """A new secret, or (``replace``) another value for one; what was typed is never shown again."""
    name = request.form.get("name", "").strip()
    # Browsers send the ends of lines in their own way.
    value = request.form.get("value", "").replace("\r\n", "\n")
    try:
        if "\0" in value:
            raise InvalidInputError("The value holds a NUL character, which no environment variable can.")
        _, outcome = secret_store.put(
            environment_id, name, value, access.actor(), only_new="replace" not in request.form
        )
    except SignalboxError as error:
        return _page(environment_id, error, secret_name=name), error.status
    return _kept(environment_id, "secret", name, outcome)


@bp.post("/<environment_id>/secrets/<name>/delete")
def delete_secret(environment_id: str, name: str) -> ResponseReturnValue:
    """Remove a secret that no deployed pipeline uses."""
    try:
        secret_store.delete(environment_id, name, access.actor())
    except SignalboxError as error:
        return _page(environment_id, error), error.status
    flash(f"Removed the secret {name}.", "good")
    return redirect(url_for("pages.environments.secrets", environment_id=environment_id))


@bp.post("/<environment_id>/certificates")
def put_certificate(environment_id: str) -> ResponseReturnValue:
    """A new certificate, or (``replace``) another file for one."""
    name = request.form.get("name", "").strip()
    file = request.files.get("file")
    try:
        if file is None or not file.filename:
            raise InvalidInputError("No file was chosen.")
        # One byte more than there may be, so that what is too large is seen to be.
        data = file.stream.read(MAX_FILE_BYTES + 1)
        _, outcome = certificate_store.put(
            environment_id, name, file.filename, data, access.actor(), only_new="replace" not in request.form
        )
    except SignalboxError as error:
        return _page(environment_id, error, certificate_name=name), error.status
    return _kept(environment_id, "certificate", name, outcome)


@bp.post("/<environment_id>/certificates/<name>/delete")
def delete_certificate(environment_id: str, name: str) -> ResponseReturnValue:
    """Remove a certificate that no deployed pipeline uses."""
    try:
        certificate_store.delete(environment_id, name, access.actor())
    except SignalboxError as error:
        return _page(environment_id, error), error.status
    flash(f"Removed the certificate {name}.", "good")
    return redirect(url_for("pages.environments.secrets", environment_id=environment_id))


def _kept(environment_id: str, kind: str, name: str, outcome: Outcome) -> ResponseReturnValue:
    """Back to the page, with a sentence on whom it concerns."""
    if outcome.targets == 0:
        flash(f"Kept the {kind} {name}. No node runs a pipeline that names it.", "good")
    else:
        told = (
            f"Kept the {kind} {name}. {words.plural(outcome.targets, 'node')} must run a pipeline that names it;"
            f" {outcome.pushed:,} told at once."
        )
        flash(f"{told} {outcome.push_error or ''}".strip(), "busy" if outcome.push_error else "good")
    return redirect(url_for("pages.environments.secrets", environment_id=environment_id))


def _page(
    environment_id: str,
    problem: SignalboxError | None = None,
    secret_name: str = "",
    certificate_name: str = "",
) -> str:
    now = utc_now()
    environment = environments.get(environment_id)
    return render_template(
        "environments/secrets.html",
        environment=environment,
        node_counts=snapshot(lambda session: rotation.node_counts(session, environment_id)),
        secrets=secret_store.listing(environment_id, limit=MAX_SECRETS).items,
        certificates=certificate_store.listing(environment_id, limit=MAX_CERTIFICATES).items,
        problem=problem,
        secret_name=secret_name,
        certificate_name=certificate_name,
        now=now,
        soon=now + SOON,
    )
