"""``flask --app wsgi doctor``: looks at what the server needs around it and says what to do about the rest."""

from __future__ import annotations

import ipaddress
import resource
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import redis
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import reencryption
from app.config import ROOT, Settings
from app.encryption import Keyring
from app.errors import UnavailableError
from app.push.redis_gate import MASTER, RedisAwayError, RedisGate, RedisRefusedError

LEAST_REDIS = (6, 2)
OUTPUT_BYTES_A_WORKER = 32 * 1024 * 1024
"""What a worker's subscriber that does not read may fill in Redis before it is cut (hazard 22)."""
OTHER_DESCRIPTORS = 1024
"""Beside agents' sockets: requests, connections to Redis and the database, files."""
KEYS_LOOKED_AT = 50


class Level(StrEnum):
    """How bad it is; only ``FAIL`` makes the command fail."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; *text* of a warning or failure says what to do."""

    level: Level
    about: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<4}  {self.about}: {self.text}"


def examine(settings: Settings, engine: Engine) -> Iterator[Finding]:
    """Look at everything, one finding after the other. Changes nothing."""
    yield from _database(engine)
    yield from _secrets(engine, settings)
    gate = RedisGate(settings.redis_url)
    try:
        yield from _redis(gate, settings)
    finally:
        gate.client.close()
    yield descriptors(settings.max_sockets, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield public_url(settings.public_url)
    if settings.oidc is not None:
        yield provider(settings)


def provider(settings: Settings) -> Finding:
    """Whether people can sign in at the provider as far as it can be seen from here."""
    # Here, since no other command needs what asks it.
    from app.oidc_provider import Provider

    about = "provider"
    assert settings.oidc is not None
    try:
        Provider(settings.oidc).look()
    except UnavailableError as error:
        return Finding(
            Level.FAIL,
            about,
            f"cannot be used ({error.__cause__}); look at SIGNALBOX_OIDC_ISSUER and the way to it.",
        )
    if settings.public_url is None:
        return Finding(
            Level.WARN,
            about,
            "answers, but knows one redirect URI: set SIGNALBOX_PUBLIC_URL so that it is ours.",
        )
    return Finding(
        Level.OK, about, f"answers; our redirect URI is {settings.public_url}/sign-in/oidc/callback"
    )


# the database


def _database(engine: Engine) -> Iterator[Finding]:
    # Here, since every worker imports the commands, and Alembic takes a tenth of a second.
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    about = "database"
    try:
        with engine.connect() as connection:
            heads = set(MigrationContext.configure(connection).get_current_heads())
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        yield Finding(
            Level.FAIL, about, f"cannot be reached ({reason}); set SIGNALBOX_DATABASE_URL, or start it."
        )
        return
    yield Finding(Level.OK, about, f"{engine.dialect.name} answers.")
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations"))
    script = ScriptDirectory.from_config(config)
    wanted = set(script.get_heads())
    if heads == wanted:
        yield Finding(Level.OK, "schema", f"is that of this release ({', '.join(sorted(heads))}).")
    elif heads - {revision.revision for revision in script.walk_revisions()}:
        yield Finding(Level.FAIL, "schema", "is of another release; install that, or restore its backup.")
    else:
        yield Finding(Level.FAIL, "schema", "is missing or old; run: flask --app wsgi db upgrade")


def _secrets(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """Whether each stored value's key is still here; nothing where the database cannot be asked."""
    about = "secrets"
    try:
        with Session(engine) as session:
            lost = reencryption.count_unreadable(session, Keyring(settings.encryption_keys))
    except SQLAlchemyError:
        return
    if lost:
        yield Finding(
            Level.FAIL,
            about,
            f"{lost} were encrypted with a key that SIGNALBOX_ENCRYPTION_KEY lacks, and their pipelines are on"
            " hold; put that key back behind the first.",
        )
    else:
        yield Finding(Level.OK, about, "the key of each is here.")


# Redis


def _redis(gate: RedisGate, settings: Settings) -> Iterator[Finding]:
    def ask(command: Callable[[redis.Redis], Any]) -> Any:
        """The answer; ``None`` where Redis forbids the question."""
        try:
            return gate.run(command)
        except RedisRefusedError:
            return None

    try:
        info: Mapping[str, Any] | None = ask(lambda client: client.info())
        if info is None:
            gate.run(lambda client: client.ping())
            yield Finding(Level.WARN, "redis", "answers, but forbids INFO: its version and role are unknown.")
        else:
            yield from server(info)
        config = None
        if info is None or "maxmemory_policy" not in info:
            config = ask(lambda client: client.config_get("maxmemory*"))
        yield memory({**(info or {}), **(config or {})}, settings.web_concurrency)
        yield output_limit(ask(lambda client: client.config_get("client-output-buffer-limit")))
        keys = [ask(lambda client: client.randomkey()) for _ in range(KEYS_LOOKED_AT)]
        yield foreign_keys([key for key in keys if key is not None], settings.redis_prefix)
    except RedisAwayError as error:
        reason = f" ({error.__cause__})" if error.__cause__ else ""
        yield Finding(
            Level.FAIL,
            "redis",
            f"cannot be reached{reason}; set SIGNALBOX_REDIS_URL, or start it. Until then nodes poll.",
        )


def server(info: Mapping[str, Any]) -> Iterator[Finding]:
    """What ``INFO`` says of version and role."""
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) >= LEAST_REDIS:
        yield Finding(Level.OK, "redis", f"answers, version {version}.")
    else:
        least = ".".join(map(str, LEAST_REDIS))
        yield Finding(Level.FAIL, "redis", f"is version {version}; install {least} or newer.")
    role = str(info.get("role", "unknown"))
    if role == MASTER:
        yield Finding(Level.OK, "redis role", "is master.")
    else:
        yield Finding(
            Level.FAIL,
            "redis role",
            f"is {role}; let SIGNALBOX_REDIS_URL lead to the master or to Sentinels.",
        )


def memory(facts: Mapping[str, Any], workers: int) -> Finding:
    """Whether Redis keeps what it holds, and has room for subscribers that do not read (hazard 22)."""
    about = "redis memory"
    if "maxmemory" not in facts:
        return Finding(
            Level.WARN, about, "cannot be checked: Redis forbids INFO and CONFIG; ask who runs it."
        )
    limit = int(facts["maxmemory"])
    policy = str(facts.get("maxmemory_policy") or facts.get("maxmemory-policy"))
    if limit == 0:
        return Finding(Level.OK, about, "has no limit.")
    if policy != "noeviction":
        return Finding(
            Level.FAIL,
            about,
            f"is evicted by {policy}: presence would vanish; set maxmemory-policy noeviction.",
        )
    needed = workers * OUTPUT_BYTES_A_WORKER
    room = limit - int(facts.get("used_memory", 0))
    if room < needed:
        return Finding(
            Level.WARN,
            about,
            f"has {_mb(room)} MB left; raise maxmemory: {_mb(needed)} MB, 32 a worker, may be filled by output.",
        )
    return Finding(Level.OK, about, f"is kept (noeviction), {_mb(room)} MB are left.")


def output_limit(config: Mapping[str, Any] | None) -> Finding:
    """The limit at which Redis cuts a subscriber that does not read."""
    about = "redis client-output-buffer-limit"
    words = str((config or {}).get("client-output-buffer-limit", "")).split()
    if "pubsub" not in words:
        return Finding(
            Level.WARN, about, "cannot be checked: Redis forbids CONFIG; pubsub should be 32mb 8mb 60."
        )
    hard, soft, seconds = (int(word) for word in words[words.index("pubsub") + 1 :][:3])
    said = f"pubsub is {_mb(hard)} MB at once, {_mb(soft)} MB for {seconds} s"
    if hard == 0:
        return Finding(
            Level.WARN, about, f"{said}: a worker that hangs can fill Redis; set pubsub 32mb 8mb 60."
        )
    if hard < OUTPUT_BYTES_A_WORKER:
        return Finding(
            Level.WARN, about, f"{said}: a large deploy may cut workers off; set pubsub 32mb 8mb 60."
        )
    return Finding(Level.OK, about, f"{said}.")


def foreign_keys(sample: Iterable[bytes], prefix: str) -> Finding:
    """Whether some keys drawn at random are somebody else's; only a hint."""
    about = "redis keys"
    foreign = [key for key in sample if not key.lstrip(b"{").startswith(prefix.encode())]
    if foreign:
        example = foreign[0].decode(errors="replace")[:40]
        return Finding(
            Level.WARN, about, f"are also somebody else's ({example!r}); give Signalbox a Redis of its own."
        )
    return Finding(Level.OK, about, f"that were looked at are ours ({prefix}…).")


# this machine


def descriptors(max_sockets: int, limit: int) -> Finding:
    """Whether a worker may open as many files as it would hold sockets."""
    needed = max_sockets + OTHER_DESCRIPTORS
    if limit != resource.RLIM_INFINITY and limit < needed:
        return Finding(
            Level.FAIL,
            "descriptors",
            f"are limited to {limit}, and {max_sockets} sockets a worker need {needed};"
            " raise LimitNOFILE (ulimit -Hn), or lower SIGNALBOX_MAX_SOCKETS.",
        )
    said = "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
    return Finding(Level.OK, "descriptors", f"limit {said}, for {max_sockets} sockets a worker.")


def public_url(url: str | None) -> Finding:
    """Whether agents are told an address that is right from where they are."""
    about = "public URL"
    if url is None:
        return Finding(
            Level.WARN,
            about,
            "is not set: agents are told the address that each request names; set SIGNALBOX_PUBLIC_URL.",
        )
    parts = urlsplit(url)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None:
        return Finding(Level.FAIL, about, f"{url} is no address; set SIGNALBOX_PUBLIC_URL to one.")
    if parts.scheme == "http" and not _is_local(host):
        return Finding(Level.WARN, about, f"{url} sends tokens in the clear; put TLS in front and say https.")
    return Finding(Level.OK, about, f"is {url}.")


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _mb(count: int) -> int:
    return count // (1024 * 1024)
