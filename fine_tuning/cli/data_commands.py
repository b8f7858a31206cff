"""Commands about conversations and data sets: stats, clean, export, prepare."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Base, Shared, shared_options
from fine_tuning.cli.output import answer, facts, progress_bars, results, say
from fine_tuning.core.data_account import account_remarks, account_rows, reason_words

if TYPE_CHECKING:
    from fine_tuning.core.data_account import DataAccount
    from fine_tuning.data_collection.data_cleaner import Change

NUM_SHOWN = 5
SPREAD_WORDS = {"least": "min", "greatest": "max"}
app = typer.Typer()


@app.command()
@shared_options()
def stats(
    shared: Shared,
    html: Annotated[Path | None, typer.Option("--html", help="Write a page with plots.")] = None,
) -> None:
    """Show statistics of conversations and feedback.

    What was recorded, what cleaning keeps of it, and their distributions.

    Example: fine-tuning stats --html stats.html
    """
    with progress_bars() as progress:
        bench = shared.open(progress=progress)
        recorded = bench.data.logger().get_conversation_stats()
        report = bench.data.reporter.report() if recorded["total_conversations"] else None
    if report is None:
        shown = {k: value for k, value in recorded.items() if not isinstance(value, dict | list)}
        answer(
            recorded,
            as_json=shared.as_json,
            table=facts(str(bench.context.workspace.conversations), shown),
        )
        return
    from fine_tuning.data_collection.cleaning_account import cleaning_accounts
    from fine_tuning.data_collection.profile import most, spread_of

    value = {**recorded, **report.to_dict()}
    shown = {k: item for k, item in value.items() if not isinstance(item, dict | list)}
    shown |= {f"feedback: {k}": number for k, number in recorded["feedback"].items() if number}
    shown |= account_rows(cleaning_accounts(report.counts))
    for name in ("turns", "exchange_chars", "tokens", "quality"):
        spread = spread_of(report.profile.spreads[name])
        shown[f"kept: {name}"] = ", ".join(
            f"{SPREAD_WORDS.get(k, k)} {number:g}" for k, number in spread.items()
        )
    languages = most(report.profile.languages)
    shown["kept: languages"] = ", ".join(f"{k} {number}" for k, number in languages.items())
    rows = {key.replace("_", " "): item for key, item in shown.items()}
    recorded_in = str(bench.context.workspace.conversations)
    answer(value, as_json=shared.as_json, table=facts(recorded_in, rows))
    show_remarks(cleaning_accounts(report.counts), as_json=shared.as_json)
    if html is not None:
        say(f"report: {bench.data.reporter.write(report, html.absolute())}")


@app.command()
@shared_options()
def clean(
    shared: Shared,
    diff: Annotated[
        bool, typer.Option("--diff", help="Show each changed text, before and after.")
    ] = False,
) -> None:
    """Show what cleaning keeps, what it drops, and why.

    The log itself is not changed.

    Example: fine-tuning clean --diff
    """
    if diff:
        show_changes(shared.open().data.changes(), as_json=shared.as_json)
        return
    with progress_bars() as progress:
        report = shared.open(progress=progress).data.clean()
    from fine_tuning.data_collection.cleaning_account import cleaning_accounts

    counts = report.counts
    for item in report.dropped[:NUM_SHOWN]:
        say(f"dropped {item.conversation.id}: {item.reason} ({item.detail})")
    accounts = cleaning_accounts(counts)
    rows = account_rows(accounts)
    rows |= {
        f"changed by {reason_words(step['name'])}": f"{step['changed']:,}"
        for step in counts["steps"]
        if step["changed"]
    }
    if report.review:
        rows["near duplicates to review"] = f"{len(report.review):,}"
    dropped = [
        {"conversation": item.conversation.id, "reason": item.reason, "detail": item.detail}
        for item in report.dropped
    ]
    answer(
        {**counts, "dropped_log": dropped}, as_json=shared.as_json, table=facts("cleaning", rows)
    )
    show_remarks(accounts, as_json=shared.as_json)


def show_remarks(accounts: Sequence[DataAccount], *, as_json: bool) -> None:
    """Print one line for each reason that leaves out more than a tenth."""
    for line in account_remarks(accounts) if not as_json else ():
        results.print(line, markup=False, highlight=False, soft_wrap=True)


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
    say(f"{count} texts change; the log itself is not changed")


@app.command()
@shared_options()
def export(
    shared: Shared,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder; default: exports in the workspace.")
    ] = None,
) -> None:
    """Export the cleaned conversations as training files.

    ChatML, Alpaca, Instruction, OpenAI, ShareGPT and TRL's formats, with statistics.

    Example: fine-tuning export --output exports
    """
    with progress_bars() as progress:
        paths = shared.open(progress=progress).data.export(output)
    value = {name: str(path) for name, path in paths.items()}
    answer(value, as_json=shared.as_json, table=facts("exported", value))


@app.command()
@shared_options()
def prepare(
    shared: Shared,
    show: Annotated[
        int, typer.Option("--show", min=0, help="Show N sequences; trained on: green.")
    ] = 0,
    base: Base = None,
) -> None:
    """Build a data set: clean, tokenize and split.

    The splits are train, validation and test; the tokens are those of the base model.

    Example: fine-tuning prepare --base embedded --show 3
    """
    with progress_bars() as progress:
        bench = shared.open(base=base, progress=progress)
        snapshot = bench.data.prepare()
        accounts = bench.data.reporter.accounts(snapshot, is_new=True)
        masks = bench.data.reporter.masks(snapshot, show, ansi=results.is_terminal) if show else []
    splits = snapshot.manifest["splits"]
    rows = {
        name: f"{split['conversations']} conversations, {split['tokens']} tokens, "
        f"{split['trained_tokens']} of them trained on"
        for name, split in splits.items()
    }
    rows |= account_rows(accounts)
    for number, mask in enumerate(masks if not shared.as_json else (), start=1):
        results.print(f"sequence {number}", style="bold")
        results.file.write(mask + "\n\n")
    value = {"name": snapshot.name, "folder": str(snapshot.path), "splits": splits}
    value |= {
        "left_out": {account.title or account.unit: account.to_dict() for account in accounts}
    }
    value |= {"shown": masks} if show else {}
    answer(value, as_json=shared.as_json, table=facts(f"data set {snapshot.name}", rows))
    show_remarks(accounts, as_json=shared.as_json)
