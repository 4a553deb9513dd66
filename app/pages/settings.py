"""The settings' page: one form, made from the table that says what each setting is."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, retention_preview, server_settings
from app.errors import ConflictError, Detail, InvalidInputError, SignalboxError
from app.pages import questions, words
from app.retention_preview import Loss
from app.server_settings import TABLE

MOST_DIGITS = 12
SHOWN_BEFORE = "before-"
"""Before a field's name: what it held when the form was made. What differs from that is what was changed."""
REMOVED = {
    "minuteMetricsHours": ("block of metrics", "blocks of metrics"),
    "hourMetricsDays": ("block of metrics", "blocks of metrics"),
    "dayMetricsDays": ("block of metrics", "blocks of metrics"),
    "nodeLogDays": ("pipeline's log lines on a node", "pipelines' log lines on nodes"),
    "sampleDays": ("sample",),
    "deploymentDays": ("deployment",),
    "versionsKept": ("version",),
    "webhookDeliveryDays": ("webhook delivery", "webhook deliveries"),
    "alertDays": ("alert",),
    "deployRequestDays": ("request to deploy", "requests to deploy"),
    "endedTokenDays": ("API token",),
    "channelHistoryDays": ("entry on push channels", "entries on push channels"),
    "sessionIdleHours": ("session",),
    "sessionDays": ("session",),
    "unseenNodeDays": ("node",),
}
"""What each setting that keeps less removes, one and many."""
UNITS = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1000, "second"))

bp = Blueprint("settings", __name__, url_prefix="/settings")


@bp.get("")
def index() -> ResponseReturnValue:
    """All of them, with when each was changed and by whom."""
    return _page({name: str(value) for name, value in server_settings.values().items()})


@bp.post("")
def save() -> ResponseReturnValue:
    """Change those that were changed in the form; of the others, somebody else's change stays."""
    typed = {each.name: request.form.get(each.name, "").strip()[:100] for each in TABLE}
    changed = {
        name: text for name, text in typed.items() if text != request.form.get(f"{SHOWN_BEFORE}{name}")
    }
    try:
        wanted = _numbers(changed)
        lost = [] if questions.is_confirmed() else retention_preview.losses(server_settings.values(), wanted)
        if lost:
            return questions.ask(
                "Keep less?",
                [_loss_in_words(loss, wanted[loss.setting]) for loss in lost],
                button="Save, and remove that",
                back=url_for("pages.settings.index"),
            )
        server_settings.update(access.actor(), wanted)
    except (ConflictError, InvalidInputError) as error:
        return _page(typed, error), error.status
    labels = [each.label for each in TABLE if each.name in wanted]
    flash(f"Changed: {', '.join(labels)}." if labels else "Nothing was changed.", "good")
    return redirect(url_for("pages.settings.index"))


def in_words(milliseconds: int) -> str:
    """``15 seconds``, in the largest unit that it is a whole number of."""
    for size, unit in UNITS:
        if milliseconds >= size and milliseconds % size == 0:
            return words.plural(milliseconds // size, unit)
    return words.plural(milliseconds, "millisecond")


def _loss_in_words(loss: Loss, value: int) -> str:
    each = next(each for each in TABLE if each.name == loss.setting)
    if loss.count is None:
        what = "nobody can say how many nodes that deletes while Redis is away; none before it is back"
    else:
        more = "more than " if loss.is_more else ""
        what = f"removes {more}{words.plural(loss.count, *REMOVED[loss.setting])}"
        if loss.count == 0:
            what = "removes nothing that is there now"
    goes_on = ", and from now on each as soon as it is older" if loss.setting != "versionsKept" else ""
    return f"{each.label}, {value:,} {each.unit}: {what}{goes_on}. It cannot be brought back."


def _numbers(changed: Mapping[str, str]) -> dict[str, int]:
    """The numbers that were typed.

    :raises InvalidInputError: some are none, or out of their bounds; ``details`` name them all.
    """
    wanted: dict[str, int] = {}
    refused: list[Detail] = []
    for each in TABLE:
        text = changed.get(each.name)
        if text is None:
            continue
        if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS:
            wanted[each.name] = int(text)
        else:
            refused.append({"field": each.name, "message": each.bounds})
    refused += server_settings.problems(wanted)
    if refused:
        raise InvalidInputError(f"{words.plural(len(refused), 'value')} cannot be used.", refused)
    return wanted


def _page(typed: Mapping[str, str], problem: SignalboxError | None = None) -> str:
    return render_template(
        "settings.html",
        table=TABLE,
        values=server_settings.values(),
        defaults={each.name: each.default_of(current_app.extensions["settings"]) for each in TABLE},
        changes=server_settings.last_changes(),
        typed=typed,
        before=SHOWN_BEFORE,
        in_words=in_words,
        problem=problem,
        refused={detail["field"]: detail["message"] for detail in problem.details} if problem else {},
    )
