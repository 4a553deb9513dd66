"""``tail``: what a component puts out just now, on one node."""

from __future__ import annotations

import json
import random
import sys
import time

import click
import requests

from signalbox_cli import options, output
from signalbox_cli.access import Access, pass_access
from signalbox_cli.client import Api, path
from signalbox_cli.event_streams import Event, events
from signalbox_cli.failures import Failure, ServerFailure, UnreachableFailure
from signalbox_cli.plain_text import printable_json
from signalbox_cli.windows import Replay

SILENCE_SECONDS = 20.0
"""The server says every five seconds that it is still there."""
MAX_TRIES = 8
REPEATED = 200
"""So many events are kept by the server, and repeated to whoever follows again."""


@click.command()
@options.pipeline_argument
@click.argument("component")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many events.")
@click.option("--node", metavar="NAME", help="On this node; else the server chooses one that is connected.")
@options.environment
@pass_access
def tail(
    access: Access,
    pipeline: str,
    component: str,
    count: int | None,
    node: str | None,
    environment: str | None,
) -> None:
    """Events of COMPONENT (a source or transform), one JSON a line, until Ctrl-C or for five minutes.

    The values of the environment's secrets are masked by the server.
    """
    row = access.pipeline(pipeline, environment)
    body: dict[str, str] = {"componentId": component}
    if node is not None:
        body["nodeId"] = access.node(node, row["environmentId"])["id"]
    tap = access.api.post(path("pipelines", row["id"], "taps"), body)
    try:
        name = access.api.get(path("nodes", tap["nodeId"]))["name"]
        output.note(f"Watching {component} of {row['name']} on {name}; Ctrl-C ends it.")
        _Tail(count).follow(access.api, tap["requestId"])
    finally:
        try:
            access.api.delete(path("taps", tap["requestId"]))
        except Failure:
            pass  # it ends by itself once nobody watches


class _Tail:
    """What was printed of one tail, so that nothing is printed twice."""

    def __init__(self, count: int | None) -> None:
        self._left = count
        self._printed: list[str] = []
        self._tries = 0

    def follow(self, api: Api, request_id: str) -> None:
        """Print what comes until it ends; a stream that breaks is followed again."""
        while not self._try_follow(api, request_id):
            self._tries += 1
            if self._tries == MAX_TRIES:
                raise UnreachableFailure("The tail broke off, and the server does not go on with it.")
            time.sleep(random.uniform(0.1, min(5.0, 0.25 * 2**self._tries)))

    def _try_follow(self, api: Api, request_id: str) -> bool:
        """Whether it has come to its end, rather than broken."""
        replay = Replay(self._printed[-REPEATED:])
        try:
            with api.stream(path("taps", request_id, "events"), SILENCE_SECONDS) as answer:
                return any(self._take(event, replay) for event in events(answer.iter_content(None)))
        except (UnreachableFailure, requests.RequestException):
            return False  # a server that restarts, say; the tap itself goes on
        except ValueError:
            raise ServerFailure("What the server sends of the tail cannot be understood.") from None

    def _take(self, event: Event, replay: Replay) -> bool:
        """Print what is new; whether this was the end."""
        content = json.loads(event.data)
        if event.kind == "stopped":
            output.note(f"Ended: {content['reason'] or 'nobody knows why'}.")
            return True
        self._tries = 0
        for text in replay.new(content["text"]) if event.kind == "event" else []:
            click.echo(printable_json(text))
            self._printed = [*self._printed[-REPEATED:], text]
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    return True
        sys.stdout.flush()
        return False
