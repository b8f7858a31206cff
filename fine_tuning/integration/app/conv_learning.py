"""What would be learnt and what not, and why: reasons with examples, changed words, duplicates."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fine_tuning.core.data_account import DataAccount
from fine_tuning.core.finding import Finding
from fine_tuning.data_collection.cleaning_account import cleaning_accounts
from fine_tuning.data_collection.conversation_index import Listing
from fine_tuning.data_collection.recording_checks import CHECKS
from fine_tuning.integration.app.accounts import show_metrics, show_remarks, show_sums
from fine_tuning.integration.app.common import told
from fine_tuning.integration.app.conv_detail import show_changes
from fine_tuning.integration.app.conv_state import (
    browse_reason,
    known_outcome,
    open_conversation,
)
from fine_tuning.integration.app.conv_words import (
    REASONS,
    STEPS,
    facts,
    reason_name,
    times,
    title_of,
)
from fine_tuning.integration.app.findings import show_finding
from fine_tuning.integration.app.formatting import count, plain, when
from fine_tuning.workbench.data.review import CleaningOutcome
from fine_tuning.workbench.workbench import Workbench

QUICK_TOKENS = 200_000
"""Tokens up to which cleaning takes less than a second, so that nobody is asked to start it."""
NUM_EXAMPLES = 5
NUM_CHANGED = 5
NUM_GROUPS = 10
KINDS = ["Left out", "Changed", "Duplicates"]


def show(bench: Workbench, listing: Listing) -> None:
    """Show what cleaning makes of the conversations."""
    with told():
        outcome = _checked(bench, listing)
        if outcome is None:
            return
        accounts = cleaning_accounts(outcome.counts)
        _numbers(outcome, accounts)
        show_remarks(accounts)
        _last_data_set(bench)
        _findings(outcome.findings)
        kind = st.segmented_control(
            "Show", KINDS, default=KINDS[0], required=True, key="conv-kind",
            persist_state="page",
        )  # fmt: skip
        if kind == "Changed":
            _changed(bench, listing, outcome)
        elif kind == "Duplicates":
            _duplicates(listing, outcome)
        else:
            _left_out(listing, outcome)


def _checked(bench: Workbench, listing: Listing) -> CleaningOutcome | None:
    """Return the outcome of a cleaning; run one when it is quick or asked for."""
    outcome, is_current = known_outcome(bench, listing)
    tokens = sum(row.tokens for row in listing.rows.values())
    is_wanted = not is_current and tokens <= QUICK_TOKENS
    place = st.empty()
    if not is_current and not is_wanted:
        what = (
            f"This is as of {when(outcome.made_at)}; conversations, decisions or settings changed "
            "since."
            if outcome
            else "Cleaning reads every conversation: it repairs texts, redacts private "
            "values and finds duplicates. The log itself stays as it is."
        )
        with place.container(border=True):
            st.markdown(what)
            label = "Check again" if outcome else "Check all conversations"
            is_wanted = st.button(label, type="primary", key="conv-check")
    if is_wanted:
        outcome = _check(bench, place)
        place.empty()
    return outcome


def _check(bench: Workbench, place: DeltaGenerator) -> CleaningOutcome:
    bar = place.progress(0.0, "Checking")

    def tell(what: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / total) if total else 0.0, f"{what}: {count(done)}")

    return bench.with_progress(tell).data.review.sort_out()


def _numbers(outcome: CleaningOutcome, accounts: Sequence[DataAccount]) -> None:
    with st.container(horizontal=True):
        show_metrics(accounts)
        st.metric(
            "Replies", count(outcome.num_pairs), width=160,
            help="Replies that are trained on.",
        )  # fmt: skip
    show_sums(accounts, f"Checked {when(outcome.made_at)}.")


def _last_data_set(bench: Workbench) -> None:
    """Show what masking and cutting lost in the newest data set, if anything."""
    accounts = bench.data.reporter.newest_data_set()
    if any(one.left_out or one.num_cut for one in accounts):
        lines = "; ".join(one.sentence for one in accounts)
        st.caption(f"In the newest data set {plain(lines)}.")
        show_remarks(accounts)


def _findings(findings: list[Finding]) -> None:
    for one in findings:
        if one.severity == "stop":
            show_finding(one)
    told = {"left out", *CHECKS.values()}  # above, and by reason below
    warnings = [one for one in findings if one.severity == "warning" and one.check not in told]
    if warnings:
        label = times(len(warnings), "suggestion", "suggestions")
        with st.expander(label, icon=":material/lightbulb:"):
            for one in warnings:
                show_finding(one)


def _left_out(listing: Listing, outcome: CleaningOutcome) -> None:
    whole, *finer = cleaning_accounts(outcome.counts)
    account = finer[0] if finer else whole
    if not (whole.left_out or account.left_out):
        st.success("Nothing is left out.", icon=":material/check_circle:")
        return
    numbers = {**whole.left_out, **account.left_out}
    for reason, _ in sorted(numbers.items(), key=lambda item: -item[1]):
        conversations = whole.left_out.get(reason, 0)
        with st.expander(f"{reason_name(reason)}: {_how_many(reason, conversations, account)}"):
            st.caption(plain(_remedy(reason, account)))
            examples = _examples(outcome, reason)
            for name, detail in list(examples.items())[:NUM_EXAMPLES]:
                _example(listing, name, detail, key=f"out-{reason}-{name}")
            if conversations > NUM_EXAMPLES:
                st.button(
                    f"List all {times(conversations, 'conversation', 'conversations')}",
                    key=f"all-{reason}", on_click=browse_reason, args=(reason,),
                )  # fmt: skip


def _remedy(reason: str, account: DataAccount) -> str:
    """Return what helps: the value that would keep most where much is left out."""
    if account.is_notable(reason) and reason in account.remedies:
        return account.remedies[reason]
    return REASONS.get(reason, ("", ""))[1]


def _how_many(reason: str, conversations: int, account: DataAccount) -> str:
    """Return how much a reason leaves out: exchanges where they are counted, conversations."""
    parts = [times(conversations, "conversation", "conversations")] if conversations else []
    if account.unit == "exchanges" and (number := account.left_out.get(reason, 0)):
        parts.insert(0, times(number, "exchange", "exchanges"))
    return ", ".join(parts)


def _examples(outcome: CleaningOutcome, reason: str) -> dict[str, str]:
    """Return conversations that a reason dropped or took exchanges from, with what was seen."""
    dropped = {name: drop.detail for name, drop in outcome.drops.items() if drop.reason == reason}
    steps = {step["name"]: step["examples"] for step in outcome.counts["steps"]}
    noted = {name: what for name, what in steps.get(reason, ()) if what != "changed"}
    return {**dropped, **{name: what for name, what in noted.items() if name not in dropped}}


def _example(listing: Listing, name: str, detail: str, *, key: str) -> None:
    row = listing.rows.get(name)
    if row is None:
        return
    with st.container(gap=None):
        st.button(
            title_of(row), key=key, type="tertiary", on_click=open_conversation,
            args=(name,), wrap=False,
        )  # fmt: skip
        st.caption(plain(detail))


def _changed(bench: Workbench, listing: Listing, outcome: CleaningOutcome) -> None:
    names = [name for name in outcome.changed if name in listing.rows]
    found = {
        step: [name for name in names if step in outcome.changed[name]]
        for step in STEPS
    }  # fmt: skip
    kinds = [step for step, some in found.items() if some]
    if not kinds:
        st.success("No text is changed.", icon=":material/check_circle:")
        return
    step = st.pills(
        "Change", kinds, default=kinds[0], required=True, key="conv-step",
        format_func=lambda one: f"{STEPS[one]} ({count(len(found[one]))})", persist_state="page",
    )  # fmt: skip
    some = found[step if step in kinds else kinds[0]]
    start = _page_of(len(some), NUM_CHANGED, "changed")
    for name in some[start : start + NUM_CHANGED]:
        st.button(
            title_of(listing.rows[name]), key=f"changed-{name}", type="tertiary",
            on_click=open_conversation, args=(name,), wrap=False,
        )  # fmt: skip
        show_changes(bench.data.review.look_at(name))


def _duplicates(listing: Listing, outcome: CleaningOutcome) -> None:
    groups = {k: v for k, v in outcome.duplicates().items() if k in listing.rows}
    if not groups:
        st.success("No duplicates.", icon=":material/check_circle:")
        return
    total = sum(map(len, groups.values()))
    st.caption(
        f"{times(len(groups), 'group', 'groups')}; {times(total, 'copy', 'copies')} left out. "
        "Of each group the one of best quality is trained on."
    )
    start = _page_of(len(groups), NUM_GROUPS, "groups")
    ranked = sorted(groups, key=lambda name: -len(groups[name]))
    for name in ranked[start : start + NUM_GROUPS]:
        with st.container(border=True):
            st.button(
                f":material/school: {title_of(listing.rows[name])}", key=f"stays-{name}",
                type="tertiary", on_click=open_conversation, args=(name,), wrap=False,
            )  # fmt: skip
            st.caption(facts(listing.rows[name]))
            for twin in groups[name][:NUM_EXAMPLES]:
                _example(listing, twin, reason_name(outcome.drops[twin].reason), key=f"out-{twin}")
            more = len(groups[name]) - NUM_EXAMPLES
            if more > 0:
                st.caption(f"and {count(more)} more")


def _page_of(number: int, size: int, name: str) -> int:
    """Show which of some pages is looked at when there are several; return where it starts."""
    if number <= size:
        return 0
    last = -(-number // size)
    page = st.number_input(
        f"Page (of {count(last)})", min_value=1, max_value=last, key=f"conv-page-{name}", width=160
    )
    return (int(page) - 1) * size
