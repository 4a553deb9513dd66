"""Names that a shell offers: asked of the server in a bounded time, and never an error."""

from __future__ import annotations

import threading
from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from signalbox_cli import profiles
from signalbox_cli.client import Api, Row
from signalbox_cli.profiles import Wishes

PATIENCE_SECONDS = 1.5
"""However the server does: a shell that waits is worse than one that offers nothing."""
MAX_OFFERED = 200

Look = Callable[[Api, str | None, str], list[Row]]


def environments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of environments."""
    return _offered(
        context, incomplete, lambda api, where, part: list(api.rows("/environments", most=MAX_OFFERED))
    )


def pipelines(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of pipelines of the environment that is named before, else of all."""

    def look(api: Api, where: str | None, part: str) -> list[Row]:
        return list(api.rows("/pipelines", {"environmentId": where}, most=MAX_OFFERED))

    return _offered(context, incomplete, look)


def nodes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of nodes, likewise."""

    def look(api: Api, where: str | None, part: str) -> list[Row]:
        return list(api.rows("/nodes", {"environmentId": where, "q": part or None}, most=MAX_OFFERED))

    return _offered(context, incomplete, look)


def _offered(context: click.Context, incomplete: str, look: Look) -> list[CompletionItem]:
    found: list[Row] = []

    def ask() -> None:
        try:
            root = context.find_root().params
            place, environment = profiles.chosen(
                Wishes(root.get("profile"), root.get("url"), root.get("ca_file"))
            )
            api = Api(place, read_seconds=PATIENCE_SECONDS, tries=1)
            name = context.params.get("environment") or environment
            where = None
            if name is not None:
                rows = api.rows("/environments", most=MAX_OFFERED)
                where = next((str(row["id"]) for row in rows if name in (row["id"], row["name"])), None)
            found.extend(look(api, where, incomplete))
            api.close()
        except Exception:
            pass  # whatever is wrong, the command itself will say it

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE_SECONDS)
    names = sorted({str(row["name"]) for row in list(found)})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
