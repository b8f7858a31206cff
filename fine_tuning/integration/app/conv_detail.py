"""One conversation: what was said, what of it is learnt and why, and what a person may decide."""

from __future__ import annotations

import streamlit as st

from fine_tuning.core.conversation import Message
from fine_tuning.core.feedback import Feedback
from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.integration.app.common import told
from fine_tuning.integration.app.conv_state import OPEN, known_outcome
from fine_tuning.integration.app.conv_words import NO_WORDS, facts, reason_name, times, title_of
from fine_tuning.integration.app.formatting import plain, when
from fine_tuning.integration.app.word_diff import word_diff
from fine_tuning.workbench.data.review import DropReason, Looked
from fine_tuning.workbench.data.review_queue import Decision
from fine_tuning.workbench.workbench import Workbench

AVATARS = {"user": ":material/person:", "assistant": ":material/smart_toy:"}


def show_conversation(bench: Workbench, listing: Listing, name: str) -> None:
    """Show a conversation with the way back."""
    st.button("All conversations", icon=":material/arrow_back:", on_click=close, type="tertiary")
    row = listing.rows.get(name)
    if row is None:
        st.info("This conversation is gone.")
        return
    looked = bench.data.review.look_at(name)
    ratings = listing.ratings(name)
    st.subheader(title_of(row), anchor=False)
    st.caption(facts(row, sorted(ratings)))
    outcome, _ = known_outcome(bench, listing)
    show_fate(looked, outcome.drops.get(name) if outcome else None, listing)
    _decisions(bench, name, is_decided=bool(ratings & {"accepted", "rejected"}))
    show_messages(looked)
    show_changes(looked)
    _forget(bench, name)


def show_fate(looked: Looked, dropped: DropReason | None, listing: Listing) -> None:
    """Say whether a conversation is learnt; ``dropped`` is what cleaning all of them said."""
    drop = looked.drop or (dropped if dropped and dropped.twin_id else None)
    if drop is None:
        st.success("This conversation is trained on.", icon=":material/school:")
        if looked.left_out:
            reasons = ", ".join(
                f"{times(number, 'exchange', 'exchanges')}: {reason_name(reason).lower()}"
                for reason, number in looked.left_out.items()
            )
            st.caption(f"Left out of it, and shown to the model as context only: {reasons}.")
        return
    st.warning(
        f"Left out: {reason_name(drop.reason).lower()}. {plain(_sentence(drop.detail))}",
        icon=":material/filter_alt_off:",
    )
    if drop.twin_id in listing.rows:
        st.button(
            f"Open the one that is kept: {title_of(listing.rows[drop.twin_id])}", key="conv-twin",
            type="tertiary", on_click=_open, args=(drop.twin_id,),
        )  # fmt: skip


def show_messages(looked: Looked) -> None:
    """Show what was said on the branch last seen, with what is learnt of it."""
    learnt = {m.id for m in looked.learnt.path() if m.weight} if looked.learnt else set()
    said: dict[str, list[Feedback]] = {}
    for one in looked.feedback:
        said.setdefault(one.message_id, []).append(one)
    for message in looked.conversation.path():
        with st.chat_message(message.role, avatar=AVATARS.get(message.role, ":material/settings:")):
            st.text(message.text or NO_WORDS)
            for call in message.tool_calls:
                st.code(call.name + str(dict(call.arguments)), language=None, wrap_lines=True)
            for one in said.get(message.id, ()):
                _feedback(one)
            if message.role == "assistant":
                st.caption(_about(message, looked, is_learnt=message.id in learnt))


def _about(message: Message, looked: Looked, *, is_learnt: bool) -> str:
    others = sum(m.role == "assistant" for m in looked.conversation.siblings(message.id))
    parts = [
        ":green[:material/school: trained on]" if is_learnt else "not trained on",
        plain(message.model),
        when(message.created_at) if message.created_at else "",
        f"{times(others, 'other version', 'other versions')}" if others else "",
        "not finished" if message.status != "complete" else "",
    ]
    return " · ".join(part for part in parts if part)


def _feedback(one: Feedback) -> None:
    if one.kind == "correction":
        st.markdown(":material/edit: **Your correction:**")
        st.text(one.text)
        return
    words = {
        "thumb": {1: ":material/thumb_up:", -1: ":material/thumb_down:"}.get(
            one.value, "thumb taken back"
        ),
        "rating": f"rated {one.value} of 10",
        "choice": "kept over another reply",
    }
    reasons = " · ".join(plain(text) for text in (one.reason, one.comment) if text)
    if one.kind in words:
        st.caption(" · ".join(filter(None, (words[one.kind], reasons))))


def show_changes(looked: Looked) -> None:
    """Show the texts that cleaning changes, word by word."""
    if not looked.changes:
        return
    number = times(len(looked.changes), "text", "texts")
    st.markdown(f"**Cleaning changes {number}**; the log keeps what was said.")
    for change in looked.changes:
        before, after = word_diff(change.before, change.after)
        with st.container(border=True):
            st.caption(f"{plain(change.role)}: recorded, then as it is trained on")
            left, right = st.columns(2)
            left.markdown(before)
            right.markdown(after)


def _decisions(bench: Workbench, name: str, *, is_decided: bool) -> None:
    with st.container(horizontal=True):
        if is_decided:
            st.button(
                "Undo the decision", icon=":material/undo:", key="conv-open-again",
                on_click=decide, args=(bench, name, "open"),
            )  # fmt: skip
            return
        st.button(
            "Accept", icon=":material/check:", key="conv-accept", on_click=decide,
            args=(bench, name, "accept"),
            help="It is trained on, even if a rule of thumb says otherwise.",
        )  # fmt: skip
        st.button(
            "Reject", icon=":material/block:", key="conv-reject", on_click=decide,
            args=(bench, name, "reject"), help="It is never trained on; it stays recorded.",
        )  # fmt: skip


def decide(bench: Workbench, name: str, decision: Decision) -> None:
    """Record a decision; for callbacks."""
    with told():
        bench.data.queue.decide(name, decision)


def _forget(bench: Workbench, name: str) -> None:
    with st.popover("Forget this conversation", icon=":material/delete:", type="tertiary"):
        st.markdown(
            "It is removed from the log, data sets, exports and reports. "
            "A model that was trained on it keeps what it took until you train again."
        )
        if st.button("Forget for good", type="primary", key="conv-forget"):
            with told():
                found = bench.data.eraser.forget(name)
                _open(None)
                told_too = (
                    f" To train again: {', '.join(found.to_retrain)}." if found.to_retrain else ""
                )
                st.toast(f"Forgotten.{told_too}")
                st.rerun()


def close() -> None:
    """Go back to the list; for callbacks."""
    _open(None)


def _open(name: str | None) -> None:
    if name is None:
        st.session_state.pop(OPEN, None)
    else:
        st.session_state[OPEN] = name


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
