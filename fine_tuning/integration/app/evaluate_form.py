"""A new comparison: with the base, an earlier run, or both; with a judge model or without."""

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
    against, beside = _others(run, {BASE: "the base model", **others})
    judge = st.selectbox(
        "Judge model",
        [NO_JUDGE, *(one.name for one in installed_bases())],
        format_func=lambda name: name or "none",
        help="It is asked which reply is better, without knowing whose they are. It counts only "
        "when it agrees with your own choices.",
        key=f"judge-{run.folder}",
    )
    deploy = st.checkbox(
        "Deploy if better",
        value=workbench().context.settings.deployment.auto_deploy,
        help="Serves it with proof, and lets your chatbot answer as it.",
        key=f"deploy-{run.folder}",
    )
    st.caption("Takes some minutes on this computer. Earlier measurements are reused.")
    if st.button(
        "Compare" if is_first else "Compare again",
        type="primary" if is_first else "secondary",
        icon=":material/balance:",
        key=f"compare-{run.folder}",
    ):
        with told():
            workbench().jobs.start_evaluation(
                str(run.folder), against, beside=beside, judge=judge, deploy_if_better=deploy
            )
            st.rerun()


def _others(run: RunOverview, names: Mapping[str, str]) -> tuple[str, list[str]]:
    """Ask what to compare with and what to show beside it."""
    against = st.selectbox(
        "Compare with",
        list(names),
        format_func=names.__getitem__,
        help="Reference: the verdict is about the difference to it.",
        key=f"against-{run.folder}",
    )
    if len(names) == 1:
        return against, []
    beside = st.multiselect(
        "Also show",
        [name for name in names if name != against],
        format_func=names.__getitem__,
        help="Measured in the same way; the verdict does not depend on them.",
        key=f"beside-{run.folder}",
    )
    return against, beside
