"""The alert rules' pages: all of them, those to begin with, a form with a preview, one rule and its end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app import access, alert_drafts, alert_kinds, alert_preview, alert_rules, environments, pipelines
from app.alert_drafts import STARTERS, Draft
from app.alert_kinds import KINDS, SEVERITIES, Kind
from app.alert_preview import Preview
from app.alert_rules import RuleRow
from app.errors import InvalidInputError, SignalboxError

MOST_TYPED = 5000
PIPELINES_OFFERED = 500

bp = Blueprint("alert_rules", __name__, url_prefix="/alerts/rules")


@dataclass(frozen=True)
class Typed:
    """What stands in the form, as text; times in minutes."""

    name: str = ""
    threshold: str = ""
    for_minutes: str = ""
    clear_minutes: str = f"{alert_drafts.CLEAR_SECONDS / 60:g}"
    environment: str = ""
    pipeline: str = ""
    node_selector: str = ""
    severity: str = "warning"

    @classmethod
    def from_request(cls) -> Typed:
        """Read the form."""
        return cls(
            **{name: request.form.get(name, "").strip()[:MOST_TYPED] for name in cls.__dataclass_fields__}
        )

    @classmethod
    def of_kind(cls, kind: Kind) -> Typed:
        """What the kind suggests."""
        threshold = "" if kind.threshold is None else f"{kind.threshold:g}"
        chosen = request.args.get("environment", "")
        return cls(kind.label, threshold, f"{kind.for_seconds / 60:g}", environment=chosen)

    @classmethod
    def of(cls, rule: RuleRow) -> Typed:
        """The rule as it is."""
        return cls(
            rule.name,
            "" if rule.threshold is None else f"{rule.threshold:g}",
            f"{rule.for_seconds / 60:g}",
            f"{rule.clear_seconds / 60:g}",
            rule.environment_id or "",
            rule.pipeline_id or "",
            rule.node_selector,
            rule.severity,
        )

    def draft(self, kind: Kind) -> Draft:
        """As a rule of *kind*.

        :raises InvalidInputError: something is no number.
        """
        return Draft(
            name=self.name,
            kind=kind.name,
            threshold=_number("threshold", "threshold", self.threshold) if kind.unit else None,
            for_seconds=_seconds("for_minutes", "time before it fires", self.for_minutes),
            clear_seconds=_seconds("clear_minutes", "time before it is resolved", self.clear_minutes),
            environment_id=self.environment or None,
            pipeline_id=self.pipeline or None if kind.subject == "pipeline" else None,
            node_selector=self.node_selector if kind.subject != "certificate" else "",
            severity=self.severity,
        )


@bp.get("")
def index() -> ResponseReturnValue:
    """All of them, newest first, and those to begin with that are not there yet."""
    page = alert_rules.listing(limit=alert_rules.MOST_RULES, within=access.where("viewer"))
    there = {rule.name for rule in page.items}
    return render_template(
        "alerts/rules.html",
        rules=page.items,
        starters={name: draft for name, draft in STARTERS.items() if draft.name not in there},
        kinds=KINDS,
        condition=alert_kinds.condition,
    )


@bp.post("/starters")
def start() -> ResponseReturnValue:
    """Make those of the rules to begin with that were chosen, for all environments."""
    chosen = request.form.getlist("starter")
    there = {rule.name for rule in alert_rules.listing(limit=alert_rules.MOST_RULES).items}
    made = [
        alert_rules.create(draft, access.actor()).name
        for name, draft in STARTERS.items()
        if name in chosen and draft.name not in there  # a second click makes no second one
    ]
    flash(f"Made: {', '.join(made)}." if made else "Nothing was chosen.", "good" if made else "busy")
    return redirect(url_for("pages.alert_rules.index"))


@bp.get("/new")
def new() -> ResponseReturnValue:
    """The choice of a kind, or the form of one (``?kind=``)."""
    kind = KINDS.get(request.args.get("kind", ""))
    if kind is None:
        return render_template("alerts/kinds.html", kinds=KINDS.values())
    return _new(kind, Typed.of_kind(kind))


@bp.post("")
def create() -> ResponseReturnValue:
    """Make one."""
    kind, typed = _kind(), Typed.from_request()
    try:
        rule = alert_rules.create(_allowed(typed.draft(kind)), access.actor())
    except SignalboxError as error:
        return _new(kind, typed, problem=error), error.status
    flash(f"Made the rule {rule.name}. It is looked at within seconds, and from then on.", "good")
    return redirect(url_for("pages.alert_rules.index"))


@bp.post("/preview")
def preview() -> ResponseReturnValue:
    """The form as it was typed, with what such a rule would find now; nothing is made."""
    kind, typed = _kind(), Typed.from_request()
    try:
        found = alert_preview.preview(_allowed(typed.draft(kind)))
    except SignalboxError as error:
        return _new(kind, typed, problem=error), error.status
    return _new(kind, typed, preview=found)


@bp.get("/<rule_id>")
def show(rule_id: str) -> ResponseReturnValue:
    """One, with its form."""
    rule = alert_rules.get(rule_id)
    return _show(rule, Typed.of(rule))


@bp.post("/<rule_id>")
def save(rule_id: str) -> ResponseReturnValue:
    """Change all but its kind and what it is about."""
    rule, typed = alert_rules.get(rule_id), Typed.from_request()
    try:
        draft = typed.draft(KINDS[rule.kind])
        changes = {name: getattr(draft, name) for name in alert_rules.CHANGEABLE}
        alert_rules.update(rule_id, changes, access.actor())
    except SignalboxError as error:
        return _show(rule, typed, problem=error), error.status
    flash("Saved; the rule is looked at anew within seconds.", "good")
    return redirect(url_for("pages.alert_rules.show", rule_id=rule_id))


@bp.post("/<rule_id>/preview")
def preview_changes(rule_id: str) -> ResponseReturnValue:
    """Its form as it was typed, with what it would find then; nothing is changed."""
    rule, typed = alert_rules.get(rule_id), Typed.from_request()
    try:
        draft = typed.draft(KINDS[rule.kind])
        # What it is about is the rule's own, whatever the form says.
        own = replace(draft, environment_id=rule.environment_id, pipeline_id=rule.pipeline_id)
        found = alert_preview.preview(own)
    except SignalboxError as error:
        return _show(rule, typed, problem=error), error.status
    return _show(rule, typed, preview=found)


@bp.post("/<rule_id>/enable")
def enable(rule_id: str) -> ResponseReturnValue:
    """Enable it, or disable it: then its alerts are resolved."""
    is_wanted = request.form.get("enabled") == "yes"
    alert_rules.update(rule_id, {"is_enabled": is_wanted}, access.actor())
    flash(
        "Enabled; it is looked at within seconds." if is_wanted else "Disabled; its alerts are resolved.",
        "good",
    )
    return redirect(url_for("pages.alert_rules.show", rule_id=rule_id))


@bp.post("/<rule_id>/delete")
def delete(rule_id: str) -> ResponseReturnValue:
    """Delete it; its alerts are resolved, and their history stays."""
    name = alert_rules.get(rule_id).name
    alert_rules.delete(rule_id, access.actor())
    flash(f"Deleted the alert rule {name}.", "good")
    return redirect(url_for("pages.alert_rules.index"))


def _allowed(draft: Draft) -> Draft:
    """*draft* in its environment, if whoever asks may make rules there."""
    draft = alert_drafts.located(draft)
    if draft.environment_id is None:
        access.require_overall("editor")
    else:
        access.require("editor", draft.environment_id, "pipeline" if draft.pipeline_id else "environment")
    return draft


def _kind() -> Kind:
    kind = KINDS.get(request.form.get("kind", ""))
    if kind is None:
        raise InvalidInputError("There is no such kind of alert rule.")
    return kind


def _number(field: str, word: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise alert_drafts.refusal(field, word, "it is a number") from None


def _seconds(field: str, word: str, text: str) -> int:
    minutes = _number(field, word, text)
    if not 0 <= minutes <= alert_kinds.MOST_SECONDS:  # also what is no number or infinite
        raise alert_drafts.refusal(field, word, "it is a number of minutes up to a week")
    return round(minutes * 60)


def _new(kind: Kind, typed: Typed, **more: Any) -> str:
    within = access.where("editor")
    known = environments.choices(within)
    offered = []
    if kind.subject == "pipeline":
        offered = pipelines.listing(limit=PIPELINES_OFFERED, within=within).items
    return render_template(
        "alerts/new.html",
        kind=kind,
        typed=typed,
        environments=known,
        environment_names={environment.id: environment.name for environment in known},
        pipelines=offered,
        severities=SEVERITIES,
        **{"problem": None, "preview": None, **more},
    )


def _show(
    rule: RuleRow, typed: Typed, *, problem: SignalboxError | None = None, preview: Preview | None = None
) -> str:
    return render_template(
        "alerts/rule.html",
        rule=rule,
        kind=KINDS[rule.kind],
        condition=alert_kinds.condition(rule.kind, rule.threshold),
        typed=typed,
        severities=SEVERITIES,
        problem=problem,
        preview=preview,
    )
