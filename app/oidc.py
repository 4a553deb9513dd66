"""Signing in at an OpenID Connect provider: what a visit to it is, and whom it vouches for.

What asks the provider is in ``oidc_provider``, which only a server that has one imports: Authlib takes a tenth of a
second.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

from app.errors import ForbiddenError
from app.oidc_settings import OidcSettings

if TYPE_CHECKING:
    from app.oidc_provider import Provider

ATTEMPT_SECONDS = 15 * 60
"""So long a visit to the provider may take."""


class Rejected(ForbiddenError):
    """The provider's answer is not good enough to let anybody in."""

    title = "Not signed in"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A visit to the provider that has begun; kept in the browser's own session, and good once."""

    state: str
    nonce: str
    code_verifier: str
    redirect_uri: str
    wanted: str
    """The page to go on to."""
    begun_at: int
    """Seconds since 1970."""

    def to_cookie(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def from_cookie(cls, kept: Mapping[str, Any]) -> Attempt:
        """As it was kept."""
        return cls(**kept)

    @property
    def is_over(self) -> bool:
        """Whether it took too long."""
        return time.time() - self.begun_at > ATTEMPT_SECONDS


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the provider vouches for."""

    issuer: str
    subject: str
    email: str | None
    is_email_verified: bool
    groups: frozenset[str]


def init_app(app: Flask, settings: OidcSettings | None) -> None:
    """Know the provider, if there is one; asks it nothing."""
    app.extensions["oidc"] = None
    if settings is not None:
        from app.oidc_provider import Provider

        app.extensions["oidc"] = Provider(settings)


def provider() -> Provider | None:
    """The current application's provider, if it has one."""
    found: Provider | None = current_app.extensions["oidc"]
    return found
