"""What differs between two versions: data, settings, measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from fine_tuning.integration.app.common import workbench
from fine_tuning.integration.app.formatting import count, duration, plain, size


def compare_versions(names: Sequence[str]) -> None:
    """Show the choice of two, newest first, and what differs."""
    if len(names) == 1:
        st.info("There is one version only; a second one can be compared with it here.")
        return
    left, right = st.columns(2)
    first = left.selectbox("Version", names, index=1, key="diff-first")
    second = right.selectbox("and", names, index=0, key="diff-second")
    found = workbench().models.lineage.diff(str(first), str(second))
    st.markdown(
        f"- **Conversations**: {count(found.num_shared)} in both, {count(len(found.added))} only "
        f"in {plain(found.second)}, {count(len(found.removed))} only in {plain(found.first)}\n"
        f"- **Base**: {_pair(found.base)}\n"
        f"- **Parents**: {_pair(_joined(found.parents))}\n"
        f"- **Data set**: {_pair(found.snapshot)}"
    )
    _table("Settings", found.settings, found.first, found.second)
    _table("Metrics", found.metrics, found.first, found.second)


def _pair(pair: tuple[str, str] | None) -> str:
    return f"{plain(pair[0])} → {plain(pair[1])}" if pair else "the same"


def _joined(pair: tuple[tuple[str, ...], tuple[str, ...]] | None) -> tuple[str, str] | None:
    return (", ".join(pair[0]) or "none", ", ".join(pair[1]) or "none") if pair else None


def _table(title: str, changes: Mapping[str, tuple[Any, Any]], first: str, second: str) -> None:
    if not changes:
        st.caption(f"{title}: the same.")
        return
    second = second if second != first else f"{second} again"
    st.markdown(f"**{title}**")
    st.dataframe(
        [
            {
                "Setting or metric": _name(key),
                first: _shown(key, before),
                second: _shown(key, after),
            }
            for key, (before, after) in changes.items()
        ],
        hide_index=True,
    )


def _name(key: str) -> str:
    """Return a dotted key as words, without the unit its value is shown with."""
    return key.removesuffix("_bytes").removesuffix("_s").replace("_", " ").replace(".", ": ")


def _shown(key: str, value: Any) -> str:  # noqa: ANN401 - any setting's or metric's value
    if isinstance(value, int | float) and key.endswith("_bytes"):
        return size(value)
    if isinstance(value, int | float) and key.endswith("_s"):
        return duration(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
