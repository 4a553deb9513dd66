"""Every list of the operator API, read in pages of two while rows come and go around the cursor."""

from typing import get_origin

import pytest
from flask import Flask

from app.operator_api import answers, history_answers, openapi
from app.operator_api.queries import InEnvironment, Listing
from app.paging import encode_cursor
from tests.app.conftest import Script
from tests.app.list_rows import FILL, LISTS, Maker, Rows

MOST_PAGES = 40
"""Of a walk that ends; what is added while it goes on is less than what it reads."""


def lists(app: Flask) -> dict[str, openapi.Route]:
    """The routes that answer with a page, or take the parameters of one."""
    found = {}
    for route in openapi.routes(app):
        answer, query = route.contract.answer, route.contract.query
        is_page = get_origin(answer) is answers.Page or "items" in getattr(answer, "__annotations__", ())
        if is_page or (query is not None and issubclass(query, Listing)):
            found[route.endpoint] = route
    return found


def test_every_list_is_walked_and_paged(app: Flask) -> None:
    """A list that nobody here can make rows of fails, and one that does not take `limit` and `cursor`."""
    found = lists(app)
    assert set(found) == set(LISTS)
    for endpoint, route in found.items():
        query = route.contract.query
        assert query is not None, endpoint
        assert issubclass(query, Listing), endpoint
    assert found["deployments.show"].contract.answer is history_answers.Deployment


def test_every_list_stays_right_while_it_changes(app: Flask, script: Script) -> None:
    """No row comes twice and none that stays is skipped, though rows come on both sides of the cursor and go: the
    very row that it names among them, and one that is still to come.
    """
    make = Maker(app, script)
    faults = []
    for endpoint, route in lists(app).items():
        home = make.home()
        rows = LISTS[endpoint](make, home)
        query = route.contract.query
        if query is not None and issubclass(query, InEnvironment):
            LISTS[endpoint](make, make.home()).add(0)  # elsewhere, so it is not to be listed
            rows.query["environmentId"] = home
        faults += [f"{endpoint}: {fault}" for fault in _walk(script, rows)]
    assert faults == []


def _page(script: Script, rows: Rows, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
    """The keys of a page, and what asks for the next one."""
    more = {"cursor": cursor} if cursor is not None else {}
    answer = script.get(rows.path, limit=str(limit), **rows.query, **more)
    page = answer[rows.inside] if rows.inside else answer
    assert len(page["items"]) == limit or page["nextCursor"] is None, rows.path
    assert len(page["items"]) <= limit, rows.path
    return [str(row[rows.key]) for row in page["items"]], page["nextCursor"]


def _walk(script: Script, rows: Rows) -> list[str]:
    """What is wrong with one list."""
    theirs, _ = _page(script, rows, 500, None)
    for number in range(FILL):
        rows.add(number)
    before, _ = _page(script, rows, 500, None)
    if len(before) != len(theirs) + FILL:
        return [f"{len(before) - len(theirs)} rows were made, not {FILL}: {before}"]
    later = next(key for key in before[3:] if key not in theirs)
    removed: set[str] = set()
    seen: list[str] = []
    cursor: str | None = None
    for number in range(FILL, FILL + MOST_PAGES):
        keys, cursor = _page(script, rows, 2, cursor)
        seen += keys
        if cursor is None:
            break
        rows.add(number)
        if rows.remove is not None and number % 2:  # by turns: that row may come again where it stays
            for key in (keys[-1], later):
                if key not in removed and key not in theirs:
                    rows.remove(key)
                    removed.add(key)
    faults = [f"{key} comes {seen.count(key)} times" for key in dict.fromkeys(seen) if seen.count(key) > 1]
    stayed = [key for key in before if key not in removed]
    faults += [f"{key} is skipped" for key in stayed if key not in seen]
    if [key for key in seen if key in stayed] != stayed and not faults:
        faults.append(f"another order than before: {seen} instead of {stayed}")
    if later in removed and later in seen:
        faults.append(f"{later} comes after it is gone")
    if cursor is not None:
        faults.append("the walk does not end")
    return faults


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
def test_a_cursor_that_no_database_can_hold_is_refused(script: Script, text: str) -> None:
    """NUL characters and lone surrogates; whatever else a name may hold is no reason."""
    for path, cursor in (("/nodes", encode_cursor(text, "a")), ("/environments", encode_cursor(text))):
        answer = script.call("GET", path, cursor=cursor)
        assert answer.status_code == 400, answer.text
