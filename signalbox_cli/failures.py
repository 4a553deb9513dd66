"""How the program ends: what each exit code means, and the failures that carry one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import IO, Any, ClassVar

import click

from signalbox_cli.plain_text import printable


class ExitCode(IntEnum):
    """Part of the program's contract: ``docs/cli.md`` has the table."""

    DONE = 0
    DIFFERS = 1
    """Something differs, failed on a node, was not confirmed, or did not end in time."""
    USAGE = 2
    """The command, a file or a value cannot be understood; nothing was changed."""
    UNREACHABLE = 3
    REFUSED = 4
    UNKNOWN = 5
    CONFLICT = 6
    SERVER = 7
    """The server failed at what it was asked."""
    NOT_APPROVED = 8
    """What waited for somebody else's approval was rejected, has expired, or was not decided in time."""
    FAULT = 70
    """The program itself is wrong."""
    INTERRUPTED = 130
    PIPE_CLOSED = 141


class Failure(click.ClickException):
    """Something that its reader can be told in a sentence or two; *details* are lines below it."""

    exit_code: ClassVar[int] = ExitCode.DIFFERS
    retry_after: float | None = None
    """What the server asked to wait, in seconds, if it did."""

    def __init__(self, sentence: str, details: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.details = list(details)

    def show(self, file: IO[Any] | None = None) -> None:
        """On standard error, without anything that would steer a terminal."""
        click.echo(f"signalbox: {printable(self.message)}", file=file, err=file is None)
        for detail in self.details:
            click.echo(f"  {printable(detail)}", file=file, err=file is None)


class UsageFailure(Failure):
    """The command, a file or a value cannot be understood; nothing was changed."""

    exit_code: ClassVar[int] = ExitCode.USAGE


class UnreachableFailure(Failure):
    """No answer of a Signalbox server came."""

    exit_code: ClassVar[int] = ExitCode.UNREACHABLE
    is_lasting: ClassVar[bool] = False
    """Whether no other try will mend it."""
    may_be_done: bool = False
    """Whether the server may have done what it was asked all the same."""


class RefusedFailure(Failure):
    """The token is not good, or may not do this."""

    exit_code: ClassVar[int] = ExitCode.REFUSED


class UnknownFailure(Failure):
    """There is no such thing."""

    exit_code: ClassVar[int] = ExitCode.UNKNOWN


class ConflictFailure(Failure):
    """The name is taken, or the thing is in use."""

    exit_code: ClassVar[int] = ExitCode.CONFLICT


class ChangedFailure(ConflictFailure):
    """Somebody has changed, made or removed what was to be changed since it was read; theirs was left."""

    def __init__(self, what: str) -> None:
        """*what*, in words: ``the pipeline production/web``."""
        super().__init__(
            f"Somebody has changed {what} since it was read for this. Run it again.",
            ["Theirs was left as it is."],
        )


class NotApprovedFailure(Failure):
    """Nobody has approved it: it was rejected, has expired, or was not decided in time."""

    exit_code: ClassVar[int] = ExitCode.NOT_APPROVED


class ServerFailure(Failure):
    """The server failed at what it was asked."""

    exit_code: ClassVar[int] = ExitCode.SERVER
