"""Encrypting anew, with the first key, what older keys have encrypted; then those can be given up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app import assembly
from app.database import snapshot, transaction
from app.encryption import DecryptionError, Keyring, keyring
from app.materials import CERTIFICATE, SECRET, UnassembledError
from app.models import Certificate, Environment, Pipeline, PipelineVersion, Secret, Webhook
from app.webhooks import PLACE

MODELS: dict[str, type[Secret] | type[Certificate]] = {SECRET: Secret, CERTIFICATE: Certificate}
EVERY_MODEL = (*MODELS.values(), Webhook)


@dataclass(slots=True)
class Report:
    """What came of it."""

    done: int = 0
    """Encrypted anew."""
    unchanged: int = 0
    """The first key's already."""
    remembered: int = 0
    """Deployed pipelines whose checksum was noted anew."""
    failures: list[str] = field(default_factory=list)
    """Sentences on what cannot be decrypted."""


def reencrypt(progress: Callable[[int, int], None]) -> Report:
    """Go through all of it, each row in a transaction of its own; *progress* is told (so many, of how many).

    Nothing that nodes get changes, so nobody is told. What cannot be decrypted stays as it is.
    """
    places = list(snapshot(lambda session: list(_places(session))))
    report = Report()
    for number, place in enumerate(places, 1):
        try:
            if transaction(lambda session, place=place: _renew(session, *place)):  # type: ignore[misc]
                report.done += 1
            else:
                report.unchanged += 1
        except DecryptionError as error:
            environment_id, kind, name = place
            report.failures.append(f'The {kind} "{name}" of the environment {environment_id} {error}.')
        progress(number, len(places))
    for webhook_id in snapshot(lambda session: session.scalars(select(Webhook.id)).all()):
        try:
            if transaction(lambda session, id=webhook_id: _renew_webhook(session, id)):  # type: ignore[misc]
                report.done += 1
            else:
                report.unchanged += 1
        except DecryptionError as error:
            report.failures.append(f"The secret of the webhook {webhook_id} {error}.")
    for environment_id in snapshot(lambda session: session.scalars(select(Environment.id)).all()):
        report.remembered += transaction(
            lambda session, id=environment_id: _remember(session, id)  # type: ignore[misc]
        )
    return report


def count_unreadable(session: Session, keys: Keyring) -> int:
    """How many values were encrypted with none of *keys*."""
    counts = [
        count
        for model in EVERY_MODEL
        for key_id, count in session.execute(select(model.key_id, func.count()).group_by(model.key_id))
        if not keys.holds(key_id)
    ]
    return sum(counts)


def _places(session: Session) -> Iterator[tuple[str, str, str]]:
    for kind, model in MODELS.items():
        query = select(model.environment_id, model.name).order_by(model.environment_id, model.name)
        for environment_id, name in session.execute(query):
            yield environment_id, kind, name


def _renew(session: Session, environment_id: str, kind: str, name: str) -> bool:
    """Whether the value had to be encrypted anew; one that was removed meanwhile had not."""
    row = cast(
        "Secret | Certificate | None",
        session.get(MODELS[kind], (environment_id, name), with_for_update=True),
    )
    if row is None or row.key_id == keyring().key_id:
        return False
    value = keyring().open(row.sealed, environment_id, kind, name)
    row.sealed = keyring().seal(value, environment_id, kind, name)
    return True


def _renew_webhook(session: Session, webhook_id: str) -> bool:
    webhook = session.get(Webhook, webhook_id, with_for_update=True)
    if webhook is None or webhook.key_id == keyring().key_id:
        return False
    webhook.sealed = keyring().seal(keyring().open(webhook.sealed, PLACE, webhook_id), PLACE, webhook_id)
    return True


def _remember(session: Session, environment_id: str) -> int:
    """Note the checksums of the environment's deployed pipelines: SIGNALBOX_SECRET_KEY may be a new one."""
    # The environment's row first: nobody deploys or changes a value meanwhile.
    environment = session.get(Environment, environment_id, with_for_update=True)
    if environment is None:
        return 0
    versions = session.scalars(
        select(PipelineVersion)
        .join(Pipeline, Pipeline.id == PipelineVersion.pipeline_id)
        .where(Pipeline.environment_id == environment_id, PipelineVersion.version == Pipeline.wanted_version)
    ).all()
    count = 0
    for version in versions:
        if version.reference_names:
            try:
                assembly.remember(session, environment, version)
                count += 1
            except UnassembledError:
                pass  # counted among the failures already; what was remembered stays
    return count
