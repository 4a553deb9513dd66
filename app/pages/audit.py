"""The audit log's page, and the log as a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from flask import Blueprint, Response, render_template, request, stream_with_context
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import MultiDict

from app import access, audit_log, csv_text, environments
from app.audit_log import EVERY, AuditFilter
from app.clock import rfc3339, utc_now
from app.errors import InvalidInputError
from app.models import AuditEntry
from app.paging import Page

PAGE_SIZE = 50
MOST_CHARACTERS = 300
"""Of anything that is looked for."""
HEADINGS = ("at", "actor", "address", "action", "environment", "subject", "detail", "id")

bp = Blueprint("audit", __name__, url_prefix="/audit")


@dataclass(frozen=True, slots=True)
class Look:
    """What stands in the form, and in the address."""

    who: str = ""
    action: str = ""
    environment: str = ""
    object: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def of(cls, arguments: MultiDict[str, str]) -> Look:
        """From an address's *arguments*; what no column can hold is left out."""
        return cls(**{name: _readable(arguments.get(name, "")) for name in cls.__slots__})

    def query(self, **other: str) -> dict[str, str]:
        """As arguments of an address, with *other* values for some of them."""
        return {name: value for name, value in {**asdict(self), **other}.items() if value}

    def filter(self) -> AuditFilter:
        """What it means.

        :raises InvalidInputError: a moment is none.
        """
        return AuditFilter(
            environment_id=self.environment or None,
            within=access.where("viewer"),
            actor=self.who or None,
            action=self.action or None,
            subject=self.object or None,
            since=audit_log.read_moment(self.since, "since"),
            until=audit_log.read_moment(self.until, "until"),
        )


@bp.get("")
def index() -> ResponseReturnValue:
    """A page of entries, newest first; a filter that cannot be understood is said on it."""
    look, problem = Look.of(request.args), None
    cursor = request.args.get("cursor") or None
    try:
        page = audit_log.listing(look.filter(), limit=PAGE_SIZE, cursor=cursor)
    except InvalidInputError as error:
        problem, page = error, Page[AuditEntry]([], None)
    ids = {each for entry in page.items for each in (entry.environment_id, entry.subject_id) if each}
    within = access.where("viewer")
    known = audit_log.actions() if within is None else audit_log.actions_within(within)
    return render_template(
        "audit.html",
        look=look,
        page=page,
        names=audit_log.names(ids, within),
        actions=[(each, each) for each in [*sorted({each.split(".")[0] + EVERY for each in known}), *known]],
        environments=[(each.id, each.name) for each in environments.choices(within)],
        is_first=cursor is None,
        problem=problem,
    ), (problem.status if problem else 200)


@bp.get("/audit.csv")
def export() -> ResponseReturnValue:
    """All that the filter means, newest first, read and sent piece by piece.

    :raises InvalidInputError: a moment is none.
    """
    wanted = Look.of(request.args).filter()
    lines = csv_text.lines(_rows(wanted))
    response = Response(stream_with_context(lines), mimetype="text/csv")
    name = f"audit-{utc_now():%Y-%m-%d-%H%M%S}.csv"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _rows(wanted: AuditFilter) -> Iterator[tuple[str, ...]]:
    yield HEADINGS
    for entry in audit_log.everything(wanted):
        yield (
            rfc3339(entry.at) or "",
            entry.actor,
            entry.address or "",
            entry.action,
            entry.environment_id or "",
            entry.subject_id or "",
            json.dumps(entry.detail, ensure_ascii=False, sort_keys=True),
            entry.id,
        )


def _readable(text: str) -> str:
    text = text.strip()[:MOST_CHARACTERS]
    return text if text.isprintable() else ""
