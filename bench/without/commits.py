"""Hazard 28: texts are stored as they come, rows are locked in the order in which heartbeats came, and what one
heartbeat of a group cannot do, or a deadlock, fails all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session

from app import database, group_commit, heartbeat_body, heartbeat_rows, json_body
from bench.without import replace

_LOCK = text("SELECT id FROM node WHERE id = :id FOR NO KEY UPDATE")


def remove(app: Flask) -> None:
    """Replace the cleaning of texts, the order within a group, the search for a culprit, and second attempts."""
    replace(json_body, "clean", _as_it_is)
    replace(heartbeat_body, "clean", _as_it_is)
    replace(database, "is_passing", lambda error: False)
    replace(group_commit.GroupCommit, "_commit", _commit)
    replace(group_commit.GroupCommit, "_take", _take)
    replace(app.extensions["heartbeat_commits"], "_write", _write)


def _as_it_is(value: str) -> str:
    return value


def _take(self: Any) -> list[Any]:
    group = [self._waiting.popleft()]
    weight = self._weight(group[0].item)
    while (
        self._waiting
        and (weight := weight + self._weight(self._waiting[0].item)) <= group_commit.WEIGHT_AT_ONCE
    ):
        group.append(self._waiting.popleft())
    return group


def _write(session: Session, beats: Sequence[heartbeat_rows.Beat]) -> list[heartbeat_rows.Outcome]:
    for beat in beats:
        session.execute(_LOCK, {"id": beat.node_id})
    return heartbeat_rows.write(session, beats)


def _commit(self: Any, group: Sequence[Any]) -> None:
    def together(session: Session) -> Sequence[Any]:
        results: Sequence[Any] = self._write(session, [entry.item for entry in group])
        return results

    try:
        for entry, result in zip(group, database.transaction(together), strict=True):
            entry.decide(result, None)
    except Exception as error:
        for entry in group:
            entry.decide(None, error)
