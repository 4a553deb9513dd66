"""What each route of the operator API takes and answers: declared once, on its view.

The declaration validates (``requests.body`` and ``requests.query`` take the models that it names, and no others),
and ``openapi.py`` makes the document of it, so that the two cannot differ. ``tests/app/test_contract.py`` fails for
a route without one, and for an answer that is not as declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, TypeVar, cast

from flask import Flask, current_app, request
from pydantic import BaseModel

from app import preconditions
from app.operator_api import etags, once

View = TypeVar("View", bound=Callable[..., Any])

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True)
class Contract:
    """What one route takes and answers."""

    answer: Any
    """The ``TypedDict`` of its success (``answers.py``); ``None``: it has no body."""
    status: int
    """Of its success."""
    body: type[BaseModel] | None
    """The model of the body (``schemas.py``) that it takes."""
    query: type[BaseModel] | None
    """The model of the query string (``queries.py``) that it takes."""
    refusals: frozenset[int]
    """What it refuses beside what its parts make possible; see ``openapi.py``."""
    is_tagged: bool
    """Whether it answers with an ``ETag`` (``etags.tagged``)."""
    is_guarded: bool
    """Whether what it calls checks ``If-Match`` and ``If-None-Match`` where it writes (``app/preconditions.py``)."""
    shows_once: bool
    """Whether its answer holds what nobody can see again."""
    media_type: str
    """Of its success."""
    asked: Any = None
    """What it answers with ``202`` where somebody else must approve it first; ``None``: that never happens."""


def declares(
    answer: Any,
    status: int = 200,
    *,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    refusals: tuple[int, ...] = (),
    is_tagged: bool = False,
    is_guarded: bool = False,
    shows_once: bool = False,
    media_type: str = JSON,
    asked: Any = None,
) -> Callable[[View], View]:
    """Declare what a view takes and answers: below its route, see ``Contract``."""

    def mark(view: View) -> View:
        declared = Contract(
            answer,
            status,
            body,
            query,
            frozenset(refusals),
            is_tagged,
            is_guarded,
            shows_once,
            media_type,
            asked,
        )

        @wraps(view)
        def run(**arguments: Any) -> Any:
            with preconditions.holding(etags.condition(is_guarded)):
                return once.answer(partial(view, **arguments), shows_once=shows_once)

        run.contract = declared  # type: ignore[attr-defined]
        return cast(View, run)

    return mark


def of(app: Flask, endpoint: str | None) -> Contract | None:
    """What the view of *endpoint* declares, if it does."""
    return getattr(app.view_functions.get(endpoint or ""), "contract", None)


def current() -> Contract:
    """What the view behind this request declares."""
    found = of(current_app, request.endpoint)
    assert found is not None, f"{request.endpoint} declares nothing (app/operator_api/contract.py)"
    return found
