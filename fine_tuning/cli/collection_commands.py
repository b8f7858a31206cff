"""Commands about what was said: import, feedback, backup, forget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Shared, shared_options
from fine_tuning.cli.output import answer, facts, progress_bars, say
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.json_value import JsonValue, number_of, trusted

if TYPE_CHECKING:
    from fine_tuning.data_collection.file_import import ImportReport

NUM_SHOWN = 5
LIKE_THIS = "fine-tuning feedback MESSAGE --session SESSION --up"
KINDS_OF_FEEDBACK = "--up, --down, --no-thumb, --rating, --edit, --over"
app = typer.Typer()


@app.command("import")
@shared_options()
def import_files(
    shared: Shared,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Exports of chat programs (ChatGPT, Claude, Gemini, Open WebUI, LM Studio and "
            "more), records of OpenAI, ShareGPT, Alpaca and preferences, tables, logs.",
        ),
    ],
    format_name: Annotated[
        str | None, typer.Option("--format", metavar="NAME", help="Format; recognised if absent.")
    ] = None,
    assistant: Annotated[
        str,
        typer.Option(
            "--assistant", metavar="NAME", help="Assistant, in a chat between persons (WhatsApp)."
        ),
    ] = "",
) -> None:
    """Import conversations and feedback from files.

    They are added to the log; importing a file twice adds nothing.

    Example: fine-tuning import conversations.json
    """
    reports: list[dict[str, JsonValue]] = []
    failed: DataError | None = None
    with progress_bars() as progress:
        bench = shared.open(progress=progress)
        for file in files:
            try:
                report = bench.data.importer.import_file(file, format_name, assistant)
            except DataError as error:
                if len(files) == 1:
                    raise
                say(error.message)
                failed = error
                continue
            _tell(report)
            reports.append(_as_value(report))
    if reports or failed is None:
        answer(
            reports[0] if len(files) == 1 else reports, as_json=shared.as_json, text=_total(reports)
        )
    if failed is not None:
        raise failed


def _tell(report: ImportReport) -> None:
    from fine_tuning.data_collection.import_remarks import unread_line

    say(f"{report.path.name}: {report.title}, because {report.reason}")
    if line := unread_line(report.unread):
        say(f"  {line}")
    for line in report.skipped[:NUM_SHOWN]:
        say(f"  set aside: {line}")
    if report.quarantine is not None:
        say(f"  {report.num_quarantined} records were set aside; see {report.quarantine}")


def _as_value(report: ImportReport) -> dict[str, JsonValue]:
    return {
        "file": str(report.path),
        "format": report.format,
        "reason": report.reason,
        "in": report.num_in,
        "new": report.num_new,
        "known": report.num_known,
        "feedback": report.num_feedback,
        "quarantined": report.num_quarantined,
        "skipped": list(report.skipped),
        "unread": dict(report.unread),
        "quarantine": str(report.quarantine) if report.quarantine else None,
    }


def _total(reports: list[dict[str, JsonValue]]) -> str:
    new, known, feedback, aside = (
        sum(int(number_of(report, key)) for report in reports)
        for key in ("new", "known", "feedback", "quarantined")
    )
    return (
        f"{new} new conversations, {known} already in the log, {feedback} ratings and choices, "
        f"{aside} records set aside"
    )


@app.command()
@shared_options()
def feedback(
    shared: Shared,
    message: Annotated[
        str | None, typer.Argument(help="Id of a reply; without it, feedback is counted.")
    ] = None,
    session: Annotated[
        str | None, typer.Option("--session", help="Id of its conversation.")
    ] = None,
    up: Annotated[bool, typer.Option("--up", help="Thumb up.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Thumb down.")] = False,
    none: Annotated[bool, typer.Option("--no-thumb", help="Remove the thumb.")] = False,
    rating: Annotated[
        int | None, typer.Option("--rating", help="Rating from 1 (worst) to 10.")
    ] = None,
    edit: Annotated[
        str | None, typer.Option("--edit", help="Correction: the better reply.")
    ] = None,
    over: Annotated[
        str | None, typer.Option("--over", help="Choice: id of the reply it is preferred to.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Reason, in a word or two.")] = "",
    comment: Annotated[str, typer.Option("--comment", help="Comment, free text.")] = "",
    pairs: Annotated[
        Path | None, typer.Option("--pairs", help="Write preference pairs as JSON lines.")
    ] = None,
) -> None:
    """Give feedback on a reply, or count the feedback.

    Example: fine-tuning feedback MESSAGE --session SESSION --down
    """
    log = shared.open().data.feedback
    if pairs is not None:
        written = log.write_preference_pairs(pairs)
        answer(
            {"pairs": written, "file": str(pairs)},
            as_json=shared.as_json,
            text=f"{written} preference pairs written to {pairs}",
        )
        return
    given = [*_thumb(up, down, none), *_others(rating, edit, over)]
    if message is None and not (given or session or reason or comment):
        _show_counts(log.counts(), as_json=shared.as_json)
        return
    reply, its_session = _named(message, session, given, has_text=bool(reason or comment))
    ids = [
        log.record(its_session, reply, **trusted(fields), reason=reason, comment=comment)
        for fields in given
    ]
    answer({"feedback": ids}, as_json=shared.as_json, text=f"feedback saved: {len(ids)}")


def _named(
    message: str | None, session: str | None, given: Sequence[object], *, has_text: bool
) -> tuple[str, str]:
    """Return the reply and its session that feedback is given on.

    Raises:
        ConfigError: naming what is missing.
    """
    if message is None:
        missing = "feedback is given on a reply, expected its id first"
    elif not given:
        what = "a comment or reason goes with feedback" if has_text else "no feedback"
        missing = f"{what}, expected one of {KINDS_OF_FEEDBACK}"
    elif session is None:
        missing = "a reply is looked up in its conversation, expected --session"
    else:
        return message, session
    raise ConfigError(missing, next_command=LIKE_THIS)


def _show_counts(counts: dict[str, JsonValue], *, as_json: bool) -> None:
    rows = {name.replace("_", " "): number for name, number in counts.items()}
    answer(counts, as_json=as_json, table=facts("feedback", rows))


def _thumb(up: bool, down: bool, none: bool) -> list[dict[str, JsonValue]]:
    named = [
        name
        for name, is_given in (("--up", up), ("--down", down), ("--no-thumb", none))
        if is_given
    ]
    if len(named) > 1:
        raise ConfigError(
            f"{' and '.join(named)} contradict each other, expected one of them",
            next_command=LIKE_THIS,
        )
    return [{"kind": "thumb", "value": up - down}] if up or down or none else []


def _others(rating: int | None, edit: str | None, over: str | None) -> list[dict[str, JsonValue]]:
    fields: list[tuple[str, str, int | str | None]] = [
        ("rating", "value", rating),
        ("correction", "text", edit),
        ("choice", "rejected_id", over),
    ]
    return [{"kind": kind, key: said} for kind, key, said in fields if said is not None]


@app.command()
@shared_options()
def backup(
    shared: Shared,
    file: Annotated[Path, typer.Argument(help="A .jsonl or .db file; replaced if it exists.")],
) -> None:
    """Copy all conversations and feedback into a file.

    Recording may continue meanwhile.

    Example: fine-tuning backup conversations-backup.db
    """
    target = shared.open().data.back_up(file)
    size_bytes = target.stat().st_size
    value = {"file": str(target), "size_bytes": size_bytes}
    answer(value, as_json=shared.as_json, text=f"{target}: {size_bytes} bytes")


@app.command()
@shared_options()
def forget(
    shared: Shared,
    conversation: Annotated[str, typer.Argument(help="Its id, or the start of it.")],
) -> None:
    """Remove a conversation from log, data sets and exports.

    Versions that were trained on it are named and marked, to be trained again.

    Example: fine-tuning forget 0198c3
    """
    forgotten = shared.open().data.eraser.forget(conversation)
    value = {
        "conversation": forgotten.conversation_id,
        "datasets": forgotten.datasets,
        "to_retrain": list(forgotten.to_retrain),
        "removed": [str(path) for path in forgotten.removed],
        "residue": [str(path) for path in forgotten.residue],
    }
    rows = {
        "conversation": forgotten.conversation_id,
        "data sets rebuilt": "\n".join(
            f"{old}, now {new}" if new else f"{old}, removed: nothing else was in it"
            for old, new in forgotten.datasets.items()
        )
        or "none held it",
        "to train again": ", ".join(forgotten.to_retrain) or "no version was trained on it",
        "files removed or shortened": "\n".join(map(str, forgotten.removed)) or "none held it",
    }
    if forgotten.residue:
        rows["its words remain in"] = "\n".join(map(str, forgotten.residue))
    answer(value, as_json=shared.as_json, table=facts("forgotten", rows))
