"""Commands about versions: models, and of it show, diff, verify, history, archive, prune ..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fine_tuning.cli import adapter_commands
from fine_tuning.cli.deploy_commands import proof_rows
from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import answer, facts, say
from fine_tuning.cli.switch_commands import say_splits
from fine_tuning.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from fine_tuning.model_management.versions import ModelVersion
    from fine_tuning.workbench.workbench import Workbench

MIB = 1024**2
VERIFY_FAILED = 1

app = typer.Typer()
models_app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
models_app.add_typer(adapter_commands.app)
app.add_typer(models_app, name="models")

FamilyOrVersion = Annotated[
    str | None, typer.Argument(help="Model family or version; default: all.")
]
Version = Annotated[
    str, typer.Argument(help="Version, alias, family, run, served name, or latest.")
]


@models_app.callback()
@shared_options()
def models(
    shared: Shared,
    context: typer.Context,
    family: Annotated[
        str | None, typer.Option("--family", help="Only versions of this model family.")
    ] = None,
) -> None:
    """List versions, verdicts, deployments and disk use.

    Example: fine-tuning models show support:3
    """
    if context.invoked_subcommand is not None:
        if shared != Shared() or family:
            raise ConfigError(
                f"an option stands before {context.invoked_subcommand}, expected it behind",
                next_command=f"fine-tuning models {context.invoked_subcommand} --help",
            )
        return
    _list(shared.open(), family, as_json=shared.as_json)


def _list(bench: Workbench, family: str | None, *, as_json: bool) -> None:
    family = family.lower() if family is not None else None
    versions = bench.models.register.versions(family)
    aliases = [
        entry for entry in bench.models.aliases.all_aliases() if family in (None, entry.family)
    ]
    splits = [
        entry for entry in bench.models.ab_tests.splits() if family in (None, entry.traffic.family)
    ]
    disk = bench.models.disk_use(family)
    not_proven = bench.models.aliases.not_proven()
    value = {
        "versions": [
            version.to_dict()
            | {
                "served_bytes": disk.served_bytes[version.name],
                "not_proven": not_proven.get(version.name, ""),
            }
            for version in versions
        ],
        "aliases": [
            {"alias": entry.alias, "version": entry.version or "base", "runtime": entry.runtime}
            for entry in aliases
        ],
        "splits": [entry.to_dict() for entry in splits],
        "size_bytes": disk.size_bytes,
    }
    if as_json:
        answer(value, as_json=True)
        return
    answer(value, as_json=False, table=_versions_table(versions, disk.served_bytes, not_proven))
    for entry in aliases:
        say(f"{entry.alias} answers as {entry.version or 'the base model'} on {entry.runtime}")
    say_splits(splits)
    kept = sum(disk.served_bytes.values())
    served = f", {kept / MIB:.1f} of them served copies" if kept else ""
    say(f"{disk.size_bytes / MIB:.1f} MiB on disk{served}")
    if disk.unused_bytes:
        unused = f"{disk.unused_bytes / MIB:.1f} MiB more are unused copies"
        say(f"{unused}; fine-tuning models prune removes them")
    if not versions:
        say(_nothing_listed(bench, family))


def _nothing_listed(bench: Workbench, family: str | None) -> str:
    """Return why no version is listed: none was trained yet, or none is of that family."""
    families = sorted({version.family for version in bench.models.register.versions()})
    if not families:
        return "no version yet; next: fine-tuning train"
    return f"there is no model family {family!r}, expected one of: {', '.join(families)}"


def _versions_table(
    versions: list[ModelVersion], served_bytes: Mapping[str, int], not_proven: Mapping[str, str]
) -> Table:
    from rich.table import Table

    grid = Table(title="versions", title_justify="left")
    for heading in ("version", "stage", "verdict", "loss", "size", "served as"):
        is_number = heading in ("loss", "size")
        justify: Literal["left", "right"] = "right" if is_number else "left"
        grid.add_column(heading, justify=justify, overflow="fold", no_wrap=heading == "version")
    for version in versions:
        served = [one.name for one in version.deployments if one.state == "active"]
        stage = f"{version.stage}, to retrain" if version.retraining else version.stage
        size_bytes = version.size_bytes + served_bytes[version.name]
        grid.add_row(
            version.name,
            stage,
            version.outcome or "not evaluated",
            _loss(version),
            f"{size_bytes / MIB:.1f} MiB" if version.present else "pruned",
            ", ".join([*served, *filter(None, [not_proven.get(version.name)])]) or "-",
        )
    return grid


def _loss(version: ModelVersion) -> str:
    before, after = (
        version.metrics.get(key) for key in ("base_validation_loss", "best_validation_loss")
    )
    return f"{before:.3f} to {after:.3f}" if before and after else "-"


@models_app.command()
@shared_options()
def show(
    shared: Shared,
    name: Version,
) -> None:
    """Show a version: data, settings, metrics, proof, files.

    Of the settings those that differ from the defaults are shown; --json has all.

    Example: fine-tuning models show support:3
    """
    bench = shared.open()
    version = bench.models.versions.find(name)
    from fine_tuning.workbench.plans import chosen_settings

    value = version.to_dict()
    rows: dict[str, object] = {
        version.made_word: version.created_at[:16].replace("T", " "),
        "stage": version.stage,
        "base": f"{version.base_name} ({version.base_digest})",
        "data set": version.data_words,
        "run": version.run_folder,
        "parents": version.parent_words,
        "adapter": f"{version.adapter_name}, {version.method}",
        "verdict": version.outcome or "not evaluated",
    }
    chosen = chosen_settings(version.settings)
    rows |= {f"set: {key}": f"{found} (default {usual})" for key, (found, usual) in chosen.items()}
    if not chosen:
        rows["settings"] = "the defaults"
    rows |= {name: _measured(found) for name, found in version.metrics.items()}
    rows |= {f"file: {entry.kind}": f"{entry.path} ({entry.state})" for entry in version.artefacts}
    for entry in version.deployments:
        rows[f"served as {entry.name}"] = (
            f"{entry.state} on {entry.runtime} {entry.reason}".rstrip()
        )
        rows |= proof_rows(entry.proof)
    rows |= {f"note of {entry.created_at[:10]}": entry.text for entry in version.notes}
    rows |= {f"to forget: {entry.conversation_id}": entry.reason for entry in version.retraining}
    answer(value, as_json=shared.as_json, table=facts(version.name, rows))


def _measured(value: object) -> str:
    """Return a metric for people; of a comparison the candidate's value, and the reference's."""
    if isinstance(value, dict) and value.keys() == {"candidate", "reference"}:
        return f"{_measured(value['candidate'])}, reference {_measured(value['reference'])}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@models_app.command()
@shared_options()
def diff(
    shared: Shared,
    first: Version,
    second: Version,
) -> None:
    """Compare the records of two versions.

    Base model, parents, data, settings and metrics.

    Example: fine-tuning models diff support:2 support:3
    """
    difference = shared.open().models.lineage.diff(first, second)
    rows: dict[str, object] = {
        "base": " -> ".join(difference.base) if difference.base else "the same",
        "parents": " -> ".join(", ".join(names) or "none" for names in difference.parents)
        if difference.parents
        else "the same",
        "data set": " -> ".join(difference.snapshot) if difference.snapshot else "the same",
        "conversations": f"{difference.num_shared} shared, {len(difference.added)} added, "
        f"{len(difference.removed)} removed",
    }
    for changes in (difference.settings, difference.metrics):
        rows |= {
            key: f"{_measured(before)} -> {_measured(after)}"
            for key, (before, after) in changes.items()
        }
    answer(
        difference.to_dict(),
        as_json=shared.as_json,
        table=facts(f"{difference.first} -> {difference.second}", rows),
    )


@models_app.command()
@shared_options()
def verify(
    shared: Shared,
    name: Version,
) -> None:
    """Verify a version's files against their hashes."""
    bench = shared.open()
    version = bench.models.versions.find(name)
    problems = bench.models.register.registry().verify(name)
    value = {"version": version.name, "files": len(version.present), "problems": problems}
    text = "\n".join(problems) or f"{version.name}: all {len(version.present)} files are unchanged"
    answer(value, as_json=shared.as_json, text=text)
    if problems:
        raise typer.Exit(VERIFY_FAILED)


@models_app.command()
@shared_options()
def note(
    shared: Shared,
    name: Version,
    text: Annotated[str, typer.Argument(help="Text of the note.")],
) -> None:
    """Add a note to a version."""
    version = shared.open().models.register.registry().note(name, text)
    answer(version.to_dict(), as_json=shared.as_json, text=f"note added to {version.name}")


@models_app.command()
@shared_options()
def history(
    shared: Shared,
    name: FamilyOrVersion = None,
) -> None:
    """Show the history of versions.

    Registered, evaluated, deployed, switched to, archived, pruned ...

    Example: fine-tuning models history support:3
    """
    from fine_tuning.model_management.versions import plain

    events = shared.open().models.history(name)
    if shared.as_json:
        answer({"events": [plain(event) for event in events]}, as_json=True)
        return
    from rich.table import Table

    grid = Table(title="history", title_justify="left")
    for heading in ("when", "version", "event", "detail"):
        grid.add_column(heading, overflow="fold", no_wrap=heading == "when")
    for event in events:
        moment = event.created_at[:16].replace("T", " ")
        grid.add_row(moment, event.version or event.family, event.word, event.detail)
    answer(None, as_json=False, table=grid)


@models_app.command()
@shared_options()
def archive(
    shared: Shared,
    name: Version,
    reason: Annotated[str, typer.Option("--reason", help="Reason, shown in the history.")] = "",
) -> None:
    """Archive a version; promote restores it."""
    version = shared.open().models.register.registry().archive(name, reason)
    answer(version.to_dict(), as_json=shared.as_json, text=f"{version.name} is archived")


@models_app.command()
@shared_options()
def promote(
    shared: Shared,
    name: Version,
    reason: Annotated[str, typer.Option("--reason", help="Reason, shown in the history.")] = "",
) -> None:
    """Restore an archived version, as a challenger.

    To make it the champion: fine-tuning switch
    """
    version = shared.open().models.register.registry().promote(name, reason)
    answer(version.to_dict(), as_json=shared.as_json, text=f"{version.name} is a {version.stage}")
    if version.stage == "challenger" and not shared.as_json:
        is_served = any(one.state == "active" for one in version.deployments)
        verb = "switch" if is_served else "deploy"
        say(f"to let your chatbot answer as it: fine-tuning {verb} {version.name}")


@models_app.command()
@shared_options()
def prune(
    shared: Shared,
    keep: Annotated[int, typer.Option("--keep", help="Newest versions to keep per family.")] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed.")] = False,
) -> None:
    """Remove files of old versions.

    Versions that are served, in use or needed for a rollback are always kept.

    Example: fine-tuning models prune --keep 2 --dry-run
    """
    bench = shared.open()
    plan = bench.models.prune(keep=keep, is_trial=dry_run)
    rows: dict[str, object] = {
        item.version: f"{'would be removed' if dry_run else 'removed'}: "
        f"{len(item.artefacts)} files, {item.size_bytes / MIB:.1f} MiB"
        for item in plan.prunable
    }
    rows |= {name: f"kept: {why}" for name, why in plan.kept.items()}
    if plan.unused_bytes:
        rows["unused copies"] = f"{plan.unused_bytes / MIB:.1f} MiB"
    table = facts(f"{plan.size_bytes / MIB:.1f} MiB", rows)
    answer(plan.to_dict() | {"dry_run": dry_run}, as_json=shared.as_json, table=table)


@models_app.command(name="export")
@shared_options()
def export_model(
    shared: Shared,
    name: Version,
    folder: Annotated[Path, typer.Option("--to", help="Folder to create.")],
    kind: Annotated[
        str,
        typer.Option(
            "--as", help="adapter, peft, merged, or merged-TYPE (merged-f16, merged-q8_0)."
        ),
    ] = "merged",
) -> None:
    """Export a version: merged model or adapter.

    The folder has a Modelfile for Ollama.

    Example: fine-tuning models export support:3 --to support-3
    """
    bench = shared.open()
    made = bench.models.exporter.export(name, kind, folder)
    value = made.to_dict()
    rows: dict[str, object] = {
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
    answer(
        value, as_json=shared.as_json, table=None if shared.as_json else facts(str(folder), rows)
    )
