"""Connections that the short way of a handshake gives back to the long one, and what it has found out already.

The long way asks once: another request on the same connection counts for itself.
"""

from __future__ import annotations

from typing import Any

from gevent.socket import socket as GeventSocket


class Returned(GeventSocket):  # type: ignore[misc]
    """Such a connection, of which nothing is read yet."""

    was_counted = True
    """Whether its request is within the rate of upgrades, and counted there."""
    error: Exception | None = None
    """Why its token is not good, or the database does not say."""


def was_counted(client: Any) -> bool:
    """Whether the request of *client* was counted among the upgrades; told once."""
    if not isinstance(client, Returned) or not client.was_counted:
        return False
    client.was_counted = False
    return True


def error_of(client: Any) -> Exception | None:
    """Why the short way could not authenticate the request of *client*, if it knows; told once."""
    if not isinstance(client, Returned):
        return None
    error, client.error = client.error, None
    return error
