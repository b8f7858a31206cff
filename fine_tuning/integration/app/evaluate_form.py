"""A new comparison: with the base, an earlier run, or both; with a judge or without."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from fine_tuning.core.run import RunOverview
from fine_tuning.integration.app.common import told, workbench
from fine_tuning.integration.app.train_form import installed_bases

BASE = "base"
NO_JUDGE = ""


def compare_again(run: RunOverview, runs: list[RunOverview], *, is_first: bool = False) -> None:
    """Show the form; the comparison is a job."""
    others = {
        str(one.folder): one.run_id
        for one in runs
        if one.folder != run.folder and one.base_digest == run.base_digest
    }
    against, beside = _others(run, {BASE: "the untuned base", **others})
    judge = st.selectbox(
        "A judge",
        [NO_JUDGE, *(one.name for one in installed_bases())],
        format_func=lambda name: name or "none",
        help="A model that says blindly which reply is better. It is believed only when it "
        "agrees with what you chose yourself.",
        key=f"judge-{run.folder}",
    )
    deploy = st.checkbox(
        "Deploy it if it is better",
        value=workbench().settings.deployment.auto_deploy,
        help="Serves it, proves it, and lets your chatbot answer as it.",
        key=f"deploy-{run.folder}",
    )
    st.caption("Takes some minutes on this computer. What was measured before is not done again.")
    if st.button(
        "Compare" if is_first else "Compare again",
        type="primary" if is_first else "secondary",
        icon=":material/balance:",
        key=f"compare-{run.folder}",
    ):
        with told():
            workbench().start_evaluation(
                str(run.folder), against, beside=beside, judge=judge, deploy_if_better=deploy
            )
            st.rerun()


def _others(run: RunOverview, names: Mapping[str, str]) -> tuple[str, list[str]]:
    """Ask what to compare with and what to show beside it."""
    against = st.selectbox(
        "Compare with",
        list(names),
        format_func=names.__getitem__,
        help="The verdict is about the difference to this one.",
        key=f"against-{run.folder}",
    )
    if len(names) == 1:
        return against, []
    beside = st.multiselect(
        "Show beside it",
        [name for name in names if name != against],
        format_func=names.__getitem__,
        help="Asked the same, for comparison; the verdict does not look at them.",
        key=f"beside-{run.folder}",
    )
    return against, beside
