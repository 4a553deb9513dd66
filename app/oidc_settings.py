"""How people sign in at an OpenID Connect provider: read once, when the server starts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from app.principal import ROLES, Role, is_role

_LOCAL = ("127.0.0.1", "::1", "localhost")
_FORM = """such as {"sre": "admin", "team-a": {"role": "editor", "environment": "prod"}}"""


class OidcSettingsError(Exception):
    """A variable cannot be used; the message begins with its name and says what to set."""


@dataclass(frozen=True, slots=True)
class GroupRole:
    """What members of a group may do."""

    role: Role
    environment: str | None
    """The name of the one environment; ``None``: everywhere."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """One provider."""

    issuer: str
    """As its discovery document and its tokens name it, to the letter."""
    client_id: str
    client_secret: str | None
    """``None`` for a client that has only PKCE."""
    scopes: tuple[str, ...]
    groups_claim: str
    """A claim of the ID token or of the user info; with dots, one inside of others."""
    roles: Mapping[str, tuple[GroupRole, ...]]
    """By group."""
    label: str
    """What the button and sentences call the provider."""


def read(
    issuer: str | None,
    client_id: str | None,
    client_secret: str | None,
    scopes: str | None,
    groups_claim: str | None,
    roles: str | None,
    label: str | None,
) -> OidcSettings | None:
    """The provider that the variables of these names describe; ``None`` where no issuer is set.

    :raises OidcSettingsError: one of them is missing or cannot be understood.
    """
    if issuer is None:
        if client_id or roles:
            raise OidcSettingsError(
                "SIGNALBOX_OIDC_ISSUER must be set, since other variables of the provider are."
            )
        return None
    parts = urlsplit(issuer)
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
    if not is_safe or not parts.hostname or parts.query or parts.fragment:
        raise OidcSettingsError(
            "SIGNALBOX_OIDC_ISSUER must look like https://id.example.org/realm (http:// only for this machine)."
        )
    if client_id is None:
        raise OidcSettingsError("SIGNALBOX_OIDC_CLIENT_ID must be set, as the provider names this client.")
    asked = tuple(dict.fromkeys(["openid", *(scopes or "openid email profile").split()]))
    return OidcSettings(
        issuer=issuer,
        client_id=client_id,
        client_secret=client_secret,
        scopes=asked,
        groups_claim=groups_claim or "groups",
        roles=_roles(roles),
        label=(label or "single sign-on")[:60],
    )


def _roles(text: str | None) -> dict[str, tuple[GroupRole, ...]]:
    wrong = OidcSettingsError(f"SIGNALBOX_OIDC_ROLES must be JSON {_FORM}; roles are {', '.join(ROLES)}.")
    try:
        parsed = json.loads(text or "")
    except ValueError:
        raise wrong from None
    if not isinstance(parsed, dict) or not parsed:
        raise wrong
    found: dict[str, tuple[GroupRole, ...]] = {}
    for group, wanted in parsed.items():
        each = wanted if isinstance(wanted, list) else [wanted]
        read_roles = [_role(one) for one in each]
        if not each or any(one is None for one in read_roles):
            raise wrong
        found[group] = tuple(one for one in read_roles if one is not None)
    return found


def _role(wanted: Any) -> GroupRole | None:
    if isinstance(wanted, str):
        wanted = {"role": wanted}
    if not isinstance(wanted, dict) or not wanted.keys() <= {"role", "environment"}:
        return None
    role, environment = wanted.get("role"), wanted.get("environment")
    if not is_role(role) or not (environment is None or isinstance(environment, str)):
        return None
    return GroupRole(role, environment)
