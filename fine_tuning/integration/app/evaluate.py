"""The page Evaluate: is a run better, in words and numbers, with every reply to look at."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from fine_tuning.core.run import RunOverview
from fine_tuning.evaluation.evaluation_summary import Check, EvaluationSummary
from fine_tuning.integration.app.common import empty_state, told, workbench
from fine_tuning.integration.app.evaluate_form import compare_again
from fine_tuning.integration.app.evaluate_numbers import numbers
from fine_tuning.integration.app.evaluate_questions import test_questions
from fine_tuning.integration.app.evaluate_replies import replies
from fine_tuning.integration.app.formatting import plain, when
from fine_tuning.integration.app.train_live import at_work
from fine_tuning.integration.app.train_runs import EVALUATE_RUN

MARKS = {
    "holds": ":green[:material/check_circle:]",
    "fails": ":red[:material/cancel:]",
    "undecided": ":orange[:material/help:]",
}
FILE_KINDS = {
    "html": ("Web page", "text/html", ":material/web:"),
    "md": ("Markdown", "text/markdown", ":material/article:"),
    "json": ("JSON", "application/json", ":material/data_object:"),
}


def show() -> None:
    """Show the page."""
    st.title("Evaluate")
    at_work("evaluate")
    with told():
        runs = [run for run in reversed(workbench().jobs.runs()) if run.state == "finished"]
        if not runs:
            empty_state(
                "No model was trained yet. Train one, and see here whether it is better.",
                page="train",
                label="Train a model",
                demo=True,
            )
            return
        run = _pick(runs)
        _evaluated(run, runs)


def _pick(runs: list[RunOverview]) -> RunOverview:
    by_folder = {str(run.folder): run for run in runs}
    names = list(by_folder)
    wanted = st.session_state.get(EVALUATE_RUN)
    evaluated = next((name for name in names if by_folder[name].is_evaluated), names[0])
    start = wanted if wanted in names else evaluated
    chosen = st.selectbox(
        "Run",
        names,
        index=names.index(start),
        format_func=lambda name: _name(by_folder[name]),
    )
    st.session_state[EVALUATE_RUN] = chosen
    return by_folder[chosen]


def _name(run: RunOverview) -> str:
    compared = "" if run.is_evaluated else " · not compared yet"
    return f"{run.run_id}{' (demo)' if run.is_demo else ''} · {when(run.created_at)}{compared}"


def _evaluated(run: RunOverview, runs: list[RunOverview]) -> None:
    found = None
    with told():
        found = workbench().evaluate.summary(str(run.folder))
    if found is None:
        if not run.is_evaluated:
            st.info(
                "This run was not compared yet. A comparison puts the same held-out chats and "
                "questions to it and to its base model.",
                icon=":material/balance:",
            )
        compare_again(run, runs, is_first=True)
        return
    _verdict(found)
    labels = ["Why", "Numbers", "Replies side by side", "Test questions", "Report"]
    why, figures, texts, questions, report = st.tabs(labels)
    with why:
        _reasons(found.checks)
    with figures:
        numbers(found)
    with texts:
        replies(found)
    with questions, told():
        test_questions(run)
    with report:
        _downloads(found)
    with st.expander("Compare again, or with other models", icon=":material/balance:"):
        compare_again(run, runs)


def _verdict(found: EvaluationSummary) -> None:
    made = datetime.fromtimestamp(found.made_s, UTC)
    text = f"**{plain(found.answer)}.** {plain(found.sentence)}"
    shown = {"good": st.success, "bad": st.error}.get(found.tone, st.warning)
    shown(text)
    others = found.models[1:-1]
    beside = f", beside {plain(', '.join(others))}" if others else ""
    st.caption(f"Against {plain(found.reference)}{beside}; compared {when(made)}.")


def _reasons(checks: tuple[Check, ...]) -> None:
    st.caption(
        ":material/flag: primary metric, must get better. The others must not get worse by more "
        "than a margin. Only a difference beyond chance counts."
    )
    for check in checks:
        st.markdown(
            f"{MARKS[check.finding]} {':material/flag: ' if check.is_primary else ''}"
            f"**{plain(check.label)}**: {plain(check.words)}",
            help=plain(check.detail),
        )


def _downloads(found: EvaluationSummary) -> None:
    st.caption("The full report, with seeds and hashes.")
    with st.container(horizontal=True):
        for suffix, path in found.files.items():
            label, mime, icon = FILE_KINDS[suffix]
            st.download_button(
                label,
                path.read_bytes(),
                file_name=f"{found.run_id}-evaluation.{suffix}",
                mime=mime,
                icon=icon,
                key=f"report-{suffix}",
            )
