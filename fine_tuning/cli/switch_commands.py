"""Commands about which version answers: switch, rollback, withdraw; and the text of an A/B test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import AsJson, Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import answer, say

if TYPE_CHECKING:
    from fine_tuning.workbench.models.ab_test import Split

app = typer.Typer()


def say_splits(splits: list[Split]) -> None:
    """Say how sessions are split between two versions, and what was recorded of each."""
    for one in splits:
        say(one.words)
        for side in (one.champion, one.challenger):
            say(f"  {side.words}")
        say(f"  end it: fine-tuning switch {one.challenger.version} --share 0")


@app.command()
def switch(
    name: Annotated[str, typer.Argument(help="A version, or support:base for the base model.")],
    share: Annotated[
        float | None,
        typer.Option("--share", help="Let it answer only this share of the sessions; 0 ends it."),
    ] = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Let the name your chatbot asks for answer as another version, once that one is loaded.

    Example: fine-tuning switch support:3
    """
    from dataclasses import asdict

    bench = open_workbench(home, config, overrides)
    if share is None:
        done = bench.models.aliases.switcher().switch(name)
        before = f"; before: {done.before}" if done.changed else " already"
        text = f"{done.alias} answers as {done.version}{before}"
        answer(done.to_dict(), as_json=as_json, text=text)
    elif share == 0:
        version = bench.models.versions.find(name)
        ended = bench.models.aliases.end_split(version.family)
        text = "the split is over" if ended else "there was no split"
        answer({"family": version.family, "ended": ended}, as_json=as_json, text=text)
    else:
        traffic = bench.models.aliases.switcher().split(name, share)
        text = f"{traffic.version} answers {traffic.share:.0%} of the sessions of {traffic.alias}"
        answer(asdict(traffic), as_json=as_json, text=text)
        if not as_json:
            say("fine-tuning models shows what people think of each")


@app.command()
def rollback(
    family: Annotated[
        str | None, typer.Argument(help="A family such as support; the only one if absent.")
    ] = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Let the name your chatbot asks for answer as it did before the last switch, at once."""
    done = open_workbench(home, config, overrides).models.aliases.rollback(family)
    text = f"{done.alias} answers as {done.version} again; it was {done.before}"
    answer(done.to_dict(), as_json=as_json, text=text)


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(help="A deployed version, such as support:3.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if your chatbot can be rolled back to it."),
    ] = False,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Take a version out of the program that serves it; its files stay, and deploy brings it back.

    What your chatbot answers with is never withdrawn.

    Example: fine-tuning withdraw support:2
    """
    bench = open_workbench(home, config, overrides)
    version = bench.models.versions.find(name).name
    served = bench.models.aliases.switcher().withdraw(version, force=force)
    text = f"{served} is gone; fine-tuning deploy {version} brings it back"
    answer({"version": version, "name": served}, as_json=as_json, text=text)
