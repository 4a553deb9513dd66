"""Getting started: the steps from an empty server to a first deploy, which tick themselves off."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from app import access, first_steps
from app.pages import live, security
from app.pages.live import Picture

HIDDEN_COOKIE = "signalbox_steps_hidden"
HIDDEN_SECONDS = 365 * 24 * 3600

bp = Blueprint("first_steps", __name__, url_prefix="/getting-started")


class Steps:
    """Draws the steps for one reader; once all are done nothing is looked up again."""

    def __init__(self) -> None:
        self._within = access.where("viewer")
        self._is_hidden = HIDDEN_COOKIE in request.cookies
        self._are_done = False

    def part(self, *, is_shown: bool, is_needed: bool) -> Markup:
        """The steps while one is left, where they are shown; *is_needed*: also to who has put them away."""
        steps = None
        if not self._are_done and (is_needed or (is_shown and not self._is_hidden)):
            steps = first_steps.look(self._within)
            self._are_done = steps.are_done
        return draw(None if steps is None or steps.are_done else steps, may_hide=not is_needed)


def draw(steps: first_steps.FirstSteps | None, *, may_hide: bool) -> Markup:
    """The element; empty for ``None``."""
    return live.draw("first_steps/steps.html", steps=steps, may_hide=may_hide)


@bp.get("")
def index() -> ResponseReturnValue:
    """The steps, also when all are done or somebody has put them away."""
    return render_template("first_steps/index.html", picture=_painter()())


@bp.get("/events")
def events() -> ResponseReturnValue:
    """What is ticked off, as it is."""
    return live.events(_painter())


@bp.get("/rows")
def rows() -> ResponseReturnValue:
    """The steps, for a browser that polls."""
    return live.rows(_painter())


@bp.post("/hide")
def hide() -> ResponseReturnValue:
    """Keep the steps off this browser's fleet page, other than one without nodes."""
    response = redirect(url_for("pages.fleet.index"))
    response.set_cookie(
        HIDDEN_COOKIE, "1", HIDDEN_SECONDS, httponly=True, samesite="Lax", secure=security.is_https()
    )
    return response


def _painter() -> live.Paint:
    within = access.where("viewer")
    return lambda: Picture({"steps": draw(first_steps.look(within), may_hide=False)})
