"""What is left out of training, as the pages Conversations, Train and Doctor show it alike."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from fine_tuning.core.data_account import DataAccount, account_remarks
from fine_tuning.integration.app.findings import capital
from fine_tuning.integration.app.formatting import count, percent, plain


def show_sums(accounts: Sequence[DataAccount], more: str = "") -> None:
    """Show each account's sum in one caption, such as 7 conversations = 3 kept + 4 left out."""
    sums = [
        f"{one.counted(one.num_in)} = {count(one.kept)} kept + {count(one.num_left_out)} left out"
        for one in accounts
    ]
    st.caption(". ".join([*sums, more]) if more else f"{'. '.join(sums)}.")


def show_remarks(accounts: Sequence[DataAccount]) -> None:
    """Show one line for each reason that leaves out more than a tenth."""
    for line in account_remarks(accounts):
        st.warning(plain(capital(line)), icon=":material/filter_alt_off:")


def show_metrics(accounts: Sequence[DataAccount]) -> None:
    """Show how much of each unit is kept; call it in a horizontal container."""
    for one in accounts:
        st.metric(
            capital(one.title or one.unit),
            f"{count(one.kept)} of {count(one.num_in)}",
            delta=f"{percent(one.kept_share)} kept",
            delta_color="off",
            delta_arrow="off",
            width=200,
        )
