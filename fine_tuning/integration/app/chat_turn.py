"""One question and its replies on the page: thumbs, reasons, editing, other replies, choosing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import FineTuningError
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.data_collection.chat_turns import DRAWN, TRIAL, Turn
from fine_tuning.data_collection.feedback_summary import FeedbackSummary
from fine_tuning.integration.app.chat_state import REASONS, Failed, Picked, wish
from fine_tuning.integration.app.chat_text import rendered
from fine_tuning.integration.app.common import show_error, told
from fine_tuning.integration.app.formatting import plain

BROKEN_OFF = "broken_off"
"""The note of a reply that says why its server broke it off."""
UNFINISHED = {
    "aborted": "Stopped before its end: such replies are not trained on.",
    "error": "It broke off here: such replies are not trained on.",
}


def show_turn(
    talk: ChatSession, turn: Turn, summary: FeedbackSummary, picked: Picked, *, is_last: bool
) -> None:
    """Show a turn; ``is_last`` lets its reply be made again."""
    show_question(turn)
    if turn.shown is None:
        if is_last and turn.asked is not None:
            _show_waiting(turn.asked, picked)
    elif turn.is_open:
        _show_open(talk, turn, summary)
    else:
        _show_reply(talk, turn, turn.shown, summary, picked, is_last=is_last)


def show_question(turn: Turn) -> None:
    """Show what was asked, letter by letter."""
    if turn.asked is not None:
        with st.chat_message("user"):
            st.markdown(plain(turn.asked.text))


def _show_waiting(asked: Message, picked: Picked) -> None:
    """Show a question without a reply: why, and a way to get one."""
    failed: Failed | None = st.session_state.get("failed")
    if failed is not None and failed.asked_id == asked.id:
        show_error(failed.error)
    else:
        st.caption("This message has no reply yet. It is kept.")
    _again_button(asked.id, picked)


def _again_button(asked_id: str, picked: Picked) -> None:
    if st.button("Try again", icon=":material/refresh:", type="primary", key=f"again-{asked_id}"):
        wish(asked_id, (picked.model,))
        st.rerun()


def _show_reply(
    talk: ChatSession,
    turn: Turn,
    reply: Message,
    summary: FeedbackSummary,
    picked: Picked,
    *,
    is_last: bool,
) -> None:
    with st.chat_message("assistant"):
        if st.session_state.get("editing") == reply.id:
            _show_editor(talk, reply, summary)
            return
        st.markdown(rendered(summary.corrections.get(reply.id, reply.text)) or "*(empty)*")
        _show_remarks(reply, summary)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            _show_thumbs(talk, reply, summary)
            if st.button(
                "Edit", icon=":material/edit:", key=f"edit-{reply.id}", type="tertiary",
                help="Write the reply as it should have been: that is trained on.",
            ):  # fmt: skip
                st.session_state["editing"] = reply.id
                st.rerun()
            if is_last and st.button(
                "Regenerate", icon=":material/refresh:", key=f"more-{reply.id}", type="tertiary",
                help="Generate another reply, and choose the better one.",
            ):  # fmt: skip
                wish(reply.parent_id or "", (picked.model,))
                st.rerun()
        _show_siblings(talk, turn, reply)
        if summary.thumbs.get(reply.id) == -1:
            _show_reasons(talk, reply)
    failed: Failed | None = st.session_state.get("failed")
    if is_last and failed is not None and failed.asked_id == reply.parent_id:
        show_error(failed.error)
        _again_button(failed.asked_id, picked)


def _show_remarks(reply: Message, summary: FeedbackSummary) -> None:
    is_drawn = reply.metadata.get("note") == DRAWN  # a thumb is given without knowing to whom
    remarks = [reply.model] if reply.model and not is_drawn else []
    if reply.id in summary.corrections:
        remarks.append("edited by you")
    if reply.status in UNFINISHED and reply.id not in summary.corrections:
        remarks.append(UNFINISHED[reply.status])
        if broken_off := str(reply.metadata.get(BROKEN_OFF) or ""):
            remarks[-1] = f"It broke off: {plain(broken_off)}. Such replies are not trained on."
    if remarks:
        st.caption(plain(" · ".join(remarks)))


def _show_thumbs(talk: ChatSession, reply: Message, summary: FeedbackSummary) -> None:
    key = f"thumb-{reply.id}"

    def rated() -> None:
        value = st.session_state[key]  # None: the same thumb again takes it back
        _do(lambda: talk.rate(0 if value is None else 1 if value else -1, reply_id=reply.id))

    given = summary.thumbs.get(reply.id)
    default = None if given is None else int(given > 0)
    st.feedback("thumbs", key=key, default=default, on_change=rated)


def _show_reasons(talk: ChatSession, reply: Message) -> None:
    key = f"reason-{reply.id}"

    def explained() -> None:
        reason = st.session_state[key]
        if reason:
            _do(lambda: talk.rate(-1, reply_id=reply.id, reason=reason.lower()))

    st.pills("What was wrong with it? (optional)", REASONS, key=key, on_change=explained)


def _show_editor(talk: ChatSession, reply: Message, summary: FeedbackSummary) -> None:
    with st.form(f"editor-{reply.id}", border=False):
        text = st.text_area(
            "The reply as it should have been",
            value=summary.corrections.get(reply.id, reply.text),
            height="content",
        )
        with st.container(horizontal=True):
            is_saved = st.form_submit_button("Save", type="primary")
            is_dropped = st.form_submit_button("Cancel")
    if is_saved:
        with told():
            talk.correct(text, reply_id=reply.id)
            st.session_state.pop("editing")
            st.rerun()
    if is_dropped:
        st.session_state.pop("editing")
        st.rerun()


def _show_siblings(talk: ChatSession, turn: Turn, reply: Message) -> None:
    """Show which of several replies this is, and ways to the others."""
    if len(turn.replies) < 2:  # noqa: PLR2004 - it is the only one
        return
    row = st.container(horizontal=True, vertical_alignment="center", gap="small")
    place = [one.id for one in turn.replies].index(reply.id)
    for sign, name, to in (("left", "previous", place - 1), ("right", "next", place + 1)):
        if row.button(
            "", icon=f":material/chevron_{sign}:", key=f"{name}-{reply.id}", type="tertiary",
            help=f"Show the {name} reply", disabled=not 0 <= to < len(turn.replies),
        ):  # fmt: skip
            _do(partial(talk.show_branch, turn.replies[to].id))
            st.rerun()
        if sign == "left":
            row.caption(f"{place + 1} of {len(turn.replies)}", width="content")


def _show_open(talk: ChatSession, turn: Turn, summary: FeedbackSummary) -> None:
    """Show the newest two replies side by side, for the person to choose between."""
    pair = turn.replies[-2:]
    is_trial = all(one.metadata.get("note") == TRIAL for one in pair)
    for number, (one, column) in enumerate(zip(pair, st.columns(2), strict=True), start=1):
        with column, st.chat_message("assistant", avatar=f":material/counter_{number}:"):
            st.markdown(rendered(summary.corrections.get(one.id, one.text)) or "*(empty)*")
            if not is_trial:
                _show_remarks(one, summary)
            if st.button("This one is better", key=f"keep-{one.id}", icon=":material/check:"):
                others = [other.id for other in pair]
                _do(partial(talk.choose, one.id, others, reason=TRIAL if is_trial else ""))
                st.rerun()
    if st.button("Both are alike", key=f"tie-{pair[0].id}", type="tertiary"):
        _do(lambda: talk.show_branch(pair[0].id))
        st.rerun()
    if is_trial:
        st.caption("Two models replied. You see which was which once you have chosen.")


def _do(work: Callable[[], object]) -> None:
    """Do something; what goes wrong is shown when the page is drawn anew."""
    try:
        work()
    except FineTuningError as error:
        st.session_state["notice"] = error
