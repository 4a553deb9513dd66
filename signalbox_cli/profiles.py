"""Where the server is and with which token it is asked: kept in profiles, overruled by the environment.

The file is ``signalbox/profiles.yaml`` below ``$XDG_CONFIG_HOME`` (``~/.config``), for its owner's eyes only.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from signalbox_cli.client import Place
from signalbox_cli.failures import RefusedFailure, UsageFailure

URL_VARIABLE = "SIGNALBOX_URL"
TOKEN_VARIABLE = "SIGNALBOX_API_TOKEN"
PROFILE_VARIABLE = "SIGNALBOX_PROFILE"
CA_FILE_VARIABLE = "SIGNALBOX_CA_FILE"
ENVIRONMENT_VARIABLE = "SIGNALBOX_ENVIRONMENT"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Profile:
    """One server as one person uses it."""

    url: str
    token: str
    ca_file: str | None = None
    environment: str | None = None
    """The one that is meant where none is named."""


@dataclass(slots=True)
class Profiles:
    """All that are kept, and which one is meant where none is named."""

    current: str = DEFAULT
    known: dict[str, Profile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line itself says; each overrules the environment."""

    profile: str | None = None
    url: str | None = None
    ca_file: str | None = None


def file_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where profiles are kept."""
    home = environ.get("XDG_CONFIG_HOME") or ""
    base = Path(home) if os.path.isabs(home) else Path.home() / ".config"
    return base / "signalbox" / "profiles.yaml"


def is_open_to_others(path: Path) -> bool:
    """Whether somebody beside its owner may read the file."""
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False


def read(path: Path) -> Profiles:
    """What is kept; nothing, where there is no file.

    :raises UsageFailure: the file cannot be read.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Profiles()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageFailure(f"{path} cannot be read: {error}") from None
    try:
        names = {each.name for each in fields(Profile)}
        known = {
            str(name): Profile(**{key: value for key, value in each.items() if key in names})
            for name, each in (content.get("profiles") or {}).items()
        }
        return Profiles(str(content.get("current") or DEFAULT), known)
    except (AttributeError, TypeError):
        raise UsageFailure(f"{path} is no file of profiles; sign in again: signalbox login") from None


def write(path: Path, profiles: Profiles) -> None:
    """Keep them, for the owner's eyes only, and whole or not at all.

    :raises UsageFailure: the file cannot be written.
    """
    content = {
        "current": profiles.current,
        "profiles": {name: _without_empty(asdict(each)) for name, each in sorted(profiles.known.items())},
    }
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Made 0600 from the beginning: there is no moment at which others can open it.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".profiles-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageFailure(f"The profile cannot be kept in {path}: {error.strerror}") from None


def chosen(wishes: Wishes, environ: Mapping[str, str] = os.environ) -> tuple[Place, str | None]:
    """The server that is meant, and the environment that is where none is named.

    :raises UsageFailure: no server is known, or the token of one would go to another.
    :raises RefusedFailure: there is no token.
    """
    url = wishes.url or environ.get(URL_VARIABLE) or None
    token = environ.get(TOKEN_VARIABLE) or None
    profile = None
    if url is None or token is None or wishes.profile or environ.get(PROFILE_VARIABLE):
        profile = _profile(wishes, environ, is_needed=url is None)
    where = checked_url(url) if url is not None else profile.url if profile else ""
    if not where:
        raise UsageFailure(
            f"No server is known. Sign in (signalbox login URL), or set {URL_VARIABLE} and {TOKEN_VARIABLE}."
        )
    is_of_profile = profile is not None and profile.url == where
    if token is None:
        if profile is None:
            raise RefusedFailure(f"There is no token for {where}: signalbox login {where}")
        if not is_of_profile:
            raise UsageFailure(
                f"The token that is kept is for {profile.url}, and {where} is asked for: it is not sent there. Sign"
                f" in (signalbox login {where}), or set {TOKEN_VARIABLE} as well."
            )
        token = profile.token
    ca_file = wishes.ca_file or environ.get(CA_FILE_VARIABLE) or None
    environment = environ.get(ENVIRONMENT_VARIABLE) or None
    if profile is not None and is_of_profile:
        # What was kept for one server says nothing of another.
        ca_file, environment = ca_file or profile.ca_file, environment or profile.environment
    return Place(where, checked_token(token), ca_file), environment


def checked_url(text: str) -> str:
    """The server's address without a slash at the end.

    :raises UsageFailure: it is none.
    """
    text = text.strip().rstrip("/")
    if "://" not in text and text:
        raise UsageFailure(f"The address {text} has no scheme: is https://{text} meant?")
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.query or parts.fragment or parts.username is not None:
        raise UsageFailure(f"{text or 'Nothing'} is no address of a server; one is https://signalbox.example")
    return text.removesuffix("/api/v1")


def checked_token(text: str) -> str:
    """The token without what surrounds it.

    :raises UsageFailure: no token looks like that.
    """
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageFailure("That is no token. An API token is one word that begins with sbx_api_.")
    for other, what in (("sbx_node_", "a node's"), ("sbx_enroll_", "an enrollment")):
        if token.startswith(other):
            raise UsageFailure(
                f"That is {what} token, which only agents can use. One for people begins with sbx_api_."
            )
    return token


def _profile(wishes: Wishes, environ: Mapping[str, str], is_needed: bool) -> Profile | None:
    named = wishes.profile or environ.get(PROFILE_VARIABLE) or None
    profiles = read(file_path(environ))
    name = named or profiles.current
    profile = profiles.known.get(name)
    if profile is None and (named is not None or (is_needed and profiles.known)):
        known = ", ".join(sorted(profiles.known)) or "none"
        raise UsageFailure(
            f'There is no profile "{name}"; known: {known}. Make it: signalbox login --profile {name}'
        )
    return profile


def _without_empty(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}
