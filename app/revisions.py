"""The nonce of an environment: it changes with everything that its nodes must run (hazard 1)."""

from __future__ import annotations

import secrets

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.errors import NotFoundError
from app.models import Environment, Pipeline


def touch(session: Session, environment_id: str) -> None:
    """Give the environment a new nonce, in the transaction of the change and before the change is read.

    The UPDATE takes the row's lock, so changes of one environment happen one after the other; the nonce is
    random, so neither two sessions nor a restored backup can make an old one again.

    :raises NotFoundError: there is no such environment.
    """
    touched = session.execute(
        update(Environment).where(Environment.id == environment_id).values(nonce=secrets.token_hex(16))
    )
    if touched.rowcount != 1:  # type: ignore[attr-defined]
        raise NotFoundError("There is no such environment.")


def touch_for(session: Session, pipeline_id: str) -> Environment:
    """As ``touch``, the environment of a pipeline, in one statement; returns it as it is under the lock.

    :raises NotFoundError: there is no such pipeline.
    """
    here = select(Pipeline.environment_id).where(Pipeline.id == pipeline_id).scalar_subquery()
    environment = session.scalar(
        update(Environment)
        .where(Environment.id == here)
        .values(nonce=secrets.token_hex(16))
        .returning(Environment)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    if environment is None:
        raise NotFoundError("There is no such pipeline.")
    return environment


def lock(session: Session, environment_id: str) -> None:
    """Take the row's lock as ``touch`` does, where only what is then read says whether there is a reason to touch.

    :raises NotFoundError: there is no such environment.
    """
    query = select(Environment.id).where(Environment.id == environment_id).with_for_update(key_share=True)
    if session.scalar(query) is None:
        raise NotFoundError("There is no such environment.")
