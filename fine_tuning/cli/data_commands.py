"""Commands about conversations and data sets: stats, clean, export, prepare."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import AsJson, Base, Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import answer, facts, progress_bars, results, say

if TYPE_CHECKING:
    from fine_tuning.data_collection.data_cleaner import Change

NUM_SHOWN = 5
app = typer.Typer()


@app.command()
def stats(
    html: Annotated[
        Path | None, typer.Option("--html", help="Write a page with plots; it loads nothing.")
    ] = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Count what was recorded, what cleaning keeps of it, and how it is spread.

    Example: fine-tuning stats --html stats.html
    """
    with progress_bars() as progress:
        bench = open_workbench(home, config, overrides, progress=progress)
        recorded = bench.data.logger().get_conversation_stats()
        report = bench.data.reporter.report() if recorded["total_conversations"] else None
    if report is None:
        shown = {k: value for k, value in recorded.items() if not isinstance(value, dict | list)}
        answer(
            recorded,
            as_json=as_json,
            table=facts(str(bench.context.workspace.conversations), shown),
        )
        return
    value = {**recorded, **report.to_dict()}
    shown = {k: item for k, item in value.items() if not isinstance(item, dict | list)}
    shown |= {f"feedback: {k}": number for k, number in value["feedback"].items() if number}
    shown |= {"kept by cleaning": report.counts["kept"]}
    for name in ("turns", "exchange_chars", "tokens", "quality"):
        spread = value["clean"][name]
        shown[f"kept: {name.replace('_', ' ')}"] = ", ".join(
            f"{k} {number:g}" for k, number in spread.items()
        )
    shown["kept: languages"] = ", ".join(
        f"{k} {number}" for k, number in value["clean"]["languages"].items()
    )
    answer(value, as_json=as_json, table=facts(str(bench.context.workspace.conversations), shown))
    if html is not None:
        say(f"report: {bench.data.reporter.write(report, html.absolute())}")


@app.command()
def clean(
    diff: Annotated[
        bool, typer.Option("--diff", help="Show every text that changes, before and after.")
    ] = False,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what cleaning keeps, what it drops and why; the log itself is not changed."""
    if diff:
        show_changes(open_workbench(home, config, overrides).data.changes(), as_json=as_json)
        return
    with progress_bars() as progress:
        report = open_workbench(home, config, overrides, progress=progress).data.clean()
    counts = report.counts
    for item in report.dropped[:NUM_SHOWN]:
        say(f"dropped {item.conversation.id}: {item.reason} ({item.detail})")
    rows = {"conversations": counts["in"], "kept": counts["kept"]}
    rows |= {f"dropped: {reason}": number for reason, number in counts["dropped"].items()}
    rows |= {
        f"changed by {step['name']}": step["changed"] for step in counts["steps"] if step["changed"]
    }
    if report.review:
        rows["alike, to look at"] = len(report.review)
    dropped = [
        {"conversation": item.conversation.id, "reason": item.reason, "detail": item.detail}
        for item in report.dropped
    ]
    answer({**counts, "dropped_log": dropped}, as_json=as_json, table=facts("cleaning", rows))


def show_changes(changes: Iterable[Change], *, as_json: bool) -> None:
    """Print texts before and after, one JSON object a line or in red and green."""
    count = 0
    for change in changes:
        count += 1
        if as_json:
            sys.stdout.write(json.dumps(asdict(change), ensure_ascii=False) + "\n")
            continue
        results.print(f"{change.conversation_id} ({change.role})", style="bold", markup=False)
        before, after = change.before.splitlines(), change.after.splitlines()
        for line in unified_diff(before, after, lineterm="", n=0):
            if not line.startswith(("---", "+++", "@@")):
                style = "red" if line.startswith("-") else "green"
                results.print(line, style=style, markup=False, highlight=False)
    say(f"{count} texts change; the log itself stays as it is")


@app.command()
def export(
    output: Annotated[
        Path | None, typer.Option("--output", help="The folder; the workspace's exports if absent.")
    ] = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Write the clean conversations as ChatML, Alpaca and Instruction files, with statistics."""
    with progress_bars() as progress:
        paths = open_workbench(home, config, overrides, progress=progress).data.export(output)
    value = {name: str(path) for name, path in paths.items()}
    answer(value, as_json=as_json, table=facts("exported", value))


@app.command()
def prepare(
    show: Annotated[
        int, typer.Option("--show", min=0, help="Show so many sequences, what is learnt in green.")
    ] = 0,
    base: Base = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Build a data set for a base model: clean, tokenize, split into train, validation and test."""
    with progress_bars() as progress:
        bench = open_workbench(home, config, overrides, base=base, progress=progress)
        snapshot = bench.data.prepare()
        masks = bench.data.reporter.masks(snapshot, show, ansi=results.is_terminal) if show else []
    splits = snapshot.manifest["splits"]
    rows = {
        name: f"{split['conversations']} conversations, {split['tokens']} tokens, "
        f"{split['trained_tokens']} of them learnt"
        for name, split in splits.items()
    }
    for number, mask in enumerate(masks if not as_json else (), start=1):
        results.print(f"sequence {number}", style="bold")
        results.file.write(mask + "\n\n")
    value = {"name": snapshot.name, "folder": str(snapshot.path), "splits": splits}
    value |= {"shown": masks} if show else {}
    answer(value, as_json=as_json, table=facts(f"data set {snapshot.name}", rows))
