"""Whether to take an update up, and whether the new agent has proved itself. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.ed25519 import is_key, verify
from agent.plan import PendingAction

VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}")
CHECKSUM = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class UpdateTiming:
    """The delays of an update's life; seconds."""

    patience: float = 120.0
    """A new agent that the server answers has so long to prove itself."""
    longest: float = 900.0
    """After so long without the server the old agent takes over again, for the time being."""
    retry: float = 300.0
    """The server has answered the old agent again: so long, or half of it, until the next trial."""
    margin: float = 30.0
    """The starter ends a new agent that has not judged itself so much later."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a life of the agent begins with: how it was installed and what became of earlier updates."""

    version: str
    refusal: str | None = None
    """Why this agent cannot update itself at all."""
    keys: tuple[bytes, ...] = ()
    """Ed25519 public keys; one of them must have signed an update, if there are any."""
    allow_http: bool = False
    failed: Mapping[tuple[str, str], str] | None = None
    """Why (version, digest) failed here before."""
    trial: Trial | None = None
    """This life is a trial."""
    retry: Trial | None = None
    """A trial that was put off."""
    last_action_id: str | None = None
    last_error: str | None = None
    """How the last trial ended."""


UNKNOWN_STANDING = Standing(version="")


@dataclass(frozen=True, slots=True)
class Trial:
    """A new agent has to show that it can do at least what the old one did."""

    action_id: str
    version: str
    digest: str
    had_link: bool
    """Whether the old one had its push channel up."""
    running: tuple[str, ...]
    """Ids of the pipelines that ran under the old one."""
    timing: UpdateTiming = UpdateTiming()
    postponed: int = 0
    """How many trials of this file have passed without the server answering."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An update that was found good to try."""

    action_id: str
    version: str
    url: str
    digest: str
    """SHA-256, 64 hex digits in lower case."""


def examine(action: PendingAction, standing: Standing) -> Wanted | str | None:
    """The update to fetch, or in one sentence why not; ``None`` if that version runs already."""
    if standing.refusal is not None:
        return f"cannot update: {standing.refusal}"
    version, url = action.target_version, action.download_url
    match = CHECKSUM.fullmatch(action.checksum or "")
    if version is None or url is None or match is None:
        return "cannot update: the action must name targetVersion, downloadUrl and checksum (sha256:<64 hex>)"
    wanted, own = parse_version(version), parse_version(standing.version)
    if wanted is None:
        return f"cannot update: {version!r} is not a version such as 1.2.3"
    if own is not None and wanted == own:
        return None
    if own is not None and wanted < own:
        return f"cannot update: {version} is older than {standing.version}, which runs; install it by hand"
    digest = match[1].lower()
    if (reason := (standing.failed or {}).get((version, digest))) is not None:
        return f"cannot update: this file of {version} failed here before: {reason}"
    if (refusal := refuse_url(url, allow_http=standing.allow_http)) is not None:
        return f"cannot update: {refusal}"
    if standing.keys and not is_signed(version, digest, action.signature, standing.keys):
        what = "is not signed" if not action.signature else "is not signed by a key that this node trusts"
        return f"cannot update: {version} {what}"
    return Wanted(action.action_id, version, url, digest)


def refuse_url(url: str, *, allow_http: bool) -> str | None:
    """Why nothing is fetched from there; ``None`` if it may be."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return f"{url!r} is not an address"
    if parts.scheme == "https" and host:
        return None
    if parts.scheme == "http" and host:
        return None if allow_http else "it would come over http; SIGNALBOX_ALLOW_HTTP_UPDATE=1 allows that"
    return f"{url!r} is not an https address"


def parse_version(text: str) -> tuple[int, ...] | None:
    """``1.2.3`` as numbers, four of them, that compare as versions do; ``None`` for anything else."""
    if not VERSION.fullmatch(text):
        return None
    numbers = tuple(map(int, text.split(".")))
    return numbers + (0,) * (4 - len(numbers))


def signed_message(version: str, digest: str) -> bytes:
    """What a signature covers: neither can be exchanged for another one's."""
    return f"signalbox-agent\nversion {version}\nsha256 {digest}\n".encode()


def is_signed(version: str, digest: str, signature: str | None, keys: tuple[bytes, ...]) -> bool:
    """Whether one of the keys has signed this version of these bytes; ``signature`` is base64."""
    try:
        raw = base64.b64decode(signature or "", validate=True)
    except (binascii.Error, ValueError):
        return False
    return any(verify(key, raw, signed_message(version, digest)) for key in keys)


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Public keys, base64 of 32 bytes, several by comma; ValueError for one that is none."""
    keys = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            key = base64.b64decode(part, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{part!r} is not base64") from error
        if not is_key(key):
            raise ValueError(f"{part!r} is not an Ed25519 public key")
        keys.append(key)
    return tuple(keys)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a trial ends; without a reason it is accepted."""

    reason: str | None = None
    server_is_away: bool = False
    """Nothing can be said about the new agent; the trial is put off."""


class TrialJudge:
    """Watches a life on trial. The clock of its patience stands still while the server is away."""

    def __init__(self, trial: Trial, now: float) -> None:
        self._trial = trial
        self._began_at = now
        self._reachable_since = now
        self._is_away = True
        """Of the last words that were exchanged with the server; none is as good as unanswered."""
        self._has_configuration = self._has_reported = False
        self.extension: float | None = None
        """Seconds after the start until which the starter is to wait, once that was asked for."""

    def configured(self, now: float) -> None:
        """The configuration was fetched and understood."""
        self._has_configuration = True
        self.answered(now)

    def reported(self, now: float) -> None:
        """A heartbeat was taken."""
        self._has_reported = True
        self.answered(now)

    def answered(self, now: float) -> None:
        """The server said something, if only no."""
        if self._is_away and now > self._began_at:
            self._reachable_since = now
        self._is_away = False

    def unanswered(self) -> None:
        """A request did not reach the server, or it was in no state to answer."""
        self._is_away = True

    def judge(
        self, now: float, *, has_link: bool, running: frozenset[str], wanted: frozenset[str]
    ) -> Verdict | None:
        """The verdict, once there is one. ``running`` and ``wanted`` are ids of pipelines."""
        missing = self._missing(has_link, running, wanted)
        if not missing:
            return Verdict()
        timing = self._trial.timing
        if self._is_away:
            if now >= self._began_at + timing.longest:
                return Verdict("the server did not answer", server_is_away=True)
            if now >= self._began_at + timing.patience:
                self.extension = timing.longest + timing.patience + timing.margin
            return None
        if now >= self._reachable_since + timing.patience:
            return Verdict(f"within {timing.patience:g} s it {', '.join(missing)}")
        return None

    def next_deadline(self) -> float:
        """When :meth:`judge` may say something because of the time."""
        timing = self._trial.timing
        if not self._is_away:
            return self._reachable_since + timing.patience
        if self.extension is None:
            return self._began_at + timing.patience
        return self._began_at + timing.longest

    def _missing(self, has_link: bool, running: frozenset[str], wanted: frozenset[str]) -> list[str]:
        missing = []
        if not self._has_configuration:
            missing.append("fetched no configuration")
        if not self._has_reported:
            missing.append("got no heartbeat through")
        if self._trial.had_link and not has_link:
            missing.append("did not open the push channel")
        if dead := sorted((set(self._trial.running) & wanted) - running):
            missing.append(f"did not get pipeline {' and '.join(dead)} to run")
        return missing
