"""Commands about which version answers: switch, rollback, withdraw; and the text of an A/B test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import answer, say

if TYPE_CHECKING:
    from fine_tuning.workbench.models.ab_test import Split

app = typer.Typer()
Family = Annotated[str | None, typer.Argument(help="Model family; default: the only one.")]


def say_splits(splits: list[Split]) -> None:
    """Say how sessions are split between two versions, and what was recorded of each."""
    for one in splits:
        say(one.words)
        for side in (one.champion, one.challenger):
            say(f"  {side.words}")
        say(f"  end it: fine-tuning switch {one.challenger.version} --share 0")


@app.command()
@shared_options()
def switch(
    shared: Shared,
    name: Annotated[str, typer.Argument(help="Version, or support:base for the base model.")],
    share: Annotated[
        float | None,
        typer.Option("--share", help="A/B test: share of the sessions; 0 ends it."),
    ] = None,
) -> None:
    """Switch your chatbot to another version.

    The alias it asks for points to the version once that is loaded. With --share, an A/B
    test: only that share of the sessions gets it.

    Example: fine-tuning switch support:3 --share 0.3
    """
    from dataclasses import asdict

    bench = shared.open()
    if share is None:
        done = bench.models.aliases.switcher().switch(name)
        before = f"; before: {done.before}" if done.changed else " already"
        text = f"{done.alias} answers as {done.version}{before}"
        answer(done.to_dict(), as_json=shared.as_json, text=text)
    elif share == 0:
        version = bench.models.versions.find(name)
        ended = bench.models.aliases.end_split(version.family)
        text = "the A/B test is over" if ended else "there was no A/B test"
        answer({"family": version.family, "ended": ended}, as_json=shared.as_json, text=text)
    else:
        traffic = bench.models.aliases.switcher().split(name, share)
        text = f"{traffic.version} answers {traffic.share:.0%} of the sessions of {traffic.alias}"
        answer(asdict(traffic), as_json=shared.as_json, text=text)
        if not shared.as_json:
            say("fine-tuning models shows the feedback on each")


@app.command()
@shared_options()
def rollback(
    shared: Shared,
    family: Family = None,
) -> None:
    """Return to the version before the last switch.

    Example: fine-tuning rollback support
    """
    done = shared.open().models.aliases.rollback(family)
    text = f"{done.alias} answers as {done.version} again; it was {done.before}"
    answer(done.to_dict(), as_json=shared.as_json, text=text)


@app.command()
@shared_options()
def withdraw(
    shared: Shared,
    name: Annotated[str, typer.Argument(help="Deployed version: support:3.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if a rollback needs it."),
    ] = False,
) -> None:
    """Withdraw a version from its server; files stay.

    deploy serves it again. The version in use is never withdrawn.

    Example: fine-tuning withdraw support:2
    """
    bench = shared.open()
    version = bench.models.versions.find(name).name
    served = bench.models.aliases.switcher().withdraw(version, force=force)
    text = f"{served} is withdrawn; to serve it again: fine-tuning deploy {version}"
    answer({"version": version, "name": served}, as_json=shared.as_json, text=text)
