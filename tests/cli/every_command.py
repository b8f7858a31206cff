"""The commands of the program, by their full names."""

from __future__ import annotations

import click
import typer.main

from fine_tuning.cli.main import app


def commands_of(command: click.Command, name: str = "") -> dict[str, click.Command]:
    """Return a command and all below it."""
    found = {name: command}
    for key, child in getattr(command, "commands", {}).items():
        found |= commands_of(child, f"{name} {key}".strip())
    return found


COMMANDS = commands_of(typer.main.get_command(app))
