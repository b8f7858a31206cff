"""The loss curves of a run, while it lasts and afterwards."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from fine_tuning.core.run import RunOverview
from fine_tuning.integration.app.common import workbench

MAX_POINTS = 400
HEIGHT_PX = 320
TRAINING, VALIDATION = "training chats", "held-out chats"


def loss_chart(run: RunOverview) -> None:
    """Draw the losses a run told so far."""
    rows = losses(run)
    if not rows:
        st.caption("The first step is under way." if run.state == "running" else "No step yet.")
        return
    scale = alt.Scale(domain=[TRAINING, VALIDATION], range=["#5b8def", "#e08a2e"])
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("step:Q", title="Step", axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("loss:Q", title="Loss, nats per token (lower is better)", scale={"zero": False}),
        color=alt.Color("what:N", title=None, scale=scale, legend=alt.Legend(orient="top")),
        tooltip=[
            alt.Tooltip("what:N", title="Loss on"),
            alt.Tooltip("step:Q", title="Step"),
            alt.Tooltip("loss:Q", title="Loss", format=".3f"),
        ],
    )
    lines = base.mark_line(opacity=0.9).transform_filter(alt.datum.what == TRAINING)
    points = base.mark_line(point={"size": 60}).transform_filter(alt.datum.what == VALIDATION)
    st.altair_chart((lines + points).properties(height=HEIGHT_PX))


def losses(run: RunOverview) -> list[dict[str, Any]]:
    """Return a run's losses: step, loss and what it was measured on; of many steps, means."""
    path = run.events_path
    stamp = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else (0, 0)
    return _losses(str(run.folder), stamp)


@st.cache_data(max_entries=16, show_spinner=False)
def _losses(folder: str, stamp: tuple[int, int]) -> list[dict[str, Any]]:
    del stamp  # of the file, so that more events are read again
    trained: list[tuple[int, float]] = []
    rows: list[dict[str, Any]] = []
    for event in workbench().jobs.run_events(folder):
        if event.kind == "step":
            trained.append((event.step, float(event.values.get("loss") or 0)))
        elif event.kind == "validation" and event.values.get("validation_loss") is not None:
            loss = float(event.values["validation_loss"] or 0)
            rows.append({"step": event.step, "loss": loss, "what": VALIDATION})
    together = -(-len(trained) // MAX_POINTS) or 1
    for start in range(0, len(trained), together):
        part = trained[start : start + together]
        mean = sum(loss for _, loss in part) / len(part)
        rows.append({"step": part[-1][0], "loss": mean, "what": TRAINING})
    return rows
