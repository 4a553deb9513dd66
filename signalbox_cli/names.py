"""Finding what a word on the command line means: an id, or a name, with help where it is neither or too many."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence

from signalbox_cli.client import Api, Row, path
from signalbox_cli.failures import UnknownFailure, UsageFailure

MAX_SUGGESTIONS = 3
MAX_CANDIDATES = 10
_ID = re.compile(r"[0-9a-f]{32}")


def environment(api: Api, wanted: str | None) -> Row:
    """The environment of this name or id; without one, the only one that there is.

    :raises UnknownFailure: there is none of it, or none at all.
    :raises UsageFailure: none is named, and there are several.
    """
    known = list(api.rows("/environments"))
    if wanted is not None:
        return _one("environment", wanted, known, lambda found: [str(row["id"]) for row in found])
    if len(known) == 1:
        return known[0]
    if not known:
        raise UnknownFailure("There is no environment that this token may see.")
    names = ", ".join(sorted(row["name"] for row in known))
    raise UsageFailure(f"Which environment is meant? Name it: -e NAME, one of {names}.")


def pipeline(api: Api, wanted: str, named: str | None, default: str | None = None) -> Row:
    """The pipeline of this name or id, of the environment that is *named*, else of the *default*, else of all.

    ``ENVIRONMENT/NAME`` names one too.

    :raises UnknownFailure: there is none.
    :raises UsageFailure: several environments have one of the name.
    """
    found = _by_id(api, "/pipelines", wanted)
    if found is not None:
        return found
    before, slash, after = wanted.partition("/")
    if slash and named is None and any(row["name"] == before for row in api.rows("/environments")):
        wanted, named = after, before
    place = _place(api, named or default)
    rows = list(api.rows("/pipelines", {"environmentId": _id_of(place), "name": wanted}))
    if not any(row["name"] == wanted for row in rows):
        rows = list(api.rows("/pipelines", {"environmentId": _id_of(place)}))

    def describe(found: Sequence[Row]) -> list[str]:
        names = {row["id"]: row["name"] for row in api.rows("/environments")}
        return [f"{names.get(row['environmentId'], '?')}/{row['name']}" for row in found]

    return _one("pipeline", wanted, rows, describe, place)


def node(api: Api, wanted: str, environment_name: str | None) -> Row:
    """The node of this name or id, of one environment or of all.

    :raises UnknownFailure: there is none.
    :raises UsageFailure: several have the name.
    """
    found = _by_id(api, "/nodes", wanted)
    if found is not None:
        return found
    place = _place(api, environment_name)
    rows = list(api.rows("/nodes", {"environmentId": _id_of(place), "q": wanted}))
    if not any(row["name"] == wanted for row in rows):
        rows = list(api.rows("/nodes", {"environmentId": _id_of(place)}))
    return _one(
        "node", wanted, rows, lambda found: [f"{row['id']} (host {row['host']})" for row in found], place
    )


def similar(word: str, known: Iterable[str]) -> str:
    """`` Did you mean a or b?``, or nothing."""
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), by_lower, MAX_SUGGESTIONS)
    return f" Did you mean {' or '.join(by_lower[each] for each in close)}?" if close else ""


def _by_id(api: Api, list_path: str, wanted: str) -> Row | None:
    if not _ID.fullmatch(wanted):
        return None
    try:
        row: Row = api.get(list_path + path(wanted))
    except UnknownFailure:
        return None  # a name may look like an id
    return row


def _place(api: Api, name: str | None) -> Row | None:
    return None if name is None else environment(api, name)


def _id_of(place: Row | None) -> str | None:
    return None if place is None else str(place["id"])


def _one(
    kind: str,
    wanted: str,
    rows: Sequence[Row],
    describe: Callable[[Sequence[Row]], list[str]],
    place: Row | None = None,
) -> Row:
    found = [row for row in rows if row["id"] == wanted] or [row for row in rows if row["name"] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        details = describe(found[:MAX_CANDIDATES])
        if len(found) > MAX_CANDIDATES:
            details.append(f"and {len(found) - MAX_CANDIDATES} more")
        raise UsageFailure(f'{len(found)} {kind}s are called "{wanted}". Which one is meant?', details)
    known = sorted({row["name"] for row in rows})
    hint = similar(wanted, known)
    if known and not hint:
        hint = f" Known: {', '.join(known[:MAX_CANDIDATES])}{', …' if len(known) > MAX_CANDIDATES else ''}."
    where = f" in {place['name']}" if place is not None else ""
    raise UnknownFailure(f'There is no {kind} "{wanted}"{where}.{hint}')
