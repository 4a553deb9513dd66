"""A question before an act that stops or removes something: what it would do, to how much, and then the same form.

The page holds all that was sent, so that a confirmed act is exactly the one that was described.
"""

from __future__ import annotations

from collections.abc import Sequence

from flask import render_template, request

CONFIRMED = "confirmed"


def is_confirmed() -> bool:
    """Whether the form comes from the question's page."""
    return request.form.get(CONFIRMED) == "yes"


def ask(title: str, sentences: Sequence[str], *, button: str, back: str, names: Sequence[str] = ()) -> str:
    """The question's page: *sentences* say what would happen, *names* to whom, *back* leads away without doing it."""
    fields = [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name not in ("csrf_token", CONFIRMED)
    ]
    return render_template(
        "question.html",
        title=title,
        sentences=sentences,
        names=names,
        fields=fields,
        confirmed=CONFIRMED,
        button=button,
        back=back,
        address=request.full_path.rstrip("?"),
    )
