"""Alert rules as somebody wants them: what can be used, where they belong, those to begin with."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from app import names, selectors
from app.alert_kinds import (
    CERTIFICATE_EXPIRES,
    KINDS,
    LEAST_CLEAR_SECONDS,
    MOST_SECONDS,
    NODE_UNREACHABLE,
    PIPELINE_FAILED,
    SEVERITIES,
)
from app.database import snapshot
from app.errors import InvalidInputError, NotFoundError
from app.ids import is_id
from app.models import Environment, Pipeline

CLEAR_SECONDS = 120
"""For how long something must be well, where nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule as somebody wants it, saved or not."""

    name: str
    kind: str
    threshold: float | None = None
    for_seconds: int | None = None
    """``None``: what the kind suggests."""
    clear_seconds: int = CLEAR_SECONDS
    environment_id: str | None = None
    pipeline_id: str | None = None
    node_selector: str = ""
    severity: str = "warning"


STARTERS = {
    "unreachable": Draft("Node unreachable for 5 minutes", NODE_UNREACHABLE, severity="critical"),
    "failed": Draft("Pipeline failed", PIPELINE_FAILED, severity="critical"),
    "certificates": Draft("Certificate expires within 14 days", CERTIFICATE_EXPIRES, 14.0),
}
"""Offered where there is no rule yet, for all environments; none is made unasked."""


def checked(draft: Draft) -> Draft:
    """*draft* with what the kind suggests in place of what it leaves out.

    :raises InvalidInputError: something of it cannot be used; ``details`` name the fields.
    """
    kind = KINDS.get(draft.kind)
    if kind is None:
        raise refusal("kind", "kind", f"it is one of {', '.join(KINDS)}")
    name = names.checked(draft.name)
    if kind.unit is None:
        if draft.threshold is not None:
            raise refusal("threshold", "threshold", "this kind has none")
    elif draft.threshold is None or not _is_within(draft.threshold, kind.least, kind.most):
        message = f"it is a number of {kind.unit} from {kind.least:g} to {kind.most:g}"
        raise refusal("threshold", "threshold", message)
    for_seconds = kind.for_seconds if draft.for_seconds is None else draft.for_seconds
    if not 0 <= for_seconds <= MOST_SECONDS:
        message = f"it is a number of seconds from 0 to {MOST_SECONDS}"
        raise refusal("forSeconds", "time before it fires", message)
    if not LEAST_CLEAR_SECONDS <= draft.clear_seconds <= MOST_SECONDS:
        message = f"it is a number of seconds from {LEAST_CLEAR_SECONDS} to {MOST_SECONDS}"
        raise refusal("clearSeconds", "time before it is resolved", message)
    if draft.severity not in SEVERITIES:
        raise refusal("severity", "severity", f"it is one of {', '.join(SEVERITIES)}")
    selector = draft.node_selector.strip()
    if selector and kind.subject == "certificate":
        raise refusal("nodeSelector", "selector", "certificates lie in an environment, not on nodes")
    if draft.pipeline_id is not None and kind.subject != "pipeline":
        raise refusal("pipelineId", "pipeline", "this kind is not about pipelines")
    selectors.parse(selector)
    threshold = None if draft.threshold is None else float(draft.threshold)
    return replace(draft, name=name, threshold=threshold, for_seconds=for_seconds, node_selector=selector)


def located(draft: Draft) -> Draft:
    """*draft*, checked, in the environment that it is about (``None``: all of them).

    :raises InvalidInputError: something of it cannot be used.
    :raises NotFoundError: there is no such environment or pipeline.
    """
    good = checked(draft)
    return snapshot(lambda session: placed(session, good))


def placed(session: Session, draft: Draft) -> Draft:
    """*draft* in the environment of its pipeline, if it names one.

    :raises NotFoundError: there is no such environment or pipeline.
    """
    environment_id = draft.environment_id
    if draft.pipeline_id is not None:
        pipeline = session.get(Pipeline, draft.pipeline_id) if is_id(draft.pipeline_id) else None
        if pipeline is None or environment_id not in (None, pipeline.environment_id):
            raise NotFoundError("There is no such pipeline.")
        environment_id = pipeline.environment_id
    if environment_id is not None and session.get(Environment, environment_id) is None:
        raise NotFoundError("There is no such environment.")
    return replace(draft, environment_id=environment_id)


def _is_within(number: float, least: float, most: float) -> bool:
    return math.isfinite(number) and least <= number <= most


def refusal(field: str, word: str, message: str) -> InvalidInputError:
    """That *field* of a rule, for people the *word*, cannot be used."""
    return InvalidInputError(f"The {word} cannot be used: {message}.", [{"field": field, "message": message}])
