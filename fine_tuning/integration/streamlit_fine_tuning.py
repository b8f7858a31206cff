"""Two calls for a chatbot page that exists already: a sidebar, and a log of turns with opinions.

    model = sidebar("llama3.2")          # which model to ask, consent, how training goes
    log_turns(messages, model=model)     # last on the page: records turns, asks what you think

The page keeps talking to its server itself. Nothing here raises because of fine-tuning: what goes
wrong is a sentence in the sidebar or under the chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import streamlit as st

from fine_tuning.core.errors import FineTuningError
from fine_tuning.data_collection.chat_session import new_id
from fine_tuning.integration.app.chat_state import REASONS, choices
from fine_tuning.integration.app.common import show_error, told, workbench
from fine_tuning.integration.app.formatting import count, duration, percent, plain, when

STATE = "fine-tuning"
REFRESH_S = 5.0


@dataclass(slots=True)
class Logged:
    """What this browser's conversation has brought to the log.

    ``turns`` are the questions and replies seen, with the reply's id; "" for one that is not
    recorded. ``is_withheld`` is the consent switch. ``drawn_by`` is what decides, in an A/B test,
    which version this browser gets: it stays when another conversation begins.
    """

    session_id: str = field(default_factory=new_id)
    turns: list[tuple[str, str, str]] = field(default_factory=list)
    is_withheld: bool = False
    drawn_by: str = field(default_factory=new_id)


def sidebar(default: str = "", *, session_id: str = "") -> str:
    """Show the models, the consent switch and the state of training; return the model to ask.

    While traffic is split between two versions, a session is given one of them and keeps it.

    Args:
        default: What to ask while nothing was deployed, and first in the list.
        session_id: The conversation's id when the page keeps one; without it this browser is the
            session.
    """
    with st.sidebar, st.container(border=True):
        st.markdown("**Fine-tuning**")
        found = {choice.name: choice for choice in choices()}
        tuned = [name for name, one in found.items() if one.kind in {"champion", "version"}]
        names = list(dict.fromkeys([*tuned, *([default] if default else []), *found]))
        labels = {name: one.label for name, one in found.items()}
        model = st.selectbox(
            "Model", names, format_func=lambda name: labels.get(name, name), key=f"{STATE}-model"
        )
        with told():
            _show_consent()
        st.fragment(_show_training, run_every=REFRESH_S)()
        with told():
            logged: Logged = st.session_state.setdefault(STATE, Logged())
            return (
                workbench()
                .models.aliases.answering(model or default, session_id or logged.drawn_by)
                .model
            )
    return model or default


def log_turns(
    messages: Sequence[Mapping[str, str]], *, model: str = "", session_id: str = ""
) -> None:
    """Record the turns that are new, and ask for an opinion on the last reply.

    Recording follows ``data_collection.enabled`` and the consent switch of :func:`sidebar`.

    Args:
        messages: The conversation so far, each with ``role`` and ``content``; another one than
            before begins a new conversation.
        model: Who replied, kept with each turn, and which version that is.
        session_id: The conversation's id when the page keeps one, so that a page that shows an old
            conversation again records nothing twice.
    """
    with told():
        if not workbench().context.settings.data_collection.enabled:
            return
        logged = _logged(messages, session_id)
        for asked, reply in _turns(messages)[len(logged.turns) :]:
            reply_id = ""
            if not logged.is_withheld:
                version = workbench().models.aliases.answering(model).version if model else ""
                found = {"model": model, "version": version}
                notes = {key: value for key, value in found.items() if value}
                reply_id = (
                    workbench()
                    .data.logger()
                    .log_conversation(asked, reply, notes, session_id=logged.session_id)
                )
            logged.turns.append((asked, reply, reply_id))
            if reply_id:
                workbench().data.export_if_due()
        if logged.turns and logged.turns[-1][2]:
            _, reply, reply_id = logged.turns[-1]
            _ask_opinion(logged.session_id, reply_id, reply)


def _logged(messages: Sequence[Mapping[str, str]], session_id: str) -> Logged:
    """Return what was logged of this conversation; another one begins anew."""
    logged: Logged = st.session_state.setdefault(STATE, Logged())
    turns = _turns(messages)
    seen = [(asked, reply) for asked, reply, _ in logged.turns]
    is_other = turns[: len(seen)] != seen or (session_id and session_id != logged.session_id)
    if is_other:
        logged = Logged(is_withheld=logged.is_withheld, drawn_by=logged.drawn_by)
        if session_id:
            logged.session_id = session_id
            logged.turns = _recorded(session_id, turns)
        st.session_state[STATE] = logged
    return logged


def _recorded(session_id: str, turns: Sequence[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Return the turns that stand in the log already."""
    stored = workbench().chat.session(session_id).turns()
    known = [
        (turn.asked.text, turn.shown.text, turn.shown.id)
        for turn in stored
        if turn.asked is not None and turn.shown is not None
    ]
    return known if [turn[:2] for turn in known] == list(turns[: len(known)]) else []


def _turns(messages: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return the questions that got a reply, with it."""
    found: list[tuple[str, str]] = []
    for before, after in pairwise(messages):
        if before.get("role") == "user" and after.get("role") == "assistant":
            found.append((str(before.get("content", "")), str(after.get("content", ""))))
    return found


def _ask_opinion(session_id: str, reply_id: str, reply: str) -> None:
    """Show thumbs, a reason and a better text for the last reply."""
    thumb, reason = f"{STATE}-thumb-{reply_id}", f"{STATE}-reason-{reply_id}"

    def rated() -> None:
        value = st.session_state[thumb]  # None: the same thumb again takes it back
        why = (st.session_state.get(reason) or "").lower() if value is not None else ""
        given = 0 if value is None else 1 if value else -1
        _record(session_id, reply_id, "thumb", value=given, reason=why)

    with st.container(horizontal=True, vertical_alignment="center"):
        value = st.feedback("thumbs", key=thumb, on_change=rated)
        with st.popover("Edit", icon=":material/edit:"), st.form(f"{STATE}-edit-{reply_id}"):
            better = st.text_area("The reply as it should have been", value=reply)
            if st.form_submit_button("Save", type="primary") and better != reply:
                _record(session_id, reply_id, "correction", text=better)
                st.caption("Correction saved: it is trained on instead of the reply.")
    if value == 0:
        st.pills("What was wrong with it? (optional)", REASONS, key=reason, on_change=rated)


def _record(
    session_id: str, reply_id: str, kind: str, *, value: int = 0, text: str = "", reason: str = ""
) -> None:
    try:
        workbench().data.feedback.record(
            session_id,
            reply_id,
            "correction" if kind == "correction" else "thumb",
            value=value,
            text=text,
            reason=reason,
        )
    except FineTuningError as error:
        show_error(error)


def _show_consent() -> None:
    """Show whether this conversation is recorded."""
    if not workbench().context.settings.data_collection.enabled:
        st.caption("Recording is off (data_collection.enabled).")
        return
    logged: Logged = st.session_state.setdefault(STATE, Logged())
    wants = st.toggle(
        "Record this chat",
        value=not logged.is_withheld,
        key=f"{STATE}-consent-{logged.session_id}",
        help="Consent. Off: nothing more is recorded, and what was is never trained on.",
    )
    if wants == logged.is_withheld:
        logged.is_withheld = not wants
        if any(reply_id for *_, reply_id in logged.turns):
            workbench().chat.session(logged.session_id).set_consent(wants)


def _show_training() -> None:
    """Show what is being worked on, or what there is to train on."""
    with told():
        bench = workbench()
        under_way = [job for job in bench.jobs.all() if job.state in {"running", "queued"}]
        for job in under_way:
            progress = bench.jobs.progress(job.id)
            line = f"{job.kind} · {progress.stage or job.state}"
            if progress.fraction is not None:
                line += f" · {percent(progress.fraction)}"
            if progress.eta_s:
                line += f" · {duration(progress.eta_s)} left"
            st.progress(progress.fraction or 0.0, text=plain(line))
        versions = bench.models.register.versions()
        if not under_way and versions:
            newest = versions[-1]
            st.caption(plain(f"Last trained: {newest.name}, {when(newest.created_at)}"))
        number = bench.context.store.count()
        st.caption(f"{count(number)} conversation{'' if number == 1 else 's'} recorded")
