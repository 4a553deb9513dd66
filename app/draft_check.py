"""Checking a draft while somebody types it: what is wrong, where, and what could be completed."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app import certificate_store, deploys, pipeline_graph, pipeline_yaml, secret_store
from app.database import snapshot
from app.errors import InvalidInputError, NotFoundError, TooManyRequestsError
from app.ids import is_id
from app.models import Environment
from app.pipeline_graph import Graph
from app.pipeline_yaml import Problem
from app.vector_types import TYPES

MAX_BYTES = 128 * 1024
"""A longer draft is checked when it is saved, not at each pause of whoever types it."""
MAX_NAMES = 2000
CHECKS_A_SECOND = 2.0
BURST = 10
MAX_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Checked:
    """What a deploy would refuse, and how events would flow."""

    problems: list[Problem]
    graph: Graph


def check(environment_id: str, config_yaml: str) -> Checked:
    """Judge a draft as a deploy in the environment would; nothing is kept.

    :raises InvalidInputError: it is too long to be checked while it is typed.
    :raises NotFoundError: there is no such environment.
    """
    if len(config_yaml.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        message = f"longer than {MAX_BYTES // 1024} KiB"
        raise InvalidInputError(
            f"The draft is checked when it is saved: it is {message}.",
            [{"field": "configYaml", "message": message}],
        )
    parsed = pipeline_yaml.parse(config_yaml)
    named = pipeline_yaml.references(parsed.tree)

    def read(session: Session) -> list[Problem]:
        _check_environment(session, environment_id)
        return deploys.missing_references(session, environment_id, named)

    problems = [*parsed.problems, *snapshot(read)][: pipeline_yaml.MAX_PROBLEMS]
    return Checked(problems, pipeline_graph.of(parsed))


def completions(environment_id: str) -> dict[str, list[str]]:
    """``{sources, transforms, sinks, secrets, certificates}``: types of components, and names (never values).

    :raises NotFoundError: there is no such environment.
    """

    def read(session: Session) -> tuple[list[str], list[str]]:
        _check_environment(session, environment_id)
        return (
            sorted(secret_store.names(session, environment_id))[:MAX_NAMES],
            sorted(certificate_store.file_names(session, environment_id))[:MAX_NAMES],
        )

    secrets, certificates = snapshot(read)
    types = {table: list(names) for table, names in TYPES.items()}
    return {**types, "secrets": secrets, "certificates": certificates}


def _check_environment(session: Session, environment_id: str) -> None:
    if not is_id(environment_id) or session.get(Environment, environment_id) is None:
        raise NotFoundError("There is no such environment.")


class CheckRate:
    """How often somebody may have a draft checked: in each worker ten at once, then two a second.

    *clock* answers monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()
        """By account, when its bucket would be full again."""

    def take(self, account_id: str) -> None:
        """Count one check.

        :raises TooManyRequestsError: the account has had too many lately.
        """
        now = self._clock()
        full_at = max(self._full_at.pop(account_id, now), now) + 1 / CHECKS_A_SECOND
        is_too_much = full_at - now > BURST / CHECKS_A_SECOND
        self._full_at[account_id] = full_at - 1 / CHECKS_A_SECOND if is_too_much else full_at
        if len(self._full_at) > MAX_REMEMBERED:
            self._full_at.popitem(last=False)
        if is_too_much:
            raise TooManyRequestsError(
                "The draft was checked too often; it is checked again soon.", retry_after=1
            )
