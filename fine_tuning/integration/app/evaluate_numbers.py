"""The numbers of a comparison: gains with their intervals, and every metric in a table."""

from __future__ import annotations

from typing import Any

import altair as alt
import streamlit as st

from fine_tuning.evaluation.evaluation_summary import EvaluationSummary, Measured
from fine_tuning.integration.app.formatting import count, plain

COLORS = {"better": "#2f9e6b", "worse": "#d1594d", "no clear difference": "#8b95a3"}
WORDS = {"better": "better", "worse": "worse", "open": "no clear difference", "none": "-"}
ROW_PX = 30
LABEL_PX = 170


def numbers(found: EvaluationSummary) -> None:
    """Show them, for each model the candidate was compared with."""
    names = list(dict.fromkeys(one.against for one in found.measured))
    for name in names:
        rows = [one for one in found.measured if one.against == name]
        st.markdown(f"**{plain(found.candidate)} against {plain(name)}**")
        _chart(rows)
        _table(rows, name, found.candidate)
    st.caption(
        "95 % confidence interval: the bar is where the true difference lies. One that touches "
        "zero may be chance. Green is better beyond chance, red is worse, grey is open."
    )


def _chart(rows: list[Measured]) -> None:
    values: list[dict[str, Any]] = [
        {
            "label": one.label,
            "gain": one.gain * 100,
            "low": one.low * 100,
            "high": one.high * 100,
            "found": WORDS[one.sign],
        }
        for one in rows
        if one.is_share and one.low is not None and one.high is not None and one.sign != "none"
    ]
    if not values:
        return
    order = [value["label"] for value in values]
    axis = alt.Axis(labelLimit=LABEL_PX, labelOverlap=False)
    base = alt.Chart(alt.InlineData(values=values)).encode(
        y=alt.Y("label:N", sort=order, title=None, axis=axis),
        color=alt.Color(
            "found:N",
            title=None,
            scale=alt.Scale(domain=list(COLORS), range=list(COLORS.values())),
            legend=None,
        ),
        tooltip=[
            alt.Tooltip("label:N", title="Metric"),
            alt.Tooltip("gain:Q", title="Gain, points", format="+.1f"),
            alt.Tooltip("low:Q", title="At least", format="+.1f"),
            alt.Tooltip("high:Q", title="At most", format="+.1f"),
        ],
    )
    bars = base.mark_rule(strokeWidth=3).encode(
        x=alt.X("low:Q", title="Gain in percentage points"),
        x2="high:Q",
    )
    points = base.mark_point(filled=True, size=70).encode(x="gain:Q")
    zero = alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_rule(color="#8b95a3").encode(x="x:Q")
    st.altair_chart((zero + bars + points).properties(height=ROW_PX * len(values) + 70))


def _table(rows: list[Measured], against: str, candidate: str) -> None:
    names = (against, candidate if candidate != against else f"{candidate} again")
    st.dataframe(
        [
            {
                "Metric": one.label,
                names[0]: one.shown(one.reference),
                names[1]: one.shown(one.candidate),
                "Gain": _gain(one, one.gain),
                "95 % interval": "-"
                if one.low is None or one.high is None
                else f"{_gain(one, one.low)} and {_gain(one, one.high)}",
                "Finding": WORDS[one.sign],
                "Items": count(one.num_items),
            }
            for one in rows
        ],
        hide_index=True,
    )


def _gain(one: Measured, value: float) -> str:
    return f"{round(value * 100):+d} points" if one.is_share else f"{value:+.3g}"
