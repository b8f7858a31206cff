"""Replies of two models side by side, the worst change first, with the words that differ marked."""

from __future__ import annotations

import streamlit as st

from fine_tuning.evaluation.evaluation_summary import EvaluatedItem, EvaluationSummary, ItemKind
from fine_tuning.integration.app.formatting import count, plain
from fine_tuning.integration.app.word_diff import word_diff

PER_PAGE = 8
KINDS: dict[ItemKind, str] = {
    "question": "Test questions",
    "reply": "Held-out chats",
    "prompt": "Your test prompts",
}
ORDERS = ("Worst first", "Best first")


def replies(found: EvaluationSummary) -> None:
    """Show them, a page at a time."""
    kinds = [kind for kind in KINDS if found.of(kind)]
    if not kinds:
        st.info("This comparison asked for no replies.", icon=":material/forum:")
        return
    kind = st.segmented_control(
        "Kind of prompt", kinds, default=kinds[0], format_func=KINDS.__getitem__
    )
    items = found.of(kind or kinds[0])
    names = list(items[0].replies)
    with st.container(horizontal=True):
        first = names[0]
        if len(names) > len(("base", "candidate")):
            first = str(st.selectbox("Compare with", names[:-1]))
        if kind != "prompt":
            order = st.segmented_control("Sort by", ORDERS, default=ORDERS[0])
            items = items[::-1] if order == ORDERS[1] else items
    pages = -(-len(items) // PER_PAGE)
    page = 1
    if pages > 1:
        page = int(
            st.number_input(f"Page of {count(pages)}", 1, pages, key=f"replies-{kind}", width=160)
        )
    for item in items[(page - 1) * PER_PAGE : page * PER_PAGE]:
        _item(item, first, names[-1])


def _item(item: EvaluatedItem, first: str, second: str) -> None:
    with st.container(border=True):
        st.markdown(f"**{plain(item.prompt)}**")
        if item.expected:
            word = "Facts of a right answer" if item.kind == "question" else "Recorded reply"
            st.caption(f"{word}: {plain(item.expected)}")
        before, after = item.replies[first], item.replies[second]
        marked = word_diff(before, after, is_prose=True)
        for column, name, text in zip(st.columns(2), (first, second), marked, strict=True):
            with column:
                st.markdown(f"**{plain(name)}** {_mark(item, name)}")
                st.markdown(text or "*empty*")


def _mark(item: EvaluatedItem, name: str) -> str:
    if name not in item.right:
        return ""
    return ":green-badge[right]" if item.right[name] else ":red-badge[wrong]"
