"""The kinds of alert rules, what each looks at, and the words that alerts are told in. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.clock import rfc3339

NODE_UNREACHABLE = "node_unreachable"
PIPELINE_FAILED = "pipeline_failed"
ERRORS_ABOVE = "errors_above"
DISCARDED_ABOVE = "discarded_above"
THROUGHPUT_BELOW = "throughput_below"
CERTIFICATE_EXPIRES = "certificate_expires"

PENDING, FIRING, RESOLVED = "PENDING", "FIRING", "RESOLVED"
STATES = (PENDING, FIRING, RESOLVED)
SEVERITIES = ("critical", "warning", "info")

MARGIN = 0.1
"""Of the threshold: a value within it is neither bad enough to fire nor well enough to resolve."""
MARGIN_DAYS = 1.0
"""The same for certificates."""
MOST_SECONDS = 7 * 86400
LEAST_CLEAR_SECONDS = 30
MOST_RATE = 1e12


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of rule."""

    name: str
    label: str
    meaning: str
    """For people, in the form."""
    subject: str
    """``node``, ``pipeline`` (on a node) or ``certificate``."""
    unit: str | None
    """Of the threshold and of the value; ``None``: it has no threshold."""
    least: float
    most: float
    threshold: float | None
    """What the form begins with."""
    for_seconds: int
    """The same."""


KINDS = {
    each.name: each
    for each in (
        Kind(
            NODE_UNREACHABLE,
            "Node unreachable",
            "A node is not connected and has missed three heartbeats.",
            "node",
            None,
            0,
            0,
            None,
            300,
        ),
        Kind(
            PIPELINE_FAILED,
            "Pipeline failed",
            "A pipeline has failed on a node, crashes, or runs in its previous version because the new one failed.",
            "pipeline",
            None,
            0,
            0,
            None,
            60,
        ),
        Kind(
            ERRORS_ABOVE,
            "Errors above",
            "The components of a pipeline on a node count more errors a second than this.",
            "pipeline",
            "errors/s",
            0,
            MOST_RATE,
            1,
            300,
        ),
        Kind(
            DISCARDED_ABOVE,
            "Discarded events above",
            "The components of a pipeline on a node discard more events a second than this.",
            "pipeline",
            "events/s",
            0,
            MOST_RATE,
            1,
            300,
        ),
        Kind(
            THROUGHPUT_BELOW,
            "Throughput below",
            "A pipeline that runs on a node sends fewer events a second than this.",
            "pipeline",
            "events/s",
            0.001,
            MOST_RATE,
            1,
            600,
        ),
        Kind(
            CERTIFICATE_EXPIRES,
            "Certificate expires in",
            "A certificate of an environment expires within so many days, or has expired.",
            "certificate",
            "days",
            0,
            3650,
            14,
            0,
        ),
    )
}

RECOVERED = "recovered"
REASONS = {
    RECOVERED: "It is well again.",
    "node_deleted": "The node was deleted.",
    "node_revoked": "The node's token was revoked.",
    "maintenance": "The node is in maintenance.",
    "out_of_scope": "The rule is not about it any more.",
    "pipeline_deleted": "The pipeline was deleted.",
    "pipeline_stopped": "The pipeline does not run there any more.",
    "certificate_deleted": "The certificate was deleted.",
    "rule_disabled": "The rule was disabled.",
    "rule_deleted": "The rule was deleted.",
    "environment_deleted": "The environment was deleted.",
}
"""Why an alert was resolved, with what that means for people."""


def sentence(kind: str, row: Any, threshold: float | None, now: Any) -> str:
    """What is wrong. *row* has the columns of ``alert_queries``.

    What a child printed is left out: it may hold anything.
    """
    match kind:
        case "node_unreachable":
            return f"{row.node_name} has not been heard of since {rfc3339(row.moment)}."
        case "pipeline_failed":
            place = f"{row.pipeline_name} on {row.node_name}"
            if row.failed_version is not None and row.status == "RUNNING":
                return f"{place}: version {row.failed_version} failed, and the previous one runs."
            return f"{place} is {row.status}."
        case "certificate_expires":
            verb = "has expired on" if row.moment <= now else "expires on"
            return f"The certificate {row.certificate} {verb} {rfc3339(row.moment)}."
    unit = KINDS[kind].unit
    way = "below" if kind == THROUGHPUT_BELOW else "above"
    return (
        f"{row.pipeline_name} on {row.node_name}: {number(row.value)} {unit}, {way} {number(threshold or 0)}."
    )


def condition(kind: str, threshold: float | None) -> str:
    """What a rule asks, in a few words: ``Errors above 5 errors/s``."""
    each = KINDS[kind]
    return each.label if each.unit is None else f"{each.label} {number(threshold or 0)} {each.unit}"


def number(value: float) -> str:
    """In at most three digits behind the point."""
    return f"{value:.3f}".rstrip("0").rstrip(".")
