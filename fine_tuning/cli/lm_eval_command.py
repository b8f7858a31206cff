"""The command that puts our tests to lm-evaluation-harness, a second opinion on the numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Base, Shared, shared_options
from fine_tuning.cli.output import answer, progress_bars, say

if TYPE_CHECKING:
    from fine_tuning.workbench.evaluate.lm_eval import LmEvalReport

app = typer.Typer()


@app.command("lm-eval")
@shared_options()
def lm_eval(
    shared: Shared,
    model: Annotated[str, typer.Argument(metavar="RUN|base", help="Run, latest, demo, or base.")],
    tasks: Annotated[
        str,
        typer.Option(
            "--tasks",
            metavar="NAME,NAME",
            help="ability, ability_<skill>, questions, replies; default: all.",
        ),
    ] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Items per task, at most.")
    ] = None,
    questions: Annotated[
        Path | None, typer.Option("--questions", help="JSONL of questions with key_facts.")
    ] = None,
    base: Base = None,
) -> None:
    """Run the evaluation in lm-evaluation-harness.

    A second measurement of the metrics, over the engine and the runtime, without network.

    Needs the extra: pip install 'fine-tuning[lm-eval]'

    Example: fine-tuning lm-eval base --tasks ability --limit 5
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # read when torch is loaded; the bars are ours
    with progress_bars() as progress:
        bench = shared.open(base=base, progress=progress)
        from fine_tuning.evaluation.questions import read_questions

        report = bench.evaluate.lm_eval.run(
            model,
            tasks=[name.strip() for name in tasks.split(",") if name.strip()],
            limit=limit,
            questions=read_questions(questions) if questions else None,
        )
    if shared.as_json:
        answer(report.to_dict(), as_json=True)
    else:
        _show(report)


def _show(report: LmEvalReport) -> None:
    from rich.table import Table

    title = f"{report.model}, by lm-evaluation-harness {report.version}"
    table = Table("task", "metric", "value", "standard error", "items", title=title)
    for score in report.scores:
        error = "" if score.standard_error is None else f"{score.standard_error:.4f}"
        table.add_row(score.task, score.metric, f"{score.value:.4f}", error, str(score.num_items))
    answer(None, as_json=False, table=table)
    say(f"Task files and every item: {report.folder}")
