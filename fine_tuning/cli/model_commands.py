"""Commands about models: train, evaluate, compare."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import Base, Shared, shared_options
from fine_tuning.cli.output import GIB, answer, facts, progress_bars, results, say
from fine_tuning.core.data_account import account_line, finest
from fine_tuning.core.errors import ConfigError

if TYPE_CHECKING:
    from fine_tuning.core.run import Run
    from fine_tuning.data_preparation.snapshot import Snapshot
    from fine_tuning.evaluation.evaluation_report import EvaluationReport
    from fine_tuning.training.forecast import Forecast
    from fine_tuning.workbench.workbench import Workbench

app = typer.Typer()

Questions = Annotated[
    Path | None,
    typer.Option("--questions", help="JSONL of questions with key_facts."),
]
Served = Annotated[
    bool,
    typer.Option("--served", help="Replies from the deployed models."),
]


@app.command()
@shared_options()
def train(
    shared: Shared,
    base: Base = None,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Data set; default: a new one.")
    ] = None,
    run_id: Annotated[
        str, typer.Option("--run-id", help="Name of the run; default: the time.")
    ] = "",
    start_from: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="VERSION",
            help="Continue a version's adapter instead of a new one; it keeps its rank and scale.",
        ),
    ] = "",
    resume: Annotated[
        str | None, typer.Option("--resume", metavar="RUN", help="Resume an interrupted run.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only forecast time, memory and disk.")
    ] = False,
) -> None:
    """Train an adapter on the recorded conversations.

    Ctrl-C interrupts a run; --resume continues it.

    Example: fine-tuning train --base embedded --set training.num_epochs=4
    """
    from fine_tuning.training.progress import progress_listener

    if resume is not None:
        _resume(shared, resume, is_alone=not any((base, dataset, run_id, dry_run, start_from)))
        return
    with progress_bars() as progress:
        bench = shared.open(base=base, progress=progress)
        if start_from:
            bench.models.runs.find(start_from)  # before a data set is built for nothing
        snapshot = _data_set(bench, dataset)
    if dry_run:
        forecast = bench.train.forecast(snapshot, start_from=start_from)
        _show_forecast(forecast, as_json=shared.as_json)
        return
    with progress_listener(sys.stderr) as listener:
        run = bench.train.train(snapshot, run_id=run_id, listener=listener, start_from=start_from)
    _show_run(bench, run, as_json=shared.as_json)


def _data_set(bench: Workbench, name: str | None) -> Snapshot:
    """Return a data set by its name, or a new one; say what was left out of it in one line."""
    snapshot = bench.data.datasets.find(name) if name else bench.data.prepare()
    say(account_line(finest(bench.data.reporter.accounts(snapshot, is_new=not name))))
    return snapshot


def _resume(shared: Shared, run_id: str, *, is_alone: bool) -> None:
    if shared.overrides or not is_alone:
        raise ConfigError(
            "a resumed run keeps the settings it was started with, expected --resume alone",
            next_command=f"fine-tuning train --resume {run_id}",
        )
    from fine_tuning.training.progress import progress_listener

    bench = shared.open()
    with progress_listener(sys.stderr) as listener:
        if bench.train.is_finished(run_id):
            say(f"Run {run_id} was finished already.")
        run = bench.train.resume(run_id, listener)
    _show_run(bench, run, as_json=shared.as_json)


def _show_forecast(known: Forecast, *, as_json: bool) -> None:
    from fine_tuning.training.throughput import duration

    rows = {
        "time": f"{duration(known.time_s or 0)} for {known.num_steps} steps",
        "peak memory": f"{known.peak_memory_bytes / GIB:.2f} GiB",
        "disk": f"{known.disk_bytes / 1e6:.0f} MB while it lasts",
        "memory plan": known.memory.reason,
    }
    answer(
        {"num_steps": known.num_steps, **known.values()},
        as_json=as_json,
        table=facts("forecast", rows),
    )


def _show_run(bench: Workbench, run: Run, *, as_json: bool) -> None:
    if remark := bench.train.mode_remark(run):
        say(remark)
    metrics, version = run.metrics, bench.models.versions.of_run(run).name
    about = {"run_id": run.run_id, "version": version, "folder": str(run.folder)}
    value = {**about, **asdict(metrics)}
    rows = {
        "run": run.run_id,
        "version": version,
        "loss": f"{metrics.first_loss or 0:.3f} to {metrics.last_loss or 0:.3f}",
        "validation loss": f"base {_loss(metrics.base_validation_loss)}, best "
        f"{_loss(metrics.best_validation_loss)} at step {metrics.best_step}",
        "time": f"{metrics.training_time_s:.0f} s for {metrics.num_steps} steps",
        "peak memory": f"{metrics.peak_memory_bytes / GIB:.2f} GiB",
        "adapter": run.adapter_dir,
        "next": f"fine-tuning evaluate {run.run_id}",
    }
    answer(value, as_json=as_json, table=facts("trained", rows))


def _loss(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"


@app.command()
@shared_options()
def evaluate(
    shared: Shared,
    run: Annotated[str, typer.Argument(help="Run, start of its id, latest, or demo.")],
    questions: Questions = None,
    served: Served = False,
) -> None:
    """Evaluate a run against its base on held-out data.

    Every difference has its confidence interval. Interrupted, the same command resumes.

    Example: fine-tuning evaluate latest
    """
    _compare(shared, ["base", run], questions, served=served, is_final=True)


@app.command()
@shared_options()
def compare(
    shared: Shared,
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="REFERENCE [RUN]... CANDIDATE",
            help="base or a run, runs shown beside it, and last the candidate.",
        ),
    ],
    questions: Questions = None,
    judge: Annotated[
        str,
        typer.Option("--judge", help="Judge model: asked blindly which reply is better."),
    ] = "",
    served: Served = False,
) -> None:
    """Compare runs on the same held-out data.

    The verdict is about the last one, the candidate, against the first, the reference.

    Example: fine-tuning compare base monday latest
    """
    _compare(shared, models, questions, judge=judge, served=served)


def _compare(
    shared: Shared,
    models: list[str],
    questions: Path | None,
    *,
    is_final: bool = False,
    judge: str = "",
    served: bool = False,
) -> None:
    if len(models) < 2:  # noqa: PLR2004 - a pair
        raise ConfigError(
            f"only {models[0]!r} was named, expected a reference and a candidate",
            next_command=f"fine-tuning compare base {models[0]}",
        )
    reference, *beside, candidate = models
    with progress_bars() as progress:
        bench = shared.open(progress=progress)
        from fine_tuning.evaluation.questions import read_questions

        question_set = read_questions(questions) if questions else None
        report = bench.evaluate.evaluate(
            candidate,
            against=reference,
            beside=beside,
            questions=question_set,
            judge=judge,
            served=served,
        )
    if shared.as_json:
        answer(report.to_dict(), as_json=True)
    else:
        show_report(report)
        say(f"Report for a browser: {bench.evaluate.report_file(candidate)}")
    if is_final:
        _deploy_if_better(bench, candidate, report.verdict.outcome)


def _deploy_if_better(bench: Workbench, run: str, outcome: str) -> None:
    """Deploy what was found better, where deployment.auto_deploy says so; told as a remark."""
    from fine_tuning.core.errors import FineTuningError

    try:
        with progress_bars() as progress:
            deployment = bench.with_progress(progress).models.deployment
            done = deployment.deploy_if_better(run, outcome)
    except FineTuningError as error:
        say(f"It was not deployed automatically (deployment.auto_deploy): {error}")
        return
    if done is not None:
        where = f"{done.deployed.name} on {done.deployed.runtime}"
        say(f"It is better: deployed, with proof: {where} (deployment.auto_deploy).")


def show_report(report: EvaluationReport) -> None:
    """Print an evaluation for people."""
    from rich.markup import escape

    from fine_tuning.evaluation.comparison_table import table

    results.print(table(report.comparisons))
    for comparison in report.against(report.verdict.reference):
        if comparison.suite == report.policy.suite:
            say(comparison.power_sentence(report.policy.metric))
    if report.drift:
        results.print(table(report.drift))
    if report.contamination and report.contamination.contaminated:
        found = len(report.contamination.contaminated)
        say(f"{found} test items were left out: their text is in the training data.")
    for remark in report.judge.remarks if report.judge else ():
        say(f"Judge model: {remark}.")
    for pair in report.side_by_side:
        results.print(f"\n[bold]{escape(pair.prompt)}[/bold]")
        for name, reply in pair.replies.items():
            results.print(f"[cyan]{escape(name)}[/cyan]: {escape(reply)}")
    _show_verdict(report)


def _show_verdict(report: EvaluationReport) -> None:
    from rich.markup import escape

    results.print(f"\nverdict: [bold]{report.verdict.outcome}[/bold]")
    for reason in sorted(report.verdict.reasons, key=lambda r: _FINDINGS.index(r.finding)):
        mark = {"fails": "[red]fails[/red]", "undecided": "[yellow]open[/yellow]"}
        shown = mark.get(reason.finding, "[green]holds[/green]")
        results.print(f"  {shown}  {escape(reason.check)}: {escape(reason.sentence)}")


_FINDINGS = ("fails", "undecided", "holds")
