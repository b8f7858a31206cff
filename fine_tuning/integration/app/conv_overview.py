"""The conversations in numbers and plots: how many, how long, in which language, how they look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import altair as alt
import streamlit as st

from fine_tuning.data_collection.cleaning_account import cleaning_accounts
from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.integration.app.accounts import show_remarks, show_sums
from fine_tuning.integration.app.conv_state import known_outcome
from fine_tuning.integration.app.conv_words import language_name, source_name
from fine_tuning.integration.app.formatting import count, percent, when
from fine_tuning.workbench.workbench import Workbench

Rows = list[dict[str, str | float]]
MOST_NAMES = 10
TOKEN_EDGES = (0, 25, 50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800)
NUM_QUALITY_BINS = 20
HEIGHT = 320
BAR_HEIGHT, FRAME_HEIGHT = 34, 130
LEARNT, LEFT_OUT, UNKNOWN = "trained on", "left out", "not checked yet"
COLOURS = {LEARNT: "#2a9d8f", LEFT_OUT: "#e9a23b", UNKNOWN: "#8d99ae"}


def show(bench: Workbench, listing: Listing) -> None:
    """Show the numbers and the plots."""
    _numbers(listing)
    outcome, _ = known_outcome(bench, listing)
    if outcome is not None:
        accounts = cleaning_accounts(outcome.counts)
        show_sums(accounts, f"Checked {when(outcome.made_at)}.")
        show_remarks(accounts)
    fates = {
        name: UNKNOWN if outcome is None else LEFT_OUT if name in outcome.drops else LEARNT
        for name in listing.rows
    }
    left, right = st.columns(2)
    with left:
        _plot_months(listing, fates)
        _plot_quality(listing, fates)
    with right:
        _plot_lengths(listing, fates)
        _plot_names(listing, "language", fates)
    if len(listing.counts("source")) > 1:
        _plot_names(listing, "source", fates)
    if outcome is None:
        st.caption("Training data says which conversations are left out, and why.")


def _numbers(listing: Listing) -> None:
    rows = listing.rows.values()
    ratings = Counter(rating for name in listing.rows for rating in listing.ratings(name))
    decided = ratings["accepted"] + ratings["rejected"]
    with st.container(horizontal=True):
        st.metric("Conversations", count(len(rows)), width=150)
        st.metric("Replies", count(sum(row.turns for row in rows)), width=150)
        st.metric("Tokens", count(sum(row.tokens for row in rows)), width=170, help="Estimated.")
        st.metric("With a thumb up", count(ratings["liked"]), width=150)
        st.metric("With a thumb down", count(ratings["disliked"]), width=150)
        st.metric("Corrected by you", count(ratings["edited"]), width=150)
        st.metric("Reviewed", count(decided), width=120, help="Accepted or rejected in the review.")


def _plot_months(listing: Listing, fates: Mapping[str, str]) -> None:
    pairs = ((row.last_at[:7], fates[row.id]) for row in listing.rows.values() if row.last_at)
    data = _counted(pairs, "month")
    if not data:
        return
    axis = alt.X("month:O", title="month", axis=alt.Axis(labelAngle=-45, labelOverlap=True))
    _bars(data, axis, "Conversations by month", "Conversations by month of their newest message")


def _plot_lengths(listing: Listing, fates: Mapping[str, str]) -> None:
    labels = [f"{count(edge)}+" for edge in TOKEN_EDGES]
    pairs = ((labels[_bin(row.tokens)], fates[row.id]) for row in listing.rows.values())
    axis = alt.X("length:O", sort=labels, title="length, estimated tokens")
    _bars(_counted(pairs, "length"), axis, "Length", "Conversations by length in tokens")


def _bin(tokens: int) -> int:
    return sum(tokens >= edge for edge in TOKEN_EDGES) - 1


def _plot_quality(listing: Listing, fates: Mapping[str, str]) -> None:
    width = 1 / NUM_QUALITY_BINS
    pairs = (
        (round(min(int(row.quality / width), NUM_QUALITY_BINS - 1) * width, 2), fates[row.id])
        for row in listing.rows.values()
    )
    axis = alt.X(
        "quality:O", title="heuristic quality of the replies, 0 to 1",
        axis=alt.Axis(labelOverlap=True, labelAngle=0),
    )  # fmt: skip
    _bars(_counted(pairs, "quality"), axis, "Quality", "Conversations by heuristic quality")


def _plot_names(listing: Listing, name: str, fates: Mapping[str, str]) -> None:
    counts = listing.counts("language" if name == "language" else "source")
    shown = set(list(counts)[:MOST_NAMES])
    name_of = language_name if name == "language" else source_name
    pairs = (
        (name_of(value) if value in shown else "others", fates[row.id])
        for row in listing.rows.values()
        for value in (getattr(row, name),)
    )
    data = _counted(pairs, name)
    title = "Languages" if name == "language" else "Sources"
    height = BAR_HEIGHT * len({one[name] for one in data}) + FRAME_HEIGHT
    chart = (
        alt.Chart(alt.InlineData(values=data), height=height)
        .mark_bar()
        .encode(
            alt.Y(
                f"{name}:N",
                sort="-x",
                title=None,
                axis=alt.Axis(labelLimit=160, labelOverlap=False),
            ),
            _how_many(alt.X),
            _colour(data),
            tooltip=_tooltip(name),
        )
    )
    most = next(iter(counts))
    share = percent(counts[most] / len(listing.rows))
    st.markdown(f"**{title}**")
    st.altair_chart(chart, alt=f"{title}: {name_of(most)} {share}")


def _bars(data: Rows, axis: alt.X, title: str, described: str) -> None:
    field = next(iter(data[0]))
    chart = (
        alt.Chart(alt.InlineData(values=data), height=HEIGHT)
        .mark_bar()
        .encode(axis, _how_many(alt.Y), _colour(data), tooltip=_tooltip(field))
    )
    st.markdown(f"**{title}**")
    st.altair_chart(chart, alt=described)


def _how_many(channel: type[alt.X | alt.Y]) -> alt.X | alt.Y:
    return channel("conversations:Q", title="conversations", axis=alt.Axis(tickMinStep=1))


def _tooltip(field: str) -> list[alt.Tooltip]:
    return [alt.Tooltip(f"{field}:N"), alt.Tooltip("fate:N"), alt.Tooltip("conversations:Q")]


def _colour(data: Rows) -> alt.Color:
    fates = [fate for fate in COLOURS if any(one["fate"] == fate for one in data)]
    legend = alt.Legend(title=None, orient="top") if fates != [UNKNOWN] else None
    scale = alt.Scale(domain=fates, range=[COLOURS[fate] for fate in fates])
    return alt.Color("fate:N", scale=scale, legend=legend)


def _counted(pairs: Iterable[tuple[str | float, str]], name: str) -> Rows:
    counts = Counter(pairs)
    return [
        {name: value, "fate": fate, "conversations": counts[value, fate]}
        for value, fate in sorted(counts)
    ]
