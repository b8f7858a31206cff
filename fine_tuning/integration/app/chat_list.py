"""The chats in the sidebar, and what can be done with the one shown: name, take along, forget."""

from __future__ import annotations

import streamlit as st

from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.integration.app.chat_state import open_chat
from fine_tuning.integration.app.common import told, workbench
from fine_tuning.integration.app.formatting import count, plain, when
from fine_tuning.workbench.chat.chat_list import ChatRow

PAGE_ROWS = 15
TITLE_CHARACTERS = 28
FORGETTING = "forgetting"
OPENING = "menu-opening"


def show_list(talk: ChatSession) -> None:
    """Show the recorded chats, newest first, with a search."""
    with st.sidebar, told():
        if st.button("New chat", icon=":material/add:", width="stretch", key="new-chat"):
            open_chat()
            st.rerun()
        words = st.text_input(
            "Search the chats", placeholder="Search the chats", label_visibility="collapsed",
            icon=":material/search:", key="chat-words",
        )  # fmt: skip
        shown = st.session_state.get("chat-rows", PAGE_ROWS)
        with st.spinner("Reading your chats …"):  # seconds, the first time there are thousands
            page = workbench().chat.chats(words, limit=shown)
        for row in page.rows:
            _show_row(row, is_open=row.id == talk.id)
        if not page.rows and words:
            st.caption("No chat contains these words.")
        elif not page.rows:
            st.caption("Your chats will be listed here.")
        if page.total > shown and st.button(
            f"Show more ({count(page.total - shown)})", type="tertiary", key="more-chats"
        ):
            st.session_state["chat-rows"] = shown + PAGE_ROWS
            st.rerun()


def _show_row(row: ChatRow, *, is_open: bool) -> None:
    title = row.title or "Untitled"
    short = title if len(title) <= TITLE_CHARACTERS else f"{title[:TITLE_CHARACTERS]}…"
    if st.button(
        plain(short), key=f"chat-{row.id}", type="secondary" if is_open else "tertiary",
        width="stretch", help=f"{when(row.last_at)}" if row.last_at else None,
        icon=None if row.has_consent else ":material/lock:",
    ):  # fmt: skip
        open_chat(row.id)
        st.rerun()


def show_menu(talk: ChatSession, title: str, *, is_begun: bool) -> None:
    """Show what can be done with a chat."""
    opening = st.session_state.get(OPENING, 0)
    with st.popover(
        "", icon=":material/more_vert:", help="Name, export or forget this chat",
        key=f"menu-{opening}",
    ):  # fmt: skip
        if not is_begun:
            st.caption("Say something first.")
            return
        with st.form(f"rename-{talk.id}", border=False):
            name = st.text_input("Name of this chat", value=title, max_chars=120)
            if st.form_submit_button("Rename") and name.strip():
                with told():
                    talk.rename(name.strip())
                    st.rerun()
        if not talk.is_recording:
            return
        st.markdown("**Export**")
        with told(), st.container(horizontal=True):
            bench = workbench()
            for label, kind, suffix in (("Text", "markdown", "md"), ("JSON", "json", "json")):
                st.download_button(
                    label,
                    bench.chat.file(talk.id, "json" if kind == "json" else "markdown"),
                    file_name=f"chat-{talk.id[-8:]}.{suffix}",
                    icon=":material/download:",
                    key=f"take-{kind}",
                )
        if st.button("Forget this chat …", icon=":material/delete:", key="forget"):
            st.session_state[FORGETTING] = talk.id
            st.session_state[OPENING] = opening + 1  # another menu, closed: this one would overlap
            st.rerun()
    if st.session_state.get(FORGETTING) == talk.id:
        ask_to_forget(talk)


def _keep() -> None:
    st.session_state.pop(FORGETTING, None)


@st.dialog("Forget this chat?", on_dismiss=_keep)
def ask_to_forget(talk: ChatSession) -> None:
    """Say what depends on a chat, and forget it everywhere when that is wanted."""
    with told():
        held = workbench().chat.what_holds(talk.id)
        st.markdown(
            "It is removed from the log, data sets, exports and reports. This cannot be undone."
        )
        if held is None:
            st.markdown("No data set and no model was made with it.")
        else:
            st.markdown(f"- {count(len(held.datasets))} data sets hold it and are built anew")
            learnt = sorted({use.version for use in held.uses if use.is_learnt})
            if learnt:
                names = ", ".join(plain(name) for name in learnt)
                st.markdown(
                    f"- used to train {names}: what it took stays in the weights, so these "
                    "versions are marked to be trained again"
                )
            if held.served:
                names = ", ".join(plain(name) for name in held.served)
                st.markdown(f"- served now as {names}")
        with st.container(horizontal=True):
            if st.button("Forget", type="primary", key="forget-it"):
                workbench().data.eraser.forget(talk.id)
                _keep()
                open_chat()
                st.rerun()
            if st.button("Keep it", key="keep-it"):
                _keep()
                st.rerun()
