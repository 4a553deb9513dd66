"""The agent's environment: ``SIGNALBOX_*``, and where not set, the names of VectorFlow's agent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from agent import places
from agent.authorities import AuthoritiesRefusedError, check_authorities, named_authorities
from agent.protocol import DeploymentMode
from agent.proxies import ProxyRefusedError, proxy_for
from agent.update import parse_keys

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
LOG_LEVELS = {"trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "warning": "WARNING"} | {
    "error": "ERROR"
}


class SettingsError(Exception):
    """A setting is missing or makes no sense; the message is one sentence for the person who set it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting of the agent, once."""

    url: str
    """``SIGNALBOX_URL``: where the server is, without a slash at its end."""
    token: str | None = field(repr=False)
    """``SIGNALBOX_TOKEN``: the enrollment token of an environment."""
    data_dir: Path
    """``SIGNALBOX_DATA_DIR``: default ``/var/lib/signalbox-agent``; children see it as ``VF_DATA_DIR``."""
    vector_bin: str
    """``SIGNALBOX_VECTOR_BIN``: the Vector to run; default ``vector``, looked for on PATH."""
    poll_interval_seconds: float
    """``SIGNALBOX_POLL_INTERVAL``: seconds, until the server's first answer; default 15."""
    labels: Mapping[str, str]
    """``SIGNALBOX_LABELS``: ``k=v,k=v``, reported beside what the agent finds out by itself."""
    log_level: str
    """``SIGNALBOX_LOG_LEVEL``: debug, info, warning or error; default info."""
    deployment_mode: DeploymentMode | None = None
    """``SIGNALBOX_DEPLOYMENT_MODE``: STANDALONE or DOCKER, where the agent's own guess is wrong."""
    update_key: str | None = None
    """``SIGNALBOX_UPDATE_KEY``: Ed25519 public keys, base64 by comma; an update must be signed with one of them."""
    allow_http_update: bool = False
    """``SIGNALBOX_ALLOW_HTTP_UPDATE``: 1 lets a new agent come over plain http."""
    ca_file: str | None = None
    """``SIGNALBOX_CA_FILE``: the authorities to trust instead of the usual ones, or what stands in for it."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings that ``environment`` holds; SettingsError for the first that makes no sense."""

    def value(name: str, older_name: str) -> str:
        return environment.get(name, "").strip() or environment.get(older_name, "").strip()

    url = value("SIGNALBOX_URL", "VF_URL").rstrip("/")
    if not url:
        raise SettingsError("cannot start: SIGNALBOX_URL is not set (the address of the Signalbox server)")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        raise SettingsError(f"cannot start: SIGNALBOX_URL is not an http or https address: {url!r}")
    try:
        proxy_for(url, environment)
        check_authorities(environment)
    except (ProxyRefusedError, AuthoritiesRefusedError) as error:
        raise SettingsError(f"cannot start: {error}") from error
    authorities = named_authorities(environment)
    data_dir = places.data_dir(environment)
    if "$" in data_dir or "\n" in data_dir:
        # Vector would take it for a variable in the file that we write for it.
        raise SettingsError(f"cannot start: SIGNALBOX_DATA_DIR may hold no dollar sign: {data_dir!r}")
    log_level = value("SIGNALBOX_LOG_LEVEL", "VF_LOG_LEVEL").lower() or "info"
    if log_level not in LOG_LEVELS:
        raise SettingsError(
            f"cannot start: SIGNALBOX_LOG_LEVEL is none of debug, info, warning, error: {log_level!r}"
        )
    return Settings(
        url=url,
        token=value("SIGNALBOX_TOKEN", "VF_TOKEN") or None,
        data_dir=Path(data_dir).absolute(),
        vector_bin=value("SIGNALBOX_VECTOR_BIN", "VF_VECTOR_BIN") or "vector",
        poll_interval_seconds=_seconds(value("SIGNALBOX_POLL_INTERVAL", "VF_POLL_INTERVAL") or "15"),
        labels=parse_labels(value("SIGNALBOX_LABELS", "VF_NODE_LABELS")),
        log_level=LOG_LEVELS[log_level],
        deployment_mode=_deployment_mode(environment.get("SIGNALBOX_DEPLOYMENT_MODE", "").strip().upper()),
        update_key=_update_key(environment.get("SIGNALBOX_UPDATE_KEY", "").strip()),
        allow_http_update=environment.get("SIGNALBOX_ALLOW_HTTP_UPDATE", "").strip() == "1",
        ca_file=authorities[1] if authorities is not None else None,
    )


def parse_labels(text: str) -> dict[str, str]:
    """``k=v,k=v`` as a mapping; SettingsError for a part that is no pair."""
    labels: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise SettingsError(f"cannot start: SIGNALBOX_LABELS has a part that is not key=value: {part!r}")
        labels[key.strip()] = value.strip()
    return labels


def _deployment_mode(text: str) -> DeploymentMode | None:
    if text in ("", DeploymentMode.STANDALONE, DeploymentMode.DOCKER):
        return DeploymentMode(text) if text else None
    raise SettingsError(f"cannot start: SIGNALBOX_DEPLOYMENT_MODE is neither STANDALONE nor DOCKER: {text!r}")


def _update_key(text: str) -> str | None:
    try:
        parse_keys(text)
    except ValueError as error:
        raise SettingsError(f"cannot start: SIGNALBOX_UPDATE_KEY holds no public key: {error}") from error
    return text or None


def _seconds(text: str) -> float:
    match = DURATION.fullmatch(text)
    seconds = float(match[1]) * UNIT_SECONDS[match[2] or "s"] if match else 0.0
    if not 0.5 <= seconds <= 86_400:
        raise SettingsError(
            f"cannot start: SIGNALBOX_POLL_INTERVAL is not between half a second and a day: {text!r}"
        )
    return seconds
