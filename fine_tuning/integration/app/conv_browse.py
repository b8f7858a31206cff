"""Conversations as a list: search, filters, pages; the one that is opened takes its place."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import streamlit as st

from fine_tuning.data_collection.conversation_index import Listed, Listing, Order, Rating, Wanted
from fine_tuning.integration.app.common import told
from fine_tuning.integration.app.conv_state import (
    PAGE,
    REASON,
    known_outcome,
    open_conversation,
)
from fine_tuning.integration.app.conv_words import (
    ORDERS,
    RATINGS,
    REASONS,
    facts,
    language_name,
    reason_name,
    source_name,
    times,
    title_of,
)
from fine_tuning.integration.app.formatting import count
from fine_tuning.workbench.data.review import CleaningOutcome
from fine_tuning.workbench.workbench import Workbench

PER_PAGE = 20
ANY, LEARNT, LEFT_OUT = "", "trained on", "left out"
FILTERS: dict[str, Any] = {
    "conv-words": "", "conv-sources": [], "conv-languages": [], "conv-ratings": [],
    "conv-least": None, "conv-most": None, "conv-first": None, "conv-last": None, REASON: ANY,
}  # fmt: skip
"""The keys of the filters, each with the value that filters nothing."""


def show(bench: Workbench, listing: Listing) -> None:
    """Show the list."""
    outcome, is_current = known_outcome(bench, listing)
    wanted = _filters(listing, outcome)
    with told(), st.spinner("Searching …", show_time=False):
        found = listing.find(wanted)
    _list(found, listing, outcome)
    if outcome is not None and not is_current:
        st.caption("Conversations left out are as of the last check; Training data checks again.")


def _filters(listing: Listing, outcome: CleaningOutcome | None) -> Wanted:
    words = st.text_input(
        "Search", key="conv-words", placeholder="Words in the messages", icon=":material/search:",
        label_visibility="collapsed", persist_state="page", on_change=_to_first_page,
    )  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="bottom"):
        order: Order = st.selectbox(
            "Sort by", list(ORDERS), format_func=lambda one: ORDERS[one], key="conv-order",
            label_visibility="collapsed", width=200, persist_state="page",
            on_change=_to_first_page,
        )  # fmt: skip
        number = sum(st.session_state.get(key, empty) != empty for key, empty in FILTERS.items())
        label = f"Filters ({number})" if number else "Filters"
        with st.popover(label, icon=":material/filter_list:"):
            given = _choices(listing, outcome)
        if number:
            st.button("Clear", on_click=_clear, type="tertiary", help="Remove all filters.")
    return Wanted(words=words, order=order, **given)


def _choices(listing: Listing, outcome: CleaningOutcome | None) -> dict[str, Any]:
    """Show the filters; return what they want, as fields of :class:`Wanted`."""
    sources, languages = listing.counts("source"), listing.counts("language")
    chosen_sources = st.multiselect(
        "Source", list(sources), key="conv-sources", persist_state="page",
        format_func=lambda one: f"{source_name(one)} ({count(sources.get(one, 0))})",
        on_change=_to_first_page,
    )  # fmt: skip
    chosen_languages = st.multiselect(
        "Language", list(languages), key="conv-languages", persist_state="page",
        format_func=lambda one: f"{language_name(one)} ({count(languages.get(one, 0))})",
        on_change=_to_first_page,
    )  # fmt: skip
    ratings: list[Rating] = st.multiselect(
        "Feedback", list(RATINGS), key="conv-ratings", persist_state="page",
        format_func=lambda one: RATINGS[one], on_change=_to_first_page,
    )  # fmt: skip
    with st.container(horizontal=True):
        least = st.number_input(
            "Tokens, at least", min_value=0, value=None, key="conv-least", width=150,
            persist_state="page", on_change=_to_first_page,
        )  # fmt: skip
        most = st.number_input(
            "Tokens, at most", min_value=0, value=None, key="conv-most", width=150,
            persist_state="page", on_change=_to_first_page,
        )  # fmt: skip
        first = st.date_input(
            "From", None, key="conv-first", width=150, persist_state="page",
            on_change=_to_first_page,
        )  # fmt: skip
        last = st.date_input(
            "Up to", None, key="conv-last", width=150, persist_state="page",
            on_change=_to_first_page,
        )  # fmt: skip
    return {
        "sources": tuple(chosen_sources),
        "languages": tuple(chosen_languages),
        "ratings": tuple(ratings),
        "least_tokens": least,
        "most_tokens": most,
        "since": _moment(first) if first else "",
        "until": _moment(last + timedelta(days=1)) if last else "",
        "ids": _fate(listing, outcome),
    }


def _fate(listing: Listing, outcome: CleaningOutcome | None) -> frozenset[str] | None:
    """Show the filter by what cleaning does; return the conversations it leaves, None for all."""
    if outcome is None:
        return None
    reasons = [reason for reason in REASONS if outcome.counts["dropped"].get(reason)]
    options = [ANY, LEARNT, LEFT_OUT, *reasons]
    names = {ANY: "All", LEARNT: "Trained on", LEFT_OUT: "Left out, for any reason"}
    chosen = st.selectbox(
        "Trained on or left out", options, key=REASON, persist_state="page",
        format_func=lambda one: names.get(one) or f"Left out: {reason_name(one)}",
        on_change=_to_first_page,
    )  # fmt: skip
    if chosen == ANY:
        return None
    if chosen == LEARNT:
        return frozenset(listing.rows.keys() - outcome.drops.keys())
    return frozenset(
        name for name, drop in outcome.drops.items() if chosen in {LEFT_OUT, drop.reason}
    )


def _moment(day: date) -> str:
    """Return when a day begins here, in UTC."""
    return datetime.combine(day, time()).astimezone().astimezone(UTC).isoformat()


def _list(found: list[Listed], listing: Listing, outcome: CleaningOutcome | None) -> None:
    if not found:
        st.info(
            "No conversation matches. Try fewer words or filters.", icon=":material/search_off:"
        )
        return
    last_page = (len(found) - 1) // PER_PAGE
    page = min(int(st.session_state.get(PAGE, 0)), last_page)
    start = page * PER_PAGE
    shown = found[start : start + PER_PAGE]
    _pager(page, last_page, start, len(shown), len(found), len(listing.rows))
    for row in shown:
        with st.container(gap=None):
            st.button(
                title_of(row), key=f"open-{row.id}", type="tertiary", on_click=open_conversation,
                args=(row.id,), wrap=False,
            )  # fmt: skip
            drop = outcome.drops.get(row.id) if outcome else None
            fate = f" · :orange[left out: {reason_name(drop.reason).lower()}]" if drop else ""
            st.caption(facts(row, sorted(listing.ratings(row.id))) + fate)


def _pager(page: int, last_page: int, start: int, num: int, found: int, total: int) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        among = "" if found == total else f", of {count(total)} in all"
        which = f"{count(start + 1)} to {count(start + num)} of " if last_page else ""
        st.markdown(f"{which}{times(found, 'conversation', 'conversations')}{among}")
        if last_page:
            st.button(
                ":material/chevron_left:", key="conv-previous", help="Previous page",
                disabled=page == 0, on_click=_turn_to, args=(page - 1,),
            )  # fmt: skip
            st.button(
                ":material/chevron_right:", key="conv-next", help="Next page",
                disabled=page == last_page, on_click=_turn_to, args=(page + 1,),
            )  # fmt: skip


def _turn_to(page: int) -> None:
    st.session_state[PAGE] = page


def _to_first_page() -> None:
    st.session_state[PAGE] = 0


def _clear() -> None:
    for key, empty in FILTERS.items():
        st.session_state[key] = empty
    _to_first_page()
