"""The command deploy: a version is served, proven, and given to the chatbot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import MIB, answer, facts, progress_bars, say
from fine_tuning.core.errors import ConfigError
from fine_tuning.core.json_value import JsonObject, list_at, trusted

if TYPE_CHECKING:
    from fine_tuning.workbench.models.deploy import DeployResult

app = typer.Typer()


@app.command()
@shared_options()
def deploy(
    shared: Shared,
    name: Annotated[
        str, typer.Argument(help="Version, run, start of a run's id, or latest.")
    ] = "latest",
    to: Annotated[
        Literal["auto", "ollama", "embedded"] | None,
        typer.Option("--to", help="Runtime; default: deployment.runtime."),
    ] = None,
    way: Annotated[
        Literal["adapter", "merged", "mixed"] | None,
        typer.Option("--way", help="Deployment strategy; default: the best that works."),
    ] = None,
    switch: Annotated[
        bool, typer.Option("--switch/--no-switch", help="Let the chatbot use it at once.")
    ] = True,
) -> None:
    """Serve a version, with proof, and switch the chatbot to it.

    If anything fails, the version before stays in use; rollback returns to it later.

    Example: fine-tuning deploy latest
    """
    if to and any(item.startswith("deployment.runtime=") for item in shared.overrides):
        raise ConfigError(
            "--to and --set deployment.runtime say the same, expected one of them",
            next_command=f"fine-tuning deploy {name} --to {to}",
        )
    settings = [f"deployment.runtime={to}"] if to else []
    with progress_bars() as progress:
        bench = shared.open(progress=progress, settings=settings)
        done = bench.models.deployment.deploy(name, way=way, switch=switch)
    show_deployment(done, as_json=shared.as_json)


def proof_rows(proof: JsonObject) -> dict[str, str]:
    """Return the parts of a proof, a row each: what was found, in words and figures."""
    parts = trusted(list_at(proof, "parts"))
    return {f"proof: {part['name']}": f"{part['outcome']}: {part['sentence']}" for part in parts}


def show_deployment(done: DeployResult, *, as_json: bool = False) -> None:
    """Print a deployment for people, or as JSON."""
    deployed, switched = done.deployed, done.switched
    rows = {
        "version": deployed.version,
        "served as": f"{deployed.name} on {deployed.runtime}",
        "size": f"{deployed.size_bytes / MIB:.0f} MiB",
        "deployment strategy": f"{deployed.way}: {deployed.reason}",
    }
    for attempt in deployed.attempts:
        rows[f"not {attempt.way}"] = attempt.reason
    rows |= {key: _words(value) for key, value in deployed.decisions.items() if value}
    rows |= proof_rows(deployed.proof)
    if switched is not None:
        rows["alias for your chatbot"] = f"{switched.alias}, before: {switched.before}"
    if not as_json and not deployed.changed:
        say(f"{deployed.version} was deployed already.")
    answer(done.to_dict(), as_json=as_json, table=facts("deployed", rows))


def _words(value: object) -> str:
    return "; ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
