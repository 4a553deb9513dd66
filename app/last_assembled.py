"""The checksum that nodes were last given for a version whose secrets may one day not be readable (hazard 4).

It is made from secrets, so it is stored encrypted; but under another key than they are (ADR 14): the usual reason
why they cannot be read is that their key has gone.
"""

from __future__ import annotations

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.encryption import DecryptionError, memory_keyring
from app.models import LastAssembled, PipelineVersion

KIND = "last assembled"


def keep(session: Session, environment_id: str, version: PipelineVersion, checksum: str) -> None:
    """Remember *checksum* for *version*, and nothing any more for the pipeline's other versions."""
    session.execute(
        delete(LastAssembled).where(
            LastAssembled.pipeline_id == version.pipeline_id, LastAssembled.version != version.version
        )
    )
    row = session.get(LastAssembled, (version.pipeline_id, version.version))
    if row is None:
        row = LastAssembled(pipeline_id=version.pipeline_id, version=version.version)
        session.add(row)
    row.sealed = memory_keyring().seal(checksum.encode(), *_place(environment_id, version))
    row.assembled_at = utc_now()


def recall(session: Session, environment_id: str, version: PipelineVersion) -> str | None:
    """The checksum last kept for *version*; ``None`` where there is none that can be read."""
    row = session.get(LastAssembled, (version.pipeline_id, version.version))
    if row is None:
        return None
    try:
        return memory_keyring().open(row.sealed, *_place(environment_id, version)).decode()
    except DecryptionError:
        return None


def _place(environment_id: str, version: PipelineVersion) -> tuple[str, ...]:
    return environment_id, KIND, version.pipeline_id, str(version.version)
