"""A/B tests on the page Models: how chats are split, what people thought, starting and ending."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from fine_tuning.integration.app.common import told, workbench
from fine_tuning.integration.app.conv_words import times
from fine_tuning.integration.app.formatting import percent, plain, when

if TYPE_CHECKING:
    from fine_tuning.model_management.alias_history import Alias
    from fine_tuning.model_management.versions import ModelVersion
    from fine_tuning.workbench.models.ab_test import Split, Tally

Say = Callable[[str], None]
"""Shows the page anew, with a sentence on what was done."""
SHARES = tuple(range(5, 100, 5))


def show_split(found: Split, say: Say) -> None:
    """Show an A/B test under way, and the ways to end it."""
    bench, family = workbench(), found.traffic.family
    first, second = found.champion, found.challenger
    st.markdown(
        f":material/call_split: **A/B test**: {plain(first.version)} answers "
        f"{percent(first.share)} of the conversations, {plain(second.version)} "
        f"{percent(second.share)}, since {when(found.traffic.since)}"
    )
    st.markdown("\n".join(f"- {_line(side)}" for side in (first, second)))
    st.caption(
        "A/B test: each conversation stays with one version. The ranges are 95 % confidence "
        "intervals of the share of thumbs up; while they overlap, it is open which is better."
    )
    with st.container(horizontal=True):
        if st.button(f"Use {plain(second.version)} for all", key=f"split-take-{family}"):
            with told(), st.spinner("Switching"):
                done = bench.models.aliases.switcher().switch(second.version)
                say(f"{done.alias} answers as {done.version}; the A/B test is over.")
        if st.button(f"Back to {plain(first.version)} for all", key=f"split-end-{family}"):
            with told():
                bench.models.aliases.end_split(family)
                say(f"{found.traffic.alias} answers as {first.version} again in all conversations.")


def _line(side: Tally) -> str:
    """Return what was recorded of a side; a list, because a table is too wide for a phone."""
    line = f"**{plain(side.version)}**: {times(side.num_sessions, 'conversation', 'conversations')}"
    if (interval := side.interval) is None:
        return f"{line}, no thumb yet"
    thumbs = times(side.num_thumbs, "thumb", "thumbs")
    low, high = (f"{100 * one:.0f}" for one in interval)
    return (
        f"{line}, {thumbs}, **{percent(side.up / side.num_thumbs)} up** (range {low} to {high} %)"
    )


def offer_split(alias: Alias, versions: Sequence[ModelVersion], say: Say) -> None:
    """Offer to let another deployed version answer a share of the conversations."""
    others = [
        one.name
        for one in versions
        if one.family == alias.family
        and one.name != alias.version
        and one.deployed_on(alias.runtime)
    ]
    if not others:
        return
    key = f"{alias.family}-{alias.runtime}"
    with st.expander(
        "A/B test: let another version answer some conversations", icon=":material/call_split:"
    ):
        other = st.selectbox("Version", others, key=f"split-version-{key}", width=260)
        share = st.select_slider(
            "Share of the conversations it answers",
            SHARES,
            value=20,
            format_func=lambda one: f"{one} %",
            key=f"split-share-{key}",
            width=420,
        )
        if st.button("Start", icon=":material/play_arrow:", key=f"split-start-{key}"):
            with told(), st.spinner(f"Loading {plain(other)}"):
                done = workbench().models.aliases.switcher().split(other, share / 100)
                say(f"{done.version} answers {percent(done.share)} of the conversations.")
