"""The page Chat: talk to a model, say what you think of its replies, compare two blindly."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from fine_tuning.core.errors import FineTuningError
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.data_collection.chat_turns import TRIAL, Turn
from fine_tuning.data_collection.feedback_summary import FeedbackSummary
from fine_tuning.integration.app.chat_draft import keep_draft
from fine_tuning.integration.app.chat_list import show_list, show_menu
from fine_tuning.integration.app.chat_reply import end_what_is_under_way, fulfil
from fine_tuning.integration.app.chat_state import (
    ADDRESS,
    Picked,
    Wish,
    choices,
    current_talk,
    wish,
)
from fine_tuning.integration.app.chat_turn import show_question, show_turn
from fine_tuning.integration.app.common import empty_state, show_error, told, workbench
from fine_tuning.integration.app.formatting import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The chat as it was read for this run."""

    turns: tuple[Turn, ...] = ()
    opinions: FeedbackSummary = field(default_factory=FeedbackSummary)


WARMTH_HELP = (
    "Temperature of sampling: 0 always takes the most probable token; higher is more varied."
)


def show() -> None:
    """Show the page."""
    end_what_is_under_way()
    talk = current_talk()
    show_list(talk)
    typed = st.chat_input("Write a message", key=f"input-{talk.id}")
    seen = _read(talk)
    picked = _show_head(talk, seen)
    if typed:
        _ask(talk, typed, picked)
        seen = _read(talk)
    _show_notice()
    wanted: Wish | None = st.session_state.pop("wish", None)
    if not seen.turns and not st.session_state.get("unsent"):
        _show_welcome()
    for number, turn in enumerate(seen.turns, start=1):
        is_last = number == len(seen.turns)
        if is_last and wanted is not None:
            show_question(turn)
        else:
            show_turn(talk, turn, seen.opinions, picked, is_last=is_last)
    _show_unsent(talk, picked)
    keep_draft(talk.id if seen.turns else "")
    if wanted is not None:
        fulfil(talk, wanted, picked)


def _read(talk: ChatSession) -> Seen:
    """Read the chat; one that cannot be read is told, and looks empty."""
    try:
        return Seen(turns=tuple(talk.turns()), opinions=talk.feedback_summary())
    except FineTuningError as error:
        st.session_state["notice"] = error
        return Seen()


def _show_head(talk: ChatSession, seen: Seen) -> Picked:
    """Show model, consent and menu in one line; return who is talked to."""
    title = seen.opinions.title
    if title:
        st.subheader(plain(title))
    found = choices()
    names = [choice.name for choice in found]
    labels = {choice.name: choice.label for choice in found}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        model = st.selectbox(
            "Model", names, format_func=lambda name: labels.get(name, name), key="model", width=220
        )
        other = ""
        if st.session_state.get("is-trial") and len(names) > 1:
            rest = [name for name in names if name != model]
            other = st.selectbox(
                "Against", rest, format_func=lambda name: labels.get(name, name), key="other",
                width=220,
            )  # fmt: skip
        with st.popover("", icon=":material/tune:", help="Sampling"):
            warmth = st.slider("Temperature", 0.0, 1.5, 0.5, 0.1, key="warmth", help=WARMTH_HELP)
            st.toggle(
                "Compare two models blindly", key="is-trial", disabled=len(names) < 2,  # noqa: PLR2004
                help="Two replies side by side: choose one, then see which model wrote it.",
            )  # fmt: skip
        show_menu(talk, title, is_begun=bool(seen.turns))
        _show_consent(talk, seen)
    return Picked(model=model, other=other, temperature=warmth)


def _show_consent(talk: ChatSession, seen: Seen) -> None:
    if not talk.is_recording:
        st.caption(
            "Nothing is recorded (data_collection.enabled is off): this chat is gone on reload."
        )
        return
    key = f"consent-{talk.id}"

    def changed() -> None:
        try:
            talk.set_consent(bool(st.session_state[key]))
        except FineTuningError as error:
            st.session_state["notice"] = error

    st.toggle(
        "Consent to training", value=not talk.is_withheld and seen.opinions.consent >= 0,
        key=key, on_change=changed,
        help="On: this chat may be used for training. Off: it is recorded for you only.",
    )  # fmt: skip


def _ask(talk: ChatSession, text: str, picked: Picked) -> None:
    """Record a question and wish for its reply; what cannot be recorded is kept on the page."""
    st.session_state.pop("failed", None)
    try:
        asked_id = talk.ask(text)
    except FineTuningError as error:
        st.session_state["unsent"] = text
        st.session_state["notice"] = error
        return
    st.session_state.pop("unsent", None)
    if talk.is_recording:
        st.query_params[ADDRESS] = talk.id
    both = (picked.model, picked.other) if picked.other else (picked.model,)
    wish(asked_id, both, TRIAL if picked.other else "")


def _show_unsent(talk: ChatSession, picked: Picked) -> None:
    """Show a message that could not be recorded, with a way to send it again."""
    text = st.session_state.get("unsent")
    if not text:
        return
    with st.chat_message("user"):
        st.markdown(plain(text))
    if st.button("Try again", icon=":material/refresh:", type="primary", key="send-again"):
        _ask(talk, text, picked)
        st.rerun()


def _show_notice() -> None:
    """Show what went wrong with the last touch."""
    notice: FineTuningError | None = st.session_state.pop("notice", None)
    if notice is not None:
        show_error(notice)


def _show_welcome() -> None:
    """Say what to do; who has nothing yet is offered the demo."""
    bench = workbench()
    with told():
        is_first = not bench.context.store.count() and not bench.models.register.versions()
        empty_state(
            "Say hello to your model. Rate and edit its replies: training uses that feedback.",
            demo=is_first,
        )
