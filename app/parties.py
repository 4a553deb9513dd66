"""Whoever is behind a request as one of the two that a protected environment needs."""

from __future__ import annotations

from app import access
from app.approvals import Party


def own() -> Party:
    """An account counts as itself, a token as the person or the token that has made it."""
    return Party.of(access.principal(), access.actor())
