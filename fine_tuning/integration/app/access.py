"""The gate before every page: the password where one is set, nobody from elsewhere without one.

Wrong tries are answered late, one at a time, so that guessing takes years.
"""

from __future__ import annotations

import threading
import time

import streamlit as st

from fine_tuning.integration.app.common import told, workbench
from fine_tuning.workbench.app_access import Access

DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
WELCOME_KEY = "is_let_in"


class WrongTries:
    """Wrong tries since the last right one, over all browsers."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._number = 0

    def check(self, password: str) -> bool:
        """Tell whether a password is right; a wrong one is answered late, later each time."""
        with self._mutex:  # others wait, so that many browsers guess no faster than one
            is_right = _access().check_password(password)
            self._number = 0 if is_right else self._number + 1
            if not is_right:
                time.sleep(min(DELAY_S * 2 ** (self._number - 1), LONGEST_DELAY_S))
            return is_right


@st.cache_resource(show_spinner=False)
def wrong_tries() -> WrongTries:
    """Return the tries of this process."""
    return WrongTries()


def let_in() -> None:
    """Return for who may see the pages; everyone else sees the gate, and the page ends there."""
    is_open = False
    with told():
        is_open = _is_let_in()
    if not is_open:
        st.stop()


def _access() -> Access:
    return Access(workbench().context.workspace.home)


def _is_let_in() -> bool:
    if st.session_state.get(WELCOME_KEY):
        return True
    access = _access()
    if not access.has_password:
        visitor = st.context.ip_address  # None for this machine's own browser
        if isinstance(visitor, str):
            access.require_password(visitor)
        return True
    with st.form("password", width=420):
        st.subheader("Fine-tuning")
        given = st.text_input("Password", type="password", autocomplete="current-password")
        is_sent = st.form_submit_button("Open", type="primary")
    if is_sent and wrong_tries().check(given):
        st.session_state[WELCOME_KEY] = True
        st.rerun()
    if is_sent:
        st.error("That is not the password.", icon=":material/lock:")
    return False
