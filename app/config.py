"""Every setting once: its name, default, unit and environment variable.

``Settings.from_environ`` is the only reader of ``SIGNALBOX_*`` variables in the server.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from app import oidc_settings
from app.oidc_settings import OidcSettings, OidcSettingsError
from app.push import redis_url

ROOT = Path(__file__).resolve().parent.parent


class SettingsError(Exception):
    """The settings cannot be used; the message is one sentence that says what to set."""


@dataclass(frozen=True)
class Settings:
    """What an operator can set before the server starts."""

    bind: str
    """``SIGNALBOX_BIND``: where gunicorn listens, ``host:port`` or ``unix:path``; default ``127.0.0.1:8000``."""
    web_concurrency: int
    """``WEB_CONCURRENCY``: gunicorn's workers; default 2."""
    database_url: str
    """``SIGNALBOX_DATABASE_URL``: SQLAlchemy URL; default a SQLite file under ``instance/``."""
    redis_url: str
    """``SIGNALBOX_REDIS_URL``: ``redis[s]://``, ``unix://`` or ``redis[s]+sentinel://``; default local, port 6379."""
    redis_prefix: str
    """``SIGNALBOX_REDIS_PREFIX``: what every key and channel starts with; default ``signalbox:``."""
    secret_key: str
    """``SIGNALBOX_SECRET_KEY``: signs sessions and forms; required, at least 16 characters."""
    encryption_keys: tuple[bytes, ...]
    """``SIGNALBOX_ENCRYPTION_KEY``: base64url of 32 bytes, several by comma, the first encrypts; required."""
    public_url: str | None
    """``SIGNALBOX_PUBLIC_URL``: how agents and browsers reach the server; default from the request."""
    trusted_proxies: int
    """``SIGNALBOX_TRUSTED_PROXIES``: how many proxies stand in front; default 0."""
    max_sockets: int
    """``SIGNALBOX_MAX_SOCKETS``: agents' sockets that one worker holds at most; default 10000."""
    upgrade_rate: int
    """``SIGNALBOX_UPGRADE_RATE``: upgrades that one worker takes a second, with a burst of one second's worth;
    default 1000: a third of one core, measured, so that plain requests and the looks that follow have their share."""
    poll_interval_ms: int
    """``SIGNALBOX_POLL_INTERVAL_MS``: an agent's poll interval without the push channel; default 15000."""
    idle_poll_interval_ms: int
    """``SIGNALBOX_IDLE_POLL_INTERVAL_MS``: the poll interval while the channel is up; default 300000."""
    heartbeat_interval_ms: int
    """``SIGNALBOX_HEARTBEAT_INTERVAL_MS``: heartbeat interval without the channel; default 15000."""
    idle_heartbeat_interval_ms: int
    """``SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS``: heartbeat interval while the channel is up; default 60000."""
    heartbeat_budget: int
    """``SIGNALBOX_HEARTBEAT_BUDGET``: heartbeats a second of the whole fleet at most, to which the server stretches
    their intervals; default 500: two busy workers take more."""
    api_rate: int
    """``SIGNALBOX_API_RATE``: requests a second that one API token may make, over ten seconds; default 300, 0 is no
    limit."""
    sweep_interval_seconds: float
    """``SIGNALBOX_SWEEP_INTERVAL``: seconds between two looks for nodes that missed a nudge; default 30."""
    alert_interval_seconds: float
    """``SIGNALBOX_ALERT_INTERVAL``: seconds between two evaluations of the alert rules; default 10."""
    metrics_token: str | None
    """``SIGNALBOX_METRICS_TOKEN``: what ``/metrics`` asks for as a bearer token; default nothing."""
    access_log: str | None
    """``SIGNALBOX_ACCESS_LOG``: file that gets one JSON line a request; default none, ``-`` is standard output."""

    agent_file: Path
    """``SIGNALBOX_AGENT_FILE``: what ``make agent`` has built, its ``.json`` beside it; default in ``dist/``."""
    webhook_networks: tuple[IPv4Network | IPv6Network, ...]
    """``SIGNALBOX_WEBHOOK_NETWORKS``: networks, by comma, into which webhooks may go although they are not public,
    also without TLS; default none."""
    local_accounts: bool
    """``SIGNALBOX_LOCAL_ACCOUNTS``: ``on`` or ``off``: whether people sign in with passwords; default ``on``."""
    oidc: OidcSettings | None
    """``SIGNALBOX_OIDC_ISSUER``: an OpenID Connect provider at which people sign in, with the other variables of this
    name, see ``oidc_settings.OidcSettings``; default none."""
    log_level: str
    """``SIGNALBOX_LOG_LEVEL``: ``debug``, ``info``, ``warning`` or ``error``; default ``info``."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from *environ*.

        :raises SettingsError: a required variable is missing or one cannot be understood.
        """

        def text(name: str) -> str | None:
            return environ.get(name, "").strip() or None

        def number(name: str, default: int, least: int = 0) -> int:
            value = text(name)
            if value is None:
                return default
            if not value.isdecimal() or not least <= int(value) <= 2**31 - 1:
                raise SettingsError(f"Cannot start: {name} must be a whole number of at least {least}.")
            return int(value)

        def seconds(name: str, default: float) -> float:
            value = text(name)
            try:
                result = default if value is None else float(value)
            except ValueError:
                result = 0.0
            if not 0 < result < 1e6:
                raise SettingsError(f"Cannot start: {name} must be a number of seconds above 0.")
            return result

        secret_key = text("SIGNALBOX_SECRET_KEY")
        if secret_key is None or len(secret_key) < 16:
            raise SettingsError(
                "Cannot start: SIGNALBOX_SECRET_KEY must be set to at least 16 random characters"
                " (for example the output of: openssl rand -hex 32)."
            )
        public_url = text("SIGNALBOX_PUBLIC_URL")
        if public_url is not None:
            parts = urlsplit(public_url)
            if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
                raise SettingsError(
                    "Cannot start: SIGNALBOX_PUBLIC_URL must look like https://signalbox.example."
                )
            public_url = public_url.rstrip("/")
        log_level = (text("SIGNALBOX_LOG_LEVEL") or "info").lower()
        if log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError("Cannot start: SIGNALBOX_LOG_LEVEL must be debug, info, warning or error.")
        local_accounts = (text("SIGNALBOX_LOCAL_ACCOUNTS") or "on").lower()
        if local_accounts not in ("on", "off"):
            raise SettingsError("Cannot start: SIGNALBOX_LOCAL_ACCOUNTS must be on or off.")
        try:
            oidc = oidc_settings.read(
                issuer=text("SIGNALBOX_OIDC_ISSUER"),
                client_id=text("SIGNALBOX_OIDC_CLIENT_ID"),
                client_secret=text("SIGNALBOX_OIDC_CLIENT_SECRET"),
                scopes=text("SIGNALBOX_OIDC_SCOPES"),
                groups_claim=text("SIGNALBOX_OIDC_GROUPS_CLAIM"),
                roles=text("SIGNALBOX_OIDC_ROLES"),
                label=text("SIGNALBOX_OIDC_LABEL"),
            )
        except OidcSettingsError as error:
            raise SettingsError(f"Cannot start: {error}") from None
        if local_accounts == "off" and oidc is None:
            raise SettingsError(
                "Cannot start: SIGNALBOX_LOCAL_ACCOUNTS can be off only where SIGNALBOX_OIDC_ISSUER is set."
            )
        return cls(
            bind=text("SIGNALBOX_BIND") or "127.0.0.1:8000",
            web_concurrency=number("WEB_CONCURRENCY", 2, 1),
            database_url=_database_url(text("SIGNALBOX_DATABASE_URL")),
            redis_url=_redis_url(text("SIGNALBOX_REDIS_URL") or "redis://127.0.0.1:6379/0"),
            redis_prefix=environ.get("SIGNALBOX_REDIS_PREFIX", "signalbox:"),
            secret_key=secret_key,
            encryption_keys=_encryption_keys(text("SIGNALBOX_ENCRYPTION_KEY")),
            public_url=public_url,
            trusted_proxies=number("SIGNALBOX_TRUSTED_PROXIES", 0),
            max_sockets=number("SIGNALBOX_MAX_SOCKETS", 10_000, 1),
            upgrade_rate=number("SIGNALBOX_UPGRADE_RATE", 1000, 1),
            poll_interval_ms=number("SIGNALBOX_POLL_INTERVAL_MS", 15_000, 1000),
            idle_poll_interval_ms=number("SIGNALBOX_IDLE_POLL_INTERVAL_MS", 300_000, 1000),
            heartbeat_interval_ms=number("SIGNALBOX_HEARTBEAT_INTERVAL_MS", 15_000, 1000),
            idle_heartbeat_interval_ms=number("SIGNALBOX_IDLE_HEARTBEAT_INTERVAL_MS", 60_000, 1000),
            heartbeat_budget=number("SIGNALBOX_HEARTBEAT_BUDGET", 500, 1),
            api_rate=number("SIGNALBOX_API_RATE", 300),
            sweep_interval_seconds=seconds("SIGNALBOX_SWEEP_INTERVAL", 30.0),
            alert_interval_seconds=seconds("SIGNALBOX_ALERT_INTERVAL", 10.0),
            metrics_token=text("SIGNALBOX_METRICS_TOKEN"),
            access_log=text("SIGNALBOX_ACCESS_LOG"),
            agent_file=Path(text("SIGNALBOX_AGENT_FILE") or ROOT / "dist" / "signalbox-agent.pyz").absolute(),
            webhook_networks=_networks(text("SIGNALBOX_WEBHOOK_NETWORKS")),
            local_accounts=local_accounts == "on",
            oidc=oidc,
            log_level=log_level,
        )

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is a SQLite file."""
        return self.database_url.startswith("sqlite")


def _networks(value: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(part.strip()) for part in (value or "").split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(
            "Cannot start: SIGNALBOX_WEBHOOK_NETWORKS must be networks such as 10.1.0.0/16 or fd00::/8,"
            f" by comma ({error})."
        ) from None


def _redis_url(value: str) -> str:
    """*value*, if it leads to a Redis or to Sentinels."""
    try:
        redis_url.parse(value)
    except redis_url.RedisUrlError as error:
        raise SettingsError(f"Cannot start: SIGNALBOX_REDIS_URL {error}") from None
    return value


def _database_url(value: str | None) -> str:
    """The SQLAlchemy URL; every spelling of PostgreSQL means psycopg 3."""
    if value is None:
        return f"sqlite:///{ROOT / 'instance' / 'signalbox.db'}"
    scheme, separator, rest = value.partition("://")
    if not separator:
        raise SettingsError(
            "Cannot start: SIGNALBOX_DATABASE_URL must be a URL such as postgresql://host/name."
        )
    if scheme in ("postgres", "postgresql", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    if scheme in ("sqlite", "sqlite+pysqlite"):
        if not rest.strip("/") or rest.lstrip("/") == ":memory:":
            raise SettingsError("Cannot start: SIGNALBOX_DATABASE_URL must name a SQLite file, not memory.")
        return f"sqlite://{rest}"
    raise SettingsError("Cannot start: SIGNALBOX_DATABASE_URL must begin with postgresql:// or sqlite://.")


def _encryption_keys(value: str | None) -> tuple[bytes, ...]:
    sentence = (
        "Cannot start: SIGNALBOX_ENCRYPTION_KEY must be the base64url form of 32 random bytes"
        " (for example the output of: openssl rand -base64 32 | tr '+/' '-_')."
    )
    if value is None:
        raise SettingsError(sentence)
    keys = []
    for part in value.split(","):
        try:
            key = base64.urlsafe_b64decode(
                part.strip().rstrip("=") + "=" * (-len(part.strip().rstrip("=")) % 4)
            )
        except (binascii.Error, ValueError):
            raise SettingsError(sentence) from None
        if len(key) != 32:
            raise SettingsError(sentence)
        keys.append(key)
    return tuple(keys)
