"""``flask db``: Flask-Migrate's commands, imported when one of them is asked for.

Alembic takes a tenth of a second to import, a tenth of what every worker and every other command pays at its start.
"""

from __future__ import annotations

from typing import Any

import click
from flask import Flask

from app.config import ROOT
from app.database import db


class MigrationCommands(click.Group):
    """Stands for Flask-Migrate's group of the same name until it is called, and hands the call over to it."""

    def __init__(self, app: Flask) -> None:
        super().__init__("db", help="Perform database migrations.")
        self._app = app

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of their commands."""
        return self._theirs().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Their command of that name, ``None`` if there is none."""
        return self._theirs().get_command(ctx, cmd_name)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """The context of their group, which reads *args* and is what is invoked."""
        return self._theirs().make_context(info_name, args, parent, **extra)

    def _theirs(self) -> click.Group:
        from flask_migrate import Migrate, cli

        Migrate().init_app(self._app, db, directory=str(ROOT / "migrations"))
        group: click.Group = cli.db
        return group
