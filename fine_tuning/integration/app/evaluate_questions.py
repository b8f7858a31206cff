"""The test questions of a workspace: what every run is asked, and adding to it."""

from __future__ import annotations

import streamlit as st

from fine_tuning.core.run import RunOverview
from fine_tuning.integration.app.common import told, workbench
from fine_tuning.integration.app.formatting import count, plain

SHOWN = 20


def test_questions(run: RunOverview) -> None:
    """Show the questions beside a run, a form for one more, and how to take one out."""
    name = str(run.folder)
    st.caption(
        "A question with the facts a right answer must hold. Every comparison asks it; it is "
        "never trained on. Word it as you would, not as the chats do."
    )
    with st.form("add-question", clear_on_submit=True):
        question = st.text_input("Question", placeholder="When do we get paid?")
        facts = st.text_area(
            "Facts a right answer must hold, one a line", placeholder="the 26th", height=80
        )
        is_added = st.form_submit_button("Add the question", icon=":material/add:")
    if is_added:
        with told():
            workbench().evaluate.questions.add(question, facts.splitlines(), name)
            st.success("Added. The next comparison asks it.", icon=":material/check:")
    known = workbench().evaluate.questions.read(name)
    if not known:
        st.info("No test question yet.", icon=":material/quiz:")
        return
    st.markdown(f"**{count(len(known))} questions**, newest first")
    with st.container(height=420):
        for one in list(reversed(known))[: st.session_state.get("questions-shown", SHOWN)]:
            left, right = st.columns([8, 1], vertical_alignment="center")
            left.markdown(
                f"{plain(one.question)}  \n:gray[{plain(', '.join(one.key_facts))}]",
            )
            if right.button(
                "",
                icon=":material/delete:",
                key=f"drop-{one.id}",
                help="Remove",
                type="tertiary",
            ):
                with told():
                    workbench().evaluate.questions.remove(one.id, name)
                    st.rerun()
        if len(known) > st.session_state.get("questions-shown", SHOWN) and st.button("Show all"):
            st.session_state["questions-shown"] = len(known)
            st.rerun()
