"""Waiting until somebody else has decided what was asked for in a protected environment."""

from __future__ import annotations

import time
from collections.abc import Sequence

from signalbox_cli import output
from signalbox_cli.client import Api, Row, path
from signalbox_cli.failures import NotApprovedFailure, UnreachableFailure
from signalbox_cli.waiting import Awaited

PAUSE_SECONDS = 1.0


def asked(answer: Row) -> Row | None:
    """The request that the server made in place of a deploy; ``None``: it has deployed."""
    request: Row | None = answer.get("deployRequest")
    return request


def sentence(request: Row) -> str:
    """That it waits, and how somebody else approves it."""
    return (
        f"{request['pipeline']} waits for approval until {request['expiresAt']}: its environment is protected."
        f" Somebody else approves it: signalbox approvals approve {request['id']}"
    )


def wait(api: Api, requests: Sequence[Row], seconds: float) -> list[Awaited]:
    """Look until all were decided; the deployments that came of them, to be waited for in turn.

    :raises NotApprovedFailure: one was rejected, cancelled or overtaken, has expired, or was not decided in time.
    """
    deadline = time.monotonic() + seconds
    approved: list[Awaited] = []
    for number, request in enumerate(requests, start=1):
        output.note(f"Waiting for approval of {request['pipeline']} ({number} of {len(requests)}).")
        row = _decided(api, request, deadline)
        if row["state"] == "open":
            raise NotApprovedFailure(
                f"Nobody has decided on {row['pipeline']} within {seconds:g} s; it waits until {row['expiresAt']}."
            )
        if row["state"] != "approved":
            by = f" by {row['decidedBy']}" if row["decidedBy"] else ""
            details = [row["comment"]] if row["comment"] else []
            raise NotApprovedFailure(
                f"{row['pipeline']} was not approved: it was {row['state']}{by}.", details
            )
        output.note(f"{row['pipeline']} is approved by {row['decidedBy']}.")
        approved.append(awaited(api, row))
    return approved


def awaited(api: Api, request: Row) -> Awaited:
    """The deployment of an approved request."""
    deployment = api.get(path("deployments", request["deploymentId"]), {"limit": 1})
    return Awaited(
        request["pipeline"],
        request["environmentId"],
        deployment["id"],
        deployment["version"],
        deployment["targets"],
    )


def _decided(api: Api, request: Row, deadline: float) -> Row:
    row = request
    while True:
        began = time.monotonic()
        try:
            row = api.get(path("deploy-requests", request["id"]))
        except UnreachableFailure:
            if began >= deadline:
                raise
        if row["state"] != "open" or began >= deadline:
            return row
        time.sleep(min(PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
