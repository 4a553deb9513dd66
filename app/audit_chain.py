"""The audit log as a chain: each entry's hash covers the entry and the hash before it (ADR 21).

Whoever changes, removes or inserts an entry afterwards breaks every hash from there on. Somebody who may write to
the database could compute them anew; so each link is also a line in the server's log, and ``flask audit verify
--head`` compares the chain with a link that was kept elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from app.database import snapshot
from app.models import AuditEntry, AuditHead

FIRST = "0" * 64
"""What stands before the first link."""
HEAD = 1
"""The id of the only row of ``audit_head``."""
SEALED_AT_ONCE = 1000
_APPENDED = "signalbox.audit"
CHUNK = 500
"""Entries in memory while the chain is read."""

log = logging.getLogger("signalbox.audit")


@dataclass(frozen=True, slots=True)
class Link:
    """One entry as the chain has it."""

    sequence: int
    hash: str
    id: str
    at: datetime
    actor: str
    address: str | None
    action: str
    environment_id: str | None
    subject_id: str | None
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """A line of an exported chain."""
        return {
            "sequence": self.sequence,
            "hash": self.hash,
            "id": self.id,
            "at": moment(self.at),
            "actor": self.actor,
            "address": self.address,
            "action": self.action,
            "environmentId": self.environment_id,
            "subjectId": self.subject_id,
            "detail": self.detail,
        }

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Link:
        """What ``as_json`` wrote.

        :raises ValueError: it is not such a line.
        """
        try:
            return cls(
                int(line["sequence"]),
                str(line["hash"]),
                line["id"],
                datetime.fromisoformat(line["at"]),
                line["actor"],
                line["address"],
                line["action"],
                line["environmentId"],
                line["subjectId"],
                line["detail"],
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"it is not an exported entry ({error!r})") from error


@dataclass(frozen=True, slots=True)
class Finding:
    """What a verification found."""

    entries: int
    """Entries looked at."""
    head: tuple[int, str]
    """The newest link that could be computed: sequence and hash."""
    faults: tuple[str, ...]
    """What is wrong, a sentence each; none: the chain is whole."""


def moment(at: datetime) -> str:
    """*at* in UTC with all six digits of its microseconds, however the database keeps it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def digest(previous: str, link: Link) -> str:
    """The hash of *link* after the hash *previous*: SHA-256 of a JSON array of both, keys sorted, in ASCII."""
    content = [
        previous,
        link.sequence,
        link.id,
        moment(link.at),
        link.actor,
        link.address,
        link.action,
        link.environment_id,
        link.subject_id,
        link.detail,
    ]
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    ).hexdigest()


def append(session: Session, entry: AuditEntry) -> None:
    """Let *entry* be written by ``seal``, at the end of the session's transaction."""
    session.info.setdefault(_APPENDED, []).append(entry)


def seal(session: Session) -> Callable[[], None]:
    """Write the appended entries, each with the next place; the last act of a transaction that has any.

    Entries that a release from before the chain wrote during an upgrade are sealed by whoever comes next. Returns
    what logs the new links once they are committed.
    """
    appended: list[AuditEntry] = session.info.pop(_APPENDED, [])
    session.flush()
    is_waiting = exists().where(AuditEntry.sequence.is_(None))
    head, has_waiting = session.execute(
        select(AuditHead, is_waiting).where(AuditHead.id == HEAD).with_for_update(of=AuditHead)
    ).one()
    entries: Iterable[AuditEntry] = appended
    session.add_all(appended)
    if has_waiting or not all(_comes_back_as_it_is(entry.detail) for entry in appended):
        session.flush()
        entries = session.scalars(
            select(AuditEntry)
            .where(AuditEntry.sequence.is_(None))
            .order_by(AuditEntry.id)
            .limit(SEALED_AT_ONCE)
            .execution_options(populate_existing=True)  # what is hashed is what the database gives back
        )
    links = []
    for entry in entries:
        entry.sequence = head.sequence + 1
        entry.hash = head.hash = digest(head.hash, _link(entry))
        head.sequence = entry.sequence
        links.append((entry.sequence, entry.hash, entry.action))
    session.flush()

    def tell() -> None:
        for sequence, hash_, action in links:
            log.info("audit entry sequence=%d hash=%s action=%s", sequence, hash_, action)

    return tell


def _comes_back_as_it_is(detail: Any) -> bool:
    """Whether every database gives *detail* back as it was: PostgreSQL makes 1e16 a whole number, for one."""
    if isinstance(detail, dict):
        return all(isinstance(key, str) and _comes_back_as_it_is(value) for key, value in detail.items())
    if isinstance(detail, list | tuple):
        return all(map(_comes_back_as_it_is, detail))
    return detail is None or isinstance(detail, str | int)


def read(after: int = 0) -> Iterator[Link]:
    """All links behind the sequence *after*, oldest first; few are in memory."""
    while True:
        links = snapshot(partial(_links_behind, after))
        yield from links
        if len(links) < CHUNK:
            return
        after = links[-1].sequence


def _links_behind(after: int, session: Session) -> list[Link]:
    query = select(AuditEntry).where(AuditEntry.sequence > after).order_by(AuditEntry.sequence).limit(CHUNK)
    return [_link(entry) for entry in session.scalars(query)]


def verify(
    expected: tuple[int, str] | None = None, progress: Callable[[int], None] = lambda _: None
) -> Finding:
    """Compute the whole chain anew and compare it with what is stored, and with *expected*, a link kept elsewhere.

    *progress* is told the number of entries from time to time.
    """

    def head_and_waiting(session: Session) -> tuple[tuple[int, str] | None, int]:
        head = session.get(AuditHead, HEAD)
        waiting = session.scalar(
            select(func.count()).select_from(AuditEntry).where(AuditEntry.sequence.is_(None))
        )
        return (head.sequence, head.hash) if head else None, waiting or 0

    # The head first: what is written while this reads lies behind it.
    head, waiting = snapshot(head_and_waiting)
    finding = check(read(), expected, head, progress)
    faults = list(finding.faults)
    if head is None:
        faults.append("The chain's head is missing: it was removed.")
    if waiting:
        faults.append(
            f"{waiting} entries are not in the chain: an older release wrote them, which the next audited act mends,"
            " or somebody put them there."
        )
    return Finding(finding.entries, finding.head, tuple(faults))


def check(
    links: Iterable[Link],
    expected: tuple[int, str] | None = None,
    head: tuple[int, str] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Finding:
    """Compute the chain of *links*, which begin with the first; the faults of the first broken place alone.

    *head* and *expected* are links that it must hold: the stored head, and one that was kept elsewhere.
    """
    previous, sequence, count = FIRST, 0, 0
    wanted = [(link, name) for link, name in ((head, "the head"), (expected, "the link given")) if link]
    faults: list[str] = []
    for link in links:
        if link.sequence != sequence + 1:
            missing = link.sequence - sequence - 1
            faults.append(f"{missing} entries before number {link.sequence} are missing: they were removed.")
            break
        computed = digest(previous, link)
        if computed != link.hash:
            faults.append(
                f"Entry {link.sequence} ({link.id}, {link.action}, {moment(link.at)}) does not have the hash of what"
                " it says: it, or the one before it, was changed after it was written."
            )
            break
        previous, sequence, count = computed, link.sequence, count + 1
        for (at, hash_), name in wanted:
            if at == sequence and hash_ != computed:
                faults.append(
                    f"Entry {at} has the hash {computed}, but {name} says {hash_}: the chain was written anew."
                )
        if count % CHUNK == 0:
            progress(count)
    else:
        for (at, _), name in wanted:
            if at > sequence:
                faults.append(
                    f"The chain ends with number {sequence}, but {name} is number {at}: the newest"
                    f" {at - sequence} were removed."
                )
    return Finding(count, (sequence, previous), tuple(faults))


def _link(entry: AuditEntry) -> Link:
    return Link(
        entry.sequence or 0,
        entry.hash or "",
        entry.id,
        entry.at,
        entry.actor,
        entry.address,
        entry.action,
        entry.environment_id,
        entry.subject_id,
        entry.detail,
    )
