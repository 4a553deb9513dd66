"""Print ``docs/access.md``: who may use which address, of ``app/access_rules.py``.

``python -m tools.access_table > docs/access.md``; ``tests/app/test_access.py`` walks every address.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator

from flask import Flask

from app import create_app
from app.access_rules import RULES, Rule, Scope
from app.config import Settings
from app.principal import ROLES, Role

WHERE = ("overall", "here", "elsewhere")
"""Where a role is held: overall, in the environment of the object that the address names, or in another one."""
COLUMNS: tuple[tuple[str, Role] | str, ...] = (
    "anonymous",
    "no role",
    *((where, role) for where in WHERE for role in ROLES),
)
YES = "✓"
SIGN_IN = "–"
HEAD = """\
# Who may use which address

Made by `python -m tools.access_table > docs/access.md` from `app/access_rules.py`, where a new address needs a line.
A test walks all of them as everybody below, by an account for pages and by an API token for the API, and compares.

An account or a token has a role overall, in single environments, or both; of the two the one that may more counts.
*Here* is a role in the environment of the object that the address names, *elsewhere* one in another environment.
`✓` served, `–` sent to sign in (a page) or `401`, `403` the role does not suffice, `404` as if there were no such
object. Addresses that name no object and show a list, or name the environment in their body, are served to whoever
has the role *somewhere*: the list has what lies in those environments, and any other in the body is `404`. To update
agents, or to change more of a node than its labels and maintenance mode by the API, takes an admin: the views say so.
"""


def outcome(rule: Rule, column: tuple[str, Role] | str) -> str:
    """What whoever stands over a *column* is answered."""
    if rule.scope in (Scope.PUBLIC, Scope.AGENT):
        return YES if rule.scope is Scope.PUBLIC else SIGN_IN
    if column == "anonymous":
        return SIGN_IN
    if rule.scope is Scope.SIGNED_IN:
        return YES
    is_of_object = rule.scope not in (Scope.OVERALL, Scope.ANYWHERE)
    if isinstance(column, str):
        return "404" if is_of_object else "403"
    where, role = column
    if is_of_object and where == "elsewhere":
        return "404"
    if rule.scope is Scope.OVERALL and where != "overall":
        return "403"
    return YES if ROLES.index(role) >= ROLES.index(rule.role) else "403"


def table(app: Flask) -> Iterator[str]:
    """The lines of the document, one row for each address and method."""
    yield from HEAD.splitlines()
    for title, begins in (("Pages", ""), ("The operator API", "/api/v1"), ("Agents", "/api/agent")):
        yield from ("", f"## {title}", "")
        if begins == "/api/agent":
            yield "Agents bring a token of their own, which no account and no API token can stand in for."
            yield ""
        heads = [column if isinstance(column, str) else f"{column[1]} {column[0]}" for column in COLUMNS]
        yield f"| address | least role | {' | '.join(heads)} |"
        yield "|---" * (len(heads) + 2) + "|"
        for path, method, endpoint in addresses(app):
            is_api = path.startswith("/api/")
            if path.startswith(begins) and (begins or not is_api):
                rule = RULES[endpoint]
                cells = [outcome(rule, column) for column in COLUMNS]
                yield f"| `{method} {path}` | {words(rule)} | {' | '.join(cells)} |"


def addresses(app: Flask) -> list[tuple[str, str, str]]:
    """(path, method, endpoint) of every address, in order."""
    return sorted(
        (rule.rule, method, rule.endpoint)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )


def words(rule: Rule) -> str:
    """The rule for people."""
    match rule.scope:
        case Scope.PUBLIC:
            return "everybody"
        case Scope.AGENT:
            return "agents"
        case Scope.SIGNED_IN:
            return "whoever has signed in"
        case Scope.OVERALL:
            return f"{rule.role}, overall"
        case Scope.ANYWHERE:
            return f"{rule.role}, somewhere"
        case scope:
            return f"{rule.role} of the {scope.value}"


def main() -> None:
    """Print it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "SIGNALBOX_SECRET_KEY": "s" * 32,
            "SIGNALBOX_ENCRYPTION_KEY": "A" * 43,
            "SIGNALBOX_DATABASE_URL": f"sqlite:///{folder}/unused.db",
        }
        sys.stdout.write("\n".join(table(create_app(Settings.from_environ(settings)))) + "\n")


if __name__ == "__main__":
    main()
