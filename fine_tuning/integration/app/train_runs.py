"""All runs so far, wherever they were started, and what became of earlier work."""

from __future__ import annotations

import streamlit as st

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.run import RunOverview
from fine_tuning.integration.app.common import go_to, show_error, told, workbench
from fine_tuning.integration.app.formatting import count, duration, plain, size, when
from fine_tuning.integration.app.train_curves import loss_chart
from fine_tuning.integration.app.train_live import STATES, title_of
from fine_tuning.jobs.job import Job

EVALUATE_RUN = "evaluate-run"
SHOWN_JOBS = 8


def earlier_runs() -> None:
    """Show interrupted and finished runs, and earlier work that did not end well."""
    bench = workbench()
    runs = list(reversed(bench.jobs.runs()))
    jobs = bench.jobs.all()
    for job in reversed([one for one in jobs if one.state in {"failed", "stopped"}][-SHOWN_JOBS:]):
        _ended_badly(job)
    known = {(job.run_id, job.kind == "demo") for job in jobs if job.kind in {"train", "demo"}}
    for run in runs:
        if run.state == "interrupted" and (run.run_id, run.is_demo) not in known:
            _interrupted(run)
    finished = [run for run in runs if run.state == "finished"]
    if finished:
        st.subheader("Finished runs")
        _table(finished)
        _one(finished)


def _ended_badly(job: Job) -> None:
    icon, word, color = STATES[job.state]
    with st.container(border=True):
        st.markdown(f"**{icon} {title_of(job)}** :{color}-badge[{word}] {when(job.ended_at)}")
        if job.sentence:
            st.markdown(plain(job.sentence[:1].upper() + job.sentence[1:]) + ".")
        if job.next_command:
            st.caption(f"Next: {plain(job.next_command)}")
        with st.container(horizontal=True):
            if st.button("Resume", icon=":material/play_arrow:", key=f"again-{job.id}"):
                with told():
                    workbench().jobs.resume(job.id)
                    st.rerun()
            if st.button("Remove from the list", key=f"remove-{job.id}", type="tertiary"):
                with told():
                    workbench().jobs.remove(job.id)
                    st.rerun()


def _interrupted(run: RunOverview) -> None:
    with st.container(border=True):
        st.markdown(
            f"**:material/pause_circle: Run {plain(run.run_id)}** :orange-badge[interrupted] "
            f"{when(run.created_at)}"
        )
        st.caption("It left a checkpoint and can be resumed there.")
        if not run.is_demo and st.button(
            "Resume", icon=":material/play_arrow:", key=f"go-on-{run.run_id}"
        ):
            try:
                workbench().jobs.start_resuming(run.run_id)
            except FineTuningError as error:
                show_error(error)
            else:
                st.rerun()


def _table(runs: list[RunOverview]) -> None:
    rows = [
        {
            "Run": f"{run.run_id} (demo)" if run.is_demo else run.run_id,
            "Started": when(run.created_at),
            "Base": run.base_name,
            "Loss before": run.metrics.base_validation_loss,
            "Loss after": run.metrics.best_validation_loss,
            "Steps": count(run.metrics.num_steps),
            "Time": duration(run.metrics.training_time_s),
            "Memory": size(run.metrics.peak_memory_bytes),
            "Compared": "yes" if run.is_evaluated else "not yet",
        }
        for run in runs
    ]
    number = st.column_config.NumberColumn(
        format="%.2f", help="Loss on held-out chats, nats per token: lower is better"
    )
    st.dataframe(
        rows,
        hide_index=True,
        column_config={"Loss before": number, "Loss after": number},
    )


def _one(runs: list[RunOverview]) -> None:
    places = range(len(runs))
    chosen = st.selectbox(
        "Show a run",
        places,
        format_func=lambda i: f"{runs[i].run_id}{' (demo)' if runs[i].is_demo else ''}",
    )
    run = runs[chosen or 0]
    loss_chart(run)
    if run.metrics.stopped_early:
        st.caption("It stopped early: the loss on held-out chats fell no further.")
    if st.button("Evaluate", icon=":material/balance:"):
        st.session_state[EVALUATE_RUN] = str(run.folder)
        go_to("evaluate")
