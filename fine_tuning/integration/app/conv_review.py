"""The review: conversations that need a person, one at a time, to accept, fix or reject."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import streamlit as st

from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.integration.app.common import told, workbench
from fine_tuning.integration.app.conv_detail import (
    decide,
    show_changes,
    show_messages,
)
from fine_tuning.integration.app.conv_state import (
    known_outcome,
    open_conversation,
)
from fine_tuning.integration.app.conv_words import facts, title_of
from fine_tuning.integration.app.formatting import count, plain
from fine_tuning.workbench.data.review import Looked
from fine_tuning.workbench.data.review_queue import ToReview
from fine_tuning.workbench.workbench import Workbench

SKIPPED = "conv-skipped"
LAST = "conv-last-decided"
FIXING = "conv-fixing"


def show(bench: Workbench, listing: Listing) -> None:
    """Show the first conversation of the queue."""
    with told():
        outcome, _ = known_outcome(bench, listing)
        queue = bench.data.queue.pending(outcome)
        skipped: set[str] = st.session_state.setdefault(SKIPPED, set())
        waiting = [one for one in queue if one.row.id not in skipped]
        decided = sum(bool(one.review) for one in listing.feedback_summaries.values())
        _headline(len(waiting), len(queue) - len(waiting), decided)
        if not bench.context.settings.data_collection.learn_from_feedback:
            st.warning(
                "Your settings leave feedback aside (data_collection.learn_from_feedback): "
                "corrections are recorded, and not trained on."
            )
        if outcome is None:
            st.caption("What cleaning leaves out is not known yet; Training data finds out.")
        if waiting:
            _one(bench, listing, waiting[0])
        else:
            _nothing_left(len(queue))


def _headline(num_waiting: int, num_skipped: int, num_decided: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        told_too = f", {count(num_skipped)} skipped" if num_skipped else ""
        st.markdown(f"**{count(num_waiting)} to review**{told_too} · {count(num_decided)} decided")
        last: tuple[str, str] | None = st.session_state.get(LAST)
        if last is not None:
            st.button(
                f"Undo: {last[1]}", icon=":material/undo:", key="conv-undo", on_click=_undo,
                type="tertiary",
            )  # fmt: skip


def _nothing_left(num_skipped: int) -> None:
    st.success("Nothing left to review. Well done!", icon=":material/task_alt:")
    if num_skipped:
        st.button("Show skipped conversations again", on_click=_unskip)


def _one(bench: Workbench, listing: Listing, item: ToReview) -> None:
    looked = bench.data.review.look_at(item.row.id)
    st.subheader(title_of(item.row), anchor=False)
    st.caption(facts(item.row, sorted(listing.ratings(item.row.id))))
    for why in item.why:
        st.markdown(f":orange[:material/flag:] {plain(why[:1].upper() + why[1:])}.")
    if st.session_state.get(FIXING) == item.row.id:
        _fix(bench, item, looked)
        return
    _buttons(bench, item)
    show_messages(looked)
    show_changes(looked)
    if item.twin_id:
        with st.expander("The conversation it is similar to"):
            st.button(
                title_of(listing.rows[item.twin_id]), key="conv-close-to", type="tertiary",
                on_click=open_conversation, args=(item.twin_id,),
            )  # fmt: skip
            show_messages(bench.data.review.look_at(item.twin_id))


def _buttons(bench: Workbench, item: ToReview) -> None:
    with st.container(horizontal=True):
        _button(
            "Accept", "check", "A", _decided, (bench, item, "accept"), style="primary",
            help="It is trained on, even if a rule of thumb says otherwise.",
        )  # fmt: skip
        _button(
            "Fix", "edit", "F", _start_fixing, (item.row.id,),
            help="Write what the reply should have been.",
        )  # fmt: skip
        _button(
            "Reject", "block", "X", _decided, (bench, item, "reject"),
            help="It is never trained on; it stays recorded.",
        )  # fmt: skip
        _button("Skip", "skip_next", "S", _skip, (item.row.id,), style="tertiary")


def _button(  # noqa: PLR0913 - one per thing that differs
    label: str,
    icon: str,
    shortcut: str,
    action: Callable[..., None],
    args: tuple[object, ...],
    *,
    style: Literal["primary", "secondary", "tertiary"] = "secondary",
    help: str | None = None,  # noqa: A002 - streamlit's word
) -> None:
    """Show a button that is also a key of the keyboard."""
    st.button(
        label, icon=f":material/{icon}:", key=f"review-{label.lower()}", on_click=action,
        args=args, shortcut=shortcut, type=style, help=help,
    )  # fmt: skip


def _fix(bench: Workbench, item: ToReview, looked: Looked) -> None:
    """Show the replies to be written better."""
    corrected = {f.message_id: f.text for f in looked.feedback if f.kind == "correction"}
    with st.form("conv-fix"):
        given: dict[str, str] = {}
        before: dict[str, str] = {}
        for message in looked.conversation.path():
            if message.role != "assistant":
                st.markdown("**You**" if message.role == "user" else f"**{message.role}**")
                st.text(message.text)
                continue
            before[message.id] = corrected.get(message.id, message.text)
            given[message.id] = st.text_area(
                "The reply, as it should have been", value=before[message.id],
                key=f"fix-{message.id}", height="content",
            )  # fmt: skip
        with st.container(horizontal=True):
            is_saved = st.form_submit_button("Save and accept", type="primary")
            is_left = st.form_submit_button("Cancel")
    if is_left:
        st.session_state.pop(FIXING)
        st.rerun()
    if is_saved:
        changed = {name: text for name, text in given.items() if text != before[name]}
        bench.data.queue.fix(item.row.id, changed)
        st.session_state.pop(FIXING)
        st.session_state[LAST] = (item.row.id, "fixed")
        st.rerun()


def _decided(bench: Workbench, item: ToReview, decision: str) -> None:
    decide(bench, item.row.id, "accept" if decision == "accept" else "reject")
    st.session_state[LAST] = (item.row.id, f"{decision}ed")


def _undo() -> None:
    last: tuple[str, str] | None = st.session_state.pop(LAST, None)
    if last is not None:
        decide(workbench(), last[0], "open")


def _start_fixing(name: str) -> None:
    st.session_state[FIXING] = name


def _skip(name: str) -> None:
    st.session_state.setdefault(SKIPPED, set()).add(name)


def _unskip() -> None:
    st.session_state.pop(SKIPPED, None)
