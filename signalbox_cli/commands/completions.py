"""``completion``: what a shell needs to complete commands and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete this program's commands, and the names on the server.

    In ~/.bashrc: eval "$(signalbox completion bash)"
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = context.find_root()
    click.echo(kind(root.command, {}, "signalbox", "_SIGNALBOX_COMPLETE").source())
