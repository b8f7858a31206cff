"""The options every command shares: written once, and the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from fine_tuning.cli.options import Shared, shared_options
from tests.cli.every_command import COMMANDS

SHARED = ["home", "config", "overrides", "as_json"]
WITHOUT_JSON = {"chat", "serve", "app"}


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"", "demo"}))
def test_every_command_ends_with_the_shared_options_in_one_order(name: str) -> None:
    names = [one.name for one in COMMANDS[name].params]
    expected = SHARED[:3] if name in WITHOUT_JSON else SHARED
    assert names[-len(expected) :] == expected


def made(*, has_json: bool, seen: list[tuple[Shared, str, int]]) -> typer.Typer:
    """A program with one command that takes the shared options and two of its own."""
    program = typer.Typer()

    @program.command()
    @shared_options(has_json=has_json)
    def greet(
        shared: Shared,
        name: Annotated[str, typer.Argument(help="Who.")],
        times: Annotated[int, typer.Option("--times", min=1)] = 1,
    ) -> None:
        """Greet."""
        seen.append((shared, name, times))

    return program


def test_a_command_gets_its_own_options_and_one_value_of_the_shared_ones() -> None:
    seen: list[tuple[Shared, str, int]] = []
    line = "Ann --times 2 --home h --config c.yaml --set a.b=1 --set c.d=2 --json"
    done = CliRunner().invoke(made(has_json=True, seen=seen), line.split())
    assert done.exit_code == 0, done.output
    shared = Shared(
        home=Path("h"), config=Path("c.yaml"), overrides=("a.b=1", "c.d=2"), as_json=True
    )
    assert seen == [(shared, "Ann", 2)]


def test_without_options_there_are_the_defaults() -> None:
    seen: list[tuple[Shared, str, int]] = []
    assert CliRunner().invoke(made(has_json=True, seen=seen), ["Ann"]).exit_code == 0
    assert seen == [(Shared(), "Ann", 1)]


def test_a_command_without_json_refuses_it() -> None:
    done = CliRunner().invoke(made(has_json=False, seen=[]), ["Ann", "--json"])
    assert done.exit_code == 2
    assert "--json" in done.output
