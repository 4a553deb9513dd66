"""What the OpenAPI document says in words, and the schemas of what stands in addresses."""

from __future__ import annotations

from typing import Any

from app.access_rules import Scope

ABOUT = """\
Everything that a person can click, a script can do.

**Lists** take `limit` (1 to 500, default 100) and an opaque `cursor`, and answer `{items, nextCursor}`; pages stay
right while rows come and go. **Refusals** are `application/problem+json` with, beside it, the sentence in `error` and
the fields in `details`. Fields that are not known are ignored, in both directions; more may be added at any time.
"""
TOKEN = "An API token, `sbx_api_…`; `flask --app wsgi api-token create NAME` makes one."

SUCCESSES = {
    200: "Done.",
    201: "Made.",
    202: "Asked for; what comes of it is told later.",
    204: "Done; there is nothing to say.",
}
WAITS = "The environment is protected: nothing has changed yet; somebody else must approve the request."
REFUSALS: dict[int, tuple[str, str]] = {
    400: ("Invalid", "What was sent cannot be understood; `details` name the fields."),
    401: ("Unauthorized", "No token, or not a good one."),
    403: ("Forbidden", "The token may not do this."),
    404: ("NotFound", "There is no such thing, or the token may not see it."),
    408: ("BodyTooSlow", "The body did not arrive within 10 seconds."),
    409: ("Conflict", "The name is taken, the thing is in use, or it cannot be done now."),
    412: ("ChangedMeanwhile", "It is not what the condition asks for; `ETag` names what it is."),
    413: ("TooLarge", "The body is larger than the limit."),
    422: ("KeyOfAnotherRequest", "The idempotency key came with another request before."),
    429: ("TooFast", "The token has made too many requests; `Retry-After` says when to try again."),
    503: ("Unavailable", "Something that this needs is away just now; `Retry-After` says when to try again."),
}
"""Each with its name in the document."""
PARAMETERS: dict[str, Any] = {
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "Tags that the caller has read, or `*`: if it is another by now, nothing is changed (`412`).",
        "schema": {"type": "string", "format": "etags"},
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "in": "header",
        "description": "Tags that the caller has; at a GET it is then not sent again, and with `*` a PUT only makes.",
        "schema": {"type": "string", "format": "etags"},
    },
}
PARAMETERS["IdempotencyKey"] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "A text of the caller's own: for a day the same request with the same key is done once, and"
    " answered again (`Idempotency-Replayed: true`).",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
HEADERS: dict[str, Any] = {
    "ETag": {
        "description": "Of what is answered: what people edit of it, which `If-Match` compares, and the whole.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{16}([.][0-9a-f]{16})?"$'},
    },
    "PresentETag": {
        "description": "What it is now; not there where it does not exist.",
        "schema": {"type": "string", "pattern": '^"[0-9a-f]{16}"$'},
    },
    "RateLimit": {
        "description": "Requests that the token has left, and the seconds until it has all of them again.",
        "schema": {"type": "string", "pattern": '^"token";r=[0-9]+;t=[0-9]+$'},
    },
    "RateLimitPolicy": {
        "description": "How many requests a token may make in how many seconds.",
        "schema": {"type": "string", "pattern": '^"token";q=[0-9]+;w=[0-9]+$'},
    },
    "RetryAfter": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "IdempotencyReplayed": {
        "description": "There when this was answered before, to the same request with the same key.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}

_TAGS = {
    "adoption": "Adoption",
    "history": "Nodes",
    "taps": "Live tails",
    "secrets": "Secrets and certificates",
    "audit": "Audit log",
    "deploy_requests": "Approvals",
    "api_tokens": "API tokens",
}

_ID = {"type": "string", "pattern": "^[0-9a-z]{1,32}$", "examples": ["01985f0e1c3a7d20b7a5c0ffee000001"]}
_PATH_SCHEMAS: dict[str, Any] = {
    "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$", "examples": ["api-key"]},
    "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{16}$", "examples": ["0123456789abcdef"]},
    "number": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1, "examples": [3]},
}


def tag(endpoint: str) -> str:
    """The heading under which the operation of *endpoint* stands."""
    module = endpoint.partition(".")[0]
    return _TAGS.get(module, module.capitalize().replace("_", " "))


def where(scope: Scope) -> str:
    """Where somebody must have the role."""
    if scope is Scope.OVERALL:
        return "overall"
    if scope is Scope.ANYWHERE:
        return "in the environments that it is about"
    return f"in the {'' if scope is Scope.ENVIRONMENT else scope.value + '’s '}environment"


def path_schema(name: str) -> dict[str, Any]:
    """What can stand in a path's parameter; whatever has no schema of its own is an id."""
    found: dict[str, Any] = _PATH_SCHEMAS.get(name, _ID)
    return found
