"""Who may do what: the one place where that is decided, before a view and before a request's body is read.

``app/access_rules.py`` lists each address with the least role that it takes and where it is looked for; what is not
listed there is served to nobody. Only what the address does not name (the environment in a body, the nodes of a
selector, the rows of a list) is left to the views, which ask the same ``Principal`` for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Flask, current_app, g, request, session
from flask.typing import ResponseReturnValue
from flask_login import current_user

from app import access_objects, accounts
from app.access_rules import RULES, Rule, Scope
from app.audit import Actor
from app.errors import ForbiddenError, SignalboxError, UnauthorizedError
from app.extensions import csrf
from app.models import Account
from app.principal import Principal, Role, Within

API = "/api/v1"
"""Below it tokens say who somebody is, elsewhere sessions."""

AccountOf = Callable[[str], Account | None]
"""The account of a session, by what the session's cookie holds; ``None`` once it has ended."""
Door = Callable[[], ResponseReturnValue]
"""What a page answers whoever has not signed in."""


@dataclass(frozen=True, slots=True)
class _State:
    rules: dict[str, Rule]
    account_of: AccountOf
    door: Door


def init_app(app: Flask, account_of: AccountOf, door: Door) -> None:
    """Let nothing of *app* be served but by the rules. Comes before whatever reads forms."""
    app.extensions["access"] = _State(dict(RULES), account_of, door)
    app.before_request(_check)


def refuse_unlisted(app: Flask) -> None:
    """Refuse to start with an address that has no rule. Comes after the last view.

    :raises RuntimeError: names them.
    """
    unlisted = {rule.endpoint for rule in app.url_map.iter_rules()} - RULES.keys()
    if unlisted:
        raise RuntimeError(f"app/access_rules.py has no rule for {', '.join(sorted(unlisted))}")


def list_endpoint(app: Flask, endpoint: str, rule: Rule) -> None:
    """Let an address of this application alone be served: for what is added after it was made, as tests do."""
    _state(app).rules[endpoint] = rule


def principal() -> Principal:
    """Who asks.

    :raises UnauthorizedError: nobody that we know.
    """
    known = _known()
    if known is None:
        raise UnauthorizedError("You are signed out; sign in again.")
    return known


def actor() -> Actor:
    """Who asks, as the audit log names them."""
    known = principal()
    name = f"token {known.name}" if known.kind == "token" else known.name
    return Actor(name, request.remote_addr)


def require(role: Role, environment_id: str | None, kind: str = "environment") -> None:
    """As ``Principal.require``, of who asks: for an environment that the address does not name."""
    principal().require(role, environment_id, kind)


def require_overall(role: Role) -> None:
    """As ``Principal.require_overall``, of who asks: for what a body says of no environment."""
    principal().require_overall(role)


def where(role: Role) -> Within:
    """As ``Principal.where``, of who asks: what a list may hold, or a form may offer."""
    return principal().where(role)


def may(role: Role, environment_id: str | None) -> bool:
    """For templates: whether who asks may do what *role* may in an environment."""
    known = _known()
    return known is not None and known.may(role, environment_id)


def may_overall(role: Role) -> bool:
    """For templates: whether who asks may do what *role* may everywhere, and outside of every environment."""
    known = _known()
    return known is not None and known.may(role)


def may_somewhere(role: Role) -> bool:
    """For templates: whether who asks may do what *role* may in one environment at least."""
    known = _known()
    return known is not None and known.may_somewhere(role)


def sees_nothing() -> bool:
    """For the page of an error: whether somebody has signed in who may not even look at anything yet."""
    known = _known()
    return known is not None and not known.may_somewhere("viewer")


def still_allowed() -> Callable[[], bool]:
    """A function that tells, while an answer goes on, whether this request would be answered alike now.

    That is no longer so once the session or the token has ended, or a role or the object's environment is another.
    """
    known, rule, arguments = principal(), _rule(), dict(request.view_args or {})
    account_of, cookie = _state().account_of, None
    header = request.headers.get("Authorization")
    if known.kind == "account":
        cookie = session["_user_id"]  # Flask-Login's name for it

    def look() -> bool:
        try:
            if cookie is None:
                now: Principal | None = accounts.authenticate_api(header)
            else:
                account = account_of(cookie)
                now = accounts.principal_of(account) if account is not None else None
            if now != known:
                return False
            _judge(known, rule, arguments)
        except SignalboxError:
            return False
        return True

    return look


def _check() -> ResponseReturnValue | None:
    if request.endpoint is None:
        return None  # no such address, or not by this method: that is said next
    rule = _rule()
    if rule.scope in (Scope.PUBLIC, Scope.AGENT):
        return None
    if request.path.startswith(f"{API}/"):
        g.principal = accounts.authenticate_api(request.headers.get("Authorization"))
    elif _known() is None:
        if current_app.config["WTF_CSRF_ENABLED"]:
            csrf.protect()  # a form that was open too long can be sent again; whoever is sent to sign in loses it
        return _state().door()
    _judge(principal(), rule, request.view_args or {})
    return None


def _rule() -> Rule:
    """The rule of this request.

    :raises ForbiddenError: there is none.
    """
    rule = _state().rules.get(request.endpoint or "")
    if rule is None:
        raise ForbiddenError("Nobody may use this address: it has no rule.")
    return rule


def _judge(known: Principal, rule: Rule, arguments: Mapping[str, Any]) -> None:
    """Refuse what the rule does not let them do.

    :raises NotFoundError: they may not see the object that the address names, or there is none.
    :raises ForbiddenError: their role does not allow it.
    """
    if rule.scope is Scope.SIGNED_IN:
        return
    if rule.scope is Scope.OVERALL:
        known.require_overall(rule.role)
    elif rule.scope is Scope.ANYWHERE:
        known.require_somewhere(rule.role)
    else:
        if known.visible is None:
            known.require_somewhere(
                rule.role
            )  # says nothing of the object, which whoever sees all may hear of
        environment_id = access_objects.environment_of(rule.scope, arguments)
        known.require(rule.role, environment_id, access_objects.words_of(rule.scope))


def _known() -> Principal | None:
    """Who asks; ``None``: nobody that we know."""
    known: Principal | None = g.get("principal")
    if known is None and not request.path.startswith(f"{API}/") and current_user.is_authenticated:
        known = g.principal = accounts.principal_of(current_user)
    return known


def _state(app: Flask | None = None) -> _State:
    state: _State = (app or current_app).extensions["access"]
    return state
