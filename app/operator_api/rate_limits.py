"""How many requests a token may make: counted before the view, told with every answer.

The headers are those of the IETF's draft *RateLimit header fields for HTTP*.
"""

from __future__ import annotations

from flask import Response, g

from app import access, token_rates
from app.errors import TooManyRequestsError
from app.token_rates import WINDOW_SECONDS, Share


def count() -> None:
    """Count the request of the token behind it.

    :raises TooManyRequestsError: it has made too many.
    """
    share = g.rate = token_rates.take(access.principal().id)
    if share is not None and share.left < 0:
        raise TooManyRequestsError(
            f"This token has made more than {share.quota} requests within {WINDOW_SECONDS} seconds; this one was not"
            " looked at.",
            retry_after=share.seconds,
        )


def tell(response: Response) -> Response:
    """Say what is left."""
    share: Share | None = g.get("rate")
    if share is not None:
        response.headers["RateLimit-Policy"] = f'"token";q={share.quota};w={WINDOW_SECONDS}'
        response.headers["RateLimit"] = f'"token";r={max(0, share.left)};t={share.seconds}'
    return response
