"""docs/cli.md is complete: commands, exit codes, variables and fields of files."""

import re

import click

from signalbox_cli import manifests
from signalbox_cli.failures import ExitCode
from signalbox_cli.program import main as command_line
from tests.support import PROJECT
from tests.test_docs import VARIABLE, first_cells, quoted, rows, section, variables_read

CLI = (PROJECT / "docs" / "cli.md").read_text()


def commands(group: click.Group, *before: str) -> set[str]:
    """``nodes list`` and the like; a group itself only where it does something of its own."""
    found: set[str] = set()
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found |= commands(command, *before, name)
        if not isinstance(command, click.Group) or command.invoke_without_command:
            found.add(" ".join([*before, name]))
    return found


def test_the_command_line_is_documented_command_by_command() -> None:
    """Every command is in the table, with nothing in it that is not there; each has a help text."""
    documented = first_cells(section(CLI, "## Commands")) - {"command"}
    assert documented == commands(command_line)


def test_the_command_lines_exit_codes_variables_and_fields_are_documented() -> None:
    """Scripts and files depend on them."""
    own = section(CLI, "## For programs")
    codes = {word for word in first_cells(own) if word.isdecimal()}
    assert codes == {str(int(code)) for code in ExitCode}
    variables = {name for file in (PROJECT / "signalbox_cli").rglob("*.py") for name in variables_read(file)}
    documented = {word for row in rows(CLI) for word in quoted(" ".join(row[:3])) if VARIABLE.fullmatch(word)}
    assert documented == variables
    example = section(CLI, "## A folder of pipelines").partition("```yaml")[2].partition("```")[0]
    assert {*re.findall(r"^(\w+): ", example, re.M), "config"} == set(manifests.FIELDS)
