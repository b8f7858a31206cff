"""Commands about versions: models (show, diff, verify, note, prune, export), lineage, switching."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fine_tuning.cli.options import AsJson, Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import answer, facts, say
from fine_tuning.core.errors import ConfigError, DataError, ModelNotFoundError

if TYPE_CHECKING:
    from rich.table import Table

    from fine_tuning.model_management.versions import ModelVersion
    from fine_tuning.workbench.workbench import Workbench

MIB = 1024**2
VERIFY_FAILED = 1

app = typer.Typer()
models_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
app.add_typer(models_app, name="models")

Version = Annotated[
    str, typer.Argument(help="support:3, support:champion, support, latest, a run or served name.")
]


@models_app.callback()
def models(
    context: typer.Context,
    family: Annotated[
        str | None, typer.Option("--family", help="Only the versions of this family.")
    ] = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """List the versions of tuned models, what is served, and the disk they use.

    Example: fine-tuning models show support:3
    """
    if context.invoked_subcommand is not None:
        if home or config or overrides or as_json or family:
            raise ConfigError(
                f"an option stands before {context.invoked_subcommand}, expected it behind",
                next_command=f"fine-tuning models {context.invoked_subcommand} --help",
            )
        return
    bench = open_workbench(home, config, overrides)
    from fine_tuning.model_management.pruning import disk_bytes

    versions = bench.versions(family)
    pointings = [one for one in bench.pointings() if family in (None, one.family)]
    size_bytes = disk_bytes(versions)
    value = {
        "versions": [version.to_dict() for version in versions],
        "aliases": [
            {"alias": one.alias, "version": one.version or "base", "runtime": one.runtime}
            for one in pointings
        ],
        "size_bytes": size_bytes,
    }
    if as_json:
        answer(value, as_json=True)
        return
    answer(value, as_json=False, table=_versions_table(versions))
    for one in pointings:
        say(f"{one.alias} answers as {one.version or 'the base model'} on {one.runtime}")
    say(f"{size_bytes / MIB:.1f} MiB on disk")
    if not versions:
        say("no version yet; next: fine-tuning train")


def _versions_table(versions: list[ModelVersion]) -> Table:
    from rich.table import Table

    grid = Table(title="versions", title_justify="left")
    for heading in ("version", "stage", "verdict", "loss", "size", "served as"):
        is_number = heading in ("loss", "size")
        justify: Literal["left", "right"] = "right" if is_number else "left"
        grid.add_column(heading, justify=justify, overflow="fold", no_wrap=heading == "version")
    for version in versions:
        served = [one.name for one in version.deployments if one.state == "active"]
        stage = f"{version.stage}, to retrain" if version.retraining else version.stage
        grid.add_row(
            version.name,
            stage,
            version.outcome or "not judged",
            _loss(version),
            f"{version.size_bytes / MIB:.1f} MiB" if version.present else "pruned",
            ", ".join(served) or "-",
        )
    return grid


def _loss(version: ModelVersion) -> str:
    before, after = (
        version.metrics.get(key) for key in ("base_validation_loss", "best_validation_loss")
    )
    return f"{before:.3f} to {after:.3f}" if before and after else "-"


@models_app.command()
def show(
    name: Version,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show everything known about a version: data, settings, metrics, files, deployments, notes."""
    bench = open_workbench(home, config, overrides)
    version = bench.version(name)
    value = version.to_dict()
    rows: dict[str, Any] = {
        "trained": version.created_at[:16].replace("T", " "),
        "stage": version.stage,
        "base": f"{version.base_name} ({version.base_digest})",
        "data set": version.snapshot,
        "run": version.run_folder,
        "parents": ", ".join(version.parents) or "none: it started from the base",
        "adapter": version.adapter_name,
        "verdict": version.outcome or "not judged",
    }
    rows |= {
        name: f"{value:.4g}" if isinstance(value, float) else value
        for name, value in version.metrics.items()
    }
    rows |= {f"file: {one.kind}": f"{one.path} ({one.state})" for one in version.artefacts}
    rows |= {
        f"served as {one.name}": f"{one.state} on {one.runtime} {one.reason}".rstrip()
        for one in version.deployments
    }
    rows |= {f"note of {one.created_at[:10]}": one.text for one in version.notes}
    rows |= {f"to forget: {one.conversation_id}": one.reason for one in version.retraining}
    answer(value, as_json=as_json, table=facts(version.name, rows))


@models_app.command()
def diff(
    first: Version,
    second: Version,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions: base, conversations, settings, metrics."""
    found = open_workbench(home, config, overrides).diff_versions(first, second)
    rows: dict[str, Any] = {
        "base": " -> ".join(found.base) if found.base else "the same",
        "data set": " -> ".join(found.snapshot) if found.snapshot else "the same",
        "conversations": f"{found.num_shared} shared, {len(found.added)} added, "
        f"{len(found.removed)} removed",
    }
    for changes in (found.settings, found.metrics):
        rows |= {key: f"{before} -> {after}" for key, (before, after) in changes.items()}
    answer(found.to_dict(), as_json=as_json, table=facts(f"{found.first} -> {found.second}", rows))


@models_app.command()
def verify(
    name: Version,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Read a version's files again and compare them with what was registered."""
    bench = open_workbench(home, config, overrides)
    version = bench.version(name)
    problems = bench.verify_version(name)
    value = {"version": version.name, "files": len(version.present), "problems": problems}
    text = "\n".join(problems) or f"{version.name}: all {len(version.present)} files are as written"
    answer(value, as_json=as_json, text=text)
    if problems:
        raise typer.Exit(VERIFY_FAILED)


@models_app.command()
def note(
    name: Version,
    text: Annotated[str, typer.Argument(help="What to remember about it.")],
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Leave a remark on a version."""
    version = open_workbench(home, config, overrides).note_version(name, text)
    answer(version.to_dict(), as_json=as_json, text=f"noted on {version.name}")


@models_app.command()
def prune(
    keep: Annotated[
        int, typer.Option("--keep", help="How many of the newest versions of each family stay.")
    ] = 3,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")
    ] = False,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Remove files of old versions; never of what is served or can be rolled back to."""
    bench = open_workbench(home, config, overrides)
    plan = bench.prune_versions(keep=keep, is_trial=dry_run)
    rows: dict[str, Any] = {
        item.version: f"{'would go' if dry_run else 'removed'}: {len(item.artefacts)} files, "
        f"{item.size_bytes / MIB:.1f} MiB"
        for item in plan.prunable
    }
    rows |= {name: f"stays: {why}" for name, why in plan.kept.items()}
    table = facts(f"{plan.size_bytes / MIB:.1f} MiB", rows)
    answer(plan.to_dict() | {"dry_run": dry_run}, as_json=as_json, table=table)


@app.command()
def lineage(
    name: Annotated[str, typer.Argument(help="A served name, a version, or a conversation's id.")],
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the conversations a model learnt from, or the models that learnt from a conversation.

    Example: fine-tuning lineage fine_tuned_support:champion
    """
    bench = open_workbench(home, config, overrides)
    try:
        version = bench.version(name)
    except ModelNotFoundError as no_version:
        try:
            _show_trace(bench, name, as_json=as_json)
        except DataError as no_conversation:
            raise ModelNotFoundError(
                f"{no_version.message}; nor is it a conversation: {no_conversation.message}",
                next_command=no_version.next_command,
            ) from no_conversation
    else:
        _show_origins(bench, version, as_json=as_json)


def _show_origins(bench: Workbench, version: ModelVersion, *, as_json: bool) -> None:
    from dataclasses import asdict

    from rich.table import Table

    from fine_tuning.model_management.lineage import LEARNT

    origins = bench.origins(version.name)
    learnt = sum(one.split in LEARNT for one in origins)
    value = {"version": version.name, "conversations": [asdict(one) for one in origins]}
    grid = Table(title=f"conversations of {version.name}", title_justify="left")
    for heading in ("conversation", "split", "by way of"):
        grid.add_column(heading, overflow="fold")
    for one in origins:
        grid.add_row(one.conversation_id, one.split, one.via)
    answer(value, as_json=as_json, table=grid)
    say(f"{learnt} conversations learnt from, {len(origins) - learnt} only tested on")


def _show_trace(bench: Workbench, name: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    trace = bench.trace_conversation(name)
    rows: dict[str, Any] = {f"data set {name}": split for name, split in trace.datasets.items()}
    for use in trace.uses:
        learnt = f"learnt from it ({use.split})" if use.is_learnt else "was only tested on it"
        rows[use.version] = learnt + (f", by way of {use.via}" if use.via != use.version else "")
    rows["served as"] = ", ".join(trace.served) or "nothing"
    table = facts(f"conversation {trace.conversation_id}", rows)
    answer(asdict(trace), as_json=as_json, table=table)


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
        done = bench.switch(name)
        before = f"; before: {done.before}" if done.changed else " already"
        text = f"{done.alias} answers as {done.version}{before}"
        answer(done.to_dict(), as_json=as_json, text=text)
    elif share == 0:
        version = bench.version(name)
        ended = bench.end_split(version.family)
        text = "the split is over" if ended else "there was no split"
        answer({"family": version.family, "ended": ended}, as_json=as_json, text=text)
    else:
        traffic = bench.split_traffic(name, share)
        text = f"{traffic.version} answers {traffic.share:.0%} of the sessions of {traffic.alias}"
        answer(asdict(traffic), as_json=as_json, text=text)


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
    done = open_workbench(home, config, overrides).rollback(family)
    text = f"{done.alias} answers as {done.version} again; it was {done.before}"
    answer(done.to_dict(), as_json=as_json, text=text)


@models_app.command(name="export")
def export_model(
    name: Version,
    folder: Annotated[Path, typer.Option("--to", help="A new folder.")],
    kind: Annotated[
        str,
        typer.Option(
            "--as", help="adapter, peft, merged, or merged-TYPE such as merged-f16, merged-q8_0."
        ),
    ] = "merged",
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write a version into a folder: merged model or adapter, with a Modelfile for Ollama.

    Example: fine-tuning models export support:3 --to support-3
    """
    bench = open_workbench(home, config, overrides)
    made = bench.export_model(name, kind, folder)
    value = made.to_dict()
    rows: dict[str, Any] = {
        "version": made.version,
        "files": ", ".join(value["files"]),
        "size": f"{made.size_bytes / MIB:.1f} MiB",
    }
    if report := made.report:
        rows["update kept"] = (
            "all, up to rounding in 16 bits"
            if report.is_exact
            else f"{report.kept:.1%} where least is kept; --json tells each tensor"
        )
        rows["size against the base"] = f"{report.num_bytes / report.base_bytes - 1:+.1%}"
    answer(value, as_json=as_json, table=None if as_json else facts(str(folder), rows))
