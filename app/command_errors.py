"""How a command of ``flask --app wsgi`` says what it could not do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import click
from sqlalchemy.exc import OperationalError, ProgrammingError

from app.errors import SignalboxError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def in_one_sentence(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Say what could not be done on standard error and exit with 1, without a trace."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except SignalboxError as error:
            raise click.ClickException(error.sentence) from error
        except (OperationalError, ProgrammingError) as error:
            raise click.ClickException(
                f"Cannot use the database ({str(error.orig).splitlines()[0]});"
                " has its schema been made with: flask --app wsgi db upgrade ?"
            ) from error

    return run
