"""Commands about the whole: demo and doctor."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from fine_tuning.cli.options import AsJson, Base, Home, Shared, shared_options
from fine_tuning.cli.output import GIB, answer, command, facts, progress_bars, results, say
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import object_at

if TYPE_CHECKING:
    from fine_tuning.core.finding import Finding
    from fine_tuning.workbench.demo import DemoResult
    from fine_tuning.workbench.doctor.parity import ParityReport

app = typer.Typer()
PARITY_FAILED = 1
MARKS = {"stop": "STOP", "warning": "warning", "note": "note", "good": "good"}


@app.command()
def demo(home: Home = None, as_json: AsJson = False) -> None:
    """Run the whole loop on sample conversations.

    With the embedded model, on a CPU, in minutes.

    Logs, cleans, exports, formats and splits the conversations of a fictional company's handbook,
    trains an adapter, and asks base and tuned model questions worded unlike the training data.
    """
    from fine_tuning.config.workspace import Workspace
    from fine_tuning.workbench.process import limit_spinning

    limit_spinning()
    from fine_tuning.training.progress import progress_listener
    from fine_tuning.workbench.demo import run_demo

    folder = Workspace.open(home).demo
    # Bars would draw over each other: the training bar has the terminal to itself.
    with progress_listener(sys.stderr) as listener:
        result = run_demo(folder, listener=listener, on_stage=lambda name: say(f"- {name}"))
    if as_json:
        answer(result.to_dict(), as_json=True)
    else:
        show_demo(result)


def show_demo(result: DemoResult) -> None:
    """Print the demo's findings for people."""
    from rich.markup import escape
    from rich.table import Table

    counts = result.cleaning.counts
    dropped = ", ".join(f"{number} {reason}" for reason, number in counts["dropped"].items())
    say(f"\n{counts['in']} conversations logged, {counts['kept']} kept; dropped: {dropped}")
    grid = Table(title="base against tuned, on held-out data")
    for heading in ("", "base", "tuned"):
        grid.add_column(heading, justify="right" if heading else "left")
    before, after = result.evaluation.held_out
    grid.add_row(
        "loss on held-out replies (lower is better)", f"{before.loss:.3f}", f"{after.loss:.3f}"
    )
    grid.add_row(
        "perplexity (lower is better)", f"{before.perplexity:.1f}", f"{after.perplexity:.1f}"
    )
    if (question_results := result.evaluation.questions) is not None:
        shares = [f"{result_row.fact_recall:.0%}" for result_row in question_results]
        grid.add_row(f"facts right, {len(question_results[0].answers)} reworded questions", *shares)
    results.print(grid)
    for pair in result.shown:
        results.print(f"\n[bold]{escape(pair.prompt)}[/bold]")
        for name, reply in pair.replies.items():
            results.print(f"  [cyan]{name:>5}[/cyan]  {escape(' '.join(reply.split()))}")
    costs = Table(title="\ncost")
    for heading in ("stage", "time", "peak memory"):
        costs.add_column(heading, justify="left" if heading == "stage" else "right")
    for cost in result.costs:
        memory = f"{cost.peak_memory_bytes / GIB:.2f} GiB"
        costs.add_row(cost.name, f"{cost.time_s:.1f} s", memory)
    costs.add_row("all", f"{sum(cost.time_s for cost in result.costs):.1f} s", "")
    results.print(costs)
    places = {
        "conversations": result.home / "conversations.jsonl",
        "exports": result.home / "exports",
        "data set": result.snapshot.path,
        "run": result.run.folder,
        "adapter for llama.cpp and Ollama": result.run.adapter_file,
        "summary": result.home / "summary.json",
    }
    for name, location in places.items():
        say(f"{name}: {location}")
    say(f"\nTalk to it: {command()} chat --model demo")


@app.command()
@shared_options()
def doctor(
    shared: Shared,
    parity: Annotated[
        bool,
        typer.Option("--parity", help="Compare the engine with llama.cpp."),
    ] = False,
    data: Annotated[
        bool,
        typer.Option("--data", help="Check the training data."),
    ] = False,
    base: Base = None,
) -> None:
    """Check the installation, the data and the engine.

    Without an option: what is installed, what is slow and why.

    --data looks for what would spoil training: too little data, leaks, secrets, wrong masks, each
    with a remedy. Its exit code is 3 when training must not start.

    --parity compares predictions with llama.cpp, token by token: of the base model named by --base
    (default: embedded), and with the adapter of its newest run.

    Example: fine-tuning doctor --data
    """
    with progress_bars() if parity or data else nullcontext() as progress:
        bench = shared.open(base=base, progress=progress)
        if data:
            show_findings(bench.train.preflight.check(), as_json=shared.as_json)
            return
        from fine_tuning.workbench.doctor.diagnostics import check_health, parity_reports

        for sentence in bench.models.deployment.recover():
            say(sentence)
        about_server, findings = bench.doctor.ollama()
        report = check_health(bench.context.workspace) | about_server
        reports = (
            parity_reports(bench.context, bench.models.bases, base or "embedded") if parity else []
        )
    value = {
        "health": report,
        "findings": [finding.to_dict() for finding in findings],
        "parity": [parity_report.to_dict() for parity_report in reports],
    }
    answer(value, as_json=shared.as_json, table=facts("health", report))
    for finding in findings:
        say(f"{finding.title}; next: {finding.fix}" if finding.fix else finding.title)
    if not shared.as_json:
        _show_parity(reports)
    if any(not parity_report.holds for parity_report in reports):
        raise typer.Exit(PARITY_FAILED)


def _show_parity(reports: Sequence[ParityReport]) -> None:
    for one in reports:
        rows = {
            "positions": one.num_positions,
            "mean KL": f"{one.mean_kl:.5f} nats",
            "largest KL": f"{one.max_kl:.5f} nats",
            "same most probable token": f"{one.top1_agreement:.1%}",
            "compute dtype": one.dtype,
            "parity": "holds" if one.holds else "FAILS",
        }
        results.print(facts(f"parity with llama.cpp: {one.name}", rows))


def show_findings(findings: Sequence[Finding], *, as_json: bool) -> None:
    """Print what was found; end with the code of bad data when training must not go on."""
    answer([finding.to_dict() for finding in findings], as_json=as_json)
    for finding in findings if not as_json else []:
        results.print(f"{MARKS[finding.severity]:>8}  {finding.title}", markup=False)
        details = (finding.detail, *finding.examples)
        for line in filter(None, details):
            results.print(f"          {line}", style="dim", markup=False, highlight=False)
        for name, number in object_at(finding.numbers, "histogram").items():
            results.print(f"          {name:>14} tokens: {number}", style="dim", highlight=False)
        if finding.fix and finding.severity != "good":
            results.print(f"          -> {finding.fix}", markup=False, highlight=False)
    if any(finding.severity == "stop" for finding in findings):
        raise typer.Exit(DataError.exit_code)
