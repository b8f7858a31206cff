"""The disk versions take, and freeing it: the plan first, then the removal."""

from __future__ import annotations

import streamlit as st

from fine_tuning.integration.app.common import workbench
from fine_tuning.integration.app.formatting import count, plain, size

KEEP = 3


def prune() -> None:
    """Show what versions take, what could go and why the rest stays; remove on confirmation."""
    bench = workbench()
    disk = bench.models.disk_use()
    st.metric("All versions together", size(disk.size_bytes))
    if served := sum(disk.served_bytes.values()):
        st.caption(f"{size(served)} of it are served copies.")
    keep = int(
        st.number_input(
            "Newest versions to keep of each family",
            1,
            value=KEEP,
            help="Versions that are served, in use or needed for a rollback are always kept.",
            width=280,
        )
    )
    plan = bench.models.prune(keep=keep, is_trial=True)
    if not plan.size_bytes:
        st.info("Nothing to prune: every version is needed or among the newest.")
    else:
        st.markdown(f"**{size(plan.size_bytes)} can be freed**")
    st.dataframe(
        [
            *(
                {
                    "Version": item.version,
                    "Plan": f"remove {count(len(item.artefacts))} files, {size(item.size_bytes)}",
                }
                for item in plan.prunable
            ),
            *({"Version": name, "Plan": f"kept: {why}"} for name, why in plan.kept.items()),
        ],
        hide_index=True,
    )
    if not plan.size_bytes:
        return
    going = [item.version for item in plan.prunable]
    if plan.unused_bytes:
        going.append(f"unused copies ({size(plan.unused_bytes)})")
    is_sure = st.checkbox(
        f"Yes, remove the files of {plain(', '.join(going))}",
        help="They cannot be restored; what is recorded about the versions stays.",
        key=f"prune-sure-{keep}",
    )
    if st.button("Remove the files", icon=":material/delete:", disabled=not is_sure):
        done = bench.models.prune(keep=keep)
        st.session_state["models-said"] = f"{size(done.size_bytes)} freed."
        st.rerun()
