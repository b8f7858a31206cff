"""What the parts of the page Conversations tell each other: which conversation is open."""

from __future__ import annotations

import streamlit as st

from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.workbench.data.review import CleaningOutcome
from fine_tuning.workbench.workbench import Workbench

OPEN = "conv-open"
PART = "conv-part"
REASON = "conv-fate"
PAGE = "conv-page"


def open_conversation(conversation_id: str) -> None:
    """Open a conversation in place of what is shown; for callbacks."""
    st.session_state[OPEN] = conversation_id


def browse_reason(reason: str) -> None:
    """List the conversations that are left out for a reason; for callbacks."""
    st.session_state[PART] = "Browse"
    st.session_state[REASON] = reason
    st.session_state[PAGE] = 0


def known_outcome(bench: Workbench, listing: Listing) -> tuple[CleaningOutcome | None, bool]:
    """Return what cleaning made of the conversations, if it is known, and whether it is current."""
    outcome = bench.data.review.outcome()
    return outcome, outcome is not None and outcome.version == bench.data.review.outcome_version(
        listing
    )
