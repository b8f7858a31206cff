"""The page Conversations: what was recorded, what of it is trained on, and why.

Its parts stand in the modules ``conv_*``; only the one that is looked at is computed.
"""

from __future__ import annotations

from importlib import import_module

import streamlit as st

from fine_tuning.core.ports import Progress
from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.integration.app.common import empty_state, told, workbench
from fine_tuning.integration.app.conv_state import OPEN
from fine_tuning.integration.app.formatting import count
from fine_tuning.workbench.workbench import Workbench

PARTS = {
    "Browse": "conv_browse",
    "Overview": "conv_overview",
    "Training data": "conv_learning",
    "Review": "conv_review",
    "Import": "conv_import",
    "Export": "conv_export",
}
EMPTY = (
    "No conversations yet. Chat with your bot and every turn is kept here, "
    "or import the chats you had elsewhere."
)
OPENS_ONE = ("Browse", "Training data", "Review")
"""The parts in which a conversation can be opened, in place of the part."""
PACKAGE = "fine_tuning.integration.app"


def show() -> None:
    """Show the page."""
    st.title("Conversations", anchor=False)
    bench = workbench()
    listing = read_listing(bench)
    if not listing.rows:
        empty_state(EMPTY, page="chat", label="Start a chat", demo=True)
        st.subheader("Import chats", anchor=False)
        import_module(f"{PACKAGE}.conv_import").show(bench, listing)
        return
    part = st.segmented_control(
        "Part of the page",
        list(PARTS),
        default=next(iter(PARTS)),
        required=True,
        key="conv-part",
        label_visibility="collapsed",
        on_change=_close,
        persist_state="session",
    )
    part = part or "Browse"
    if part in OPENS_ONE and (name := st.session_state.get(OPEN)) is not None:
        with told():
            import_module(f"{PACKAGE}.conv_detail").show_conversation(bench, listing, name)
        return
    import_module(f"{PACKAGE}.{PARTS[part]}").show(bench, listing)


def read_listing(bench: Workbench) -> Listing:
    """Return the conversations as rows; the first time, show how far it is."""
    place = st.empty()
    listing = bench.data.index.listing(progress_in(place))
    place.empty()
    return listing


def progress_in(place: st.delta_generator.DeltaGenerator) -> Progress:
    """Return a callback that shows how far work is."""

    def tell(what: str, done: int, total: int) -> None:
        share = min(1.0, done / total) if total else 0.0
        of = f" of {count(total)}" if total else ""
        place.progress(share, f"{what[:1].upper()}{what[1:]}: {count(done)}{of}")

    return tell


def _close() -> None:
    st.session_state.pop(OPEN, None)
