"""Commands about conversations and data sets: import, stats, clean, export, prepare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fine_tuning.cli.options import AsJson, Base, Config, Home, Overrides, open_workbench
from fine_tuning.cli.output import answer, facts, progress_bars, say

NUM_SHOWN = 5
app = typer.Typer()


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="JSONL: a log, ft/1, ChatML, Alpaca, Instruction.")],
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Add the conversations of a file to the log; importing it twice adds nothing.

    Example: fine-tuning import chats.jsonl
    """
    report = open_workbench(home, config, overrides).import_file(file)
    for line in report.skipped[:NUM_SHOWN]:
        say(f"passed over: {line}")
    if len(report.skipped) > NUM_SHOWN:
        say(f"... and {len(report.skipped) - NUM_SHOWN} more")
    value = {
        "new": report.num_new,
        "known": report.num_known,
        "skipped": list(report.skipped),
    }
    text = (
        f"{report.num_new} new conversations, {report.num_known} known before, "
        f"{len(report.skipped)} lines passed over"
    )
    answer(value, as_json=as_json, text=text)


@app.command()
def stats(
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Count what was recorded."""
    bench = open_workbench(home, config, overrides)
    found = bench.logger().get_conversation_stats()
    shown = {key: value for key, value in found.items() if not isinstance(value, dict | list)}
    answer(found, as_json=as_json, table=facts(str(bench.workspace.conversations), shown))


@app.command()
def clean(
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show what cleaning keeps, what it drops and why; the log itself is not changed."""
    report = open_workbench(home, config, overrides).clean()
    counts = report.counts
    for item in report.dropped[:NUM_SHOWN]:
        say(f"dropped {item.conversation.id}: {item.reason} ({item.detail})")
    rows = {"conversations": counts["in"], "kept": counts["kept"]}
    rows |= {f"dropped: {reason}": number for reason, number in counts["dropped"].items()}
    rows |= {
        f"changed by {step['name']}": step["changed"] for step in counts["steps"] if step["changed"]
    }
    answer(counts, as_json=as_json, table=facts("cleaning", rows))


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
    paths = open_workbench(home, config, overrides).export(output)
    value = {name: str(path) for name, path in paths.items()}
    answer(value, as_json=as_json, table=facts("exported", value))


@app.command()
def prepare(
    base: Base = None,
    home: Home = None,
    config: Config = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Build a data set for a base model: clean, tokenize, split into train, validation and test."""
    with progress_bars() as progress:
        bench = open_workbench(home, config, overrides, base=base, progress=progress)
        snapshot = bench.prepare()
    splits = snapshot.manifest["splits"]
    rows = {
        name: f"{split['conversations']} conversations, {split['tokens']} tokens, "
        f"{split['trained_tokens']} of them learnt"
        for name, split in splits.items()
    }
    value = {"name": snapshot.name, "folder": str(snapshot.path), "splits": splits}
    answer(value, as_json=as_json, table=facts(f"data set {snapshot.name}", rows))
