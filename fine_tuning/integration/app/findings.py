"""Findings as they are shown: how bad in colour and sign, what was found, what helps."""

from __future__ import annotations

import streamlit as st

from fine_tuning.core.finding import Finding, Severity
from fine_tuning.integration.app.formatting import plain

SIGNS: dict[Severity, tuple[str, str]] = {
    "stop": ("red", ":material/error:"),
    "warning": ("orange", ":material/warning:"),
    "note": ("blue", ":material/info:"),
    "good": ("green", ":material/check_circle:"),
}


def show_finding(one: Finding) -> None:
    """Show one finding with its fix."""
    colour, icon = SIGNS[one.severity]
    parts = [f":{colour}[{icon}] **{plain(capital(one.title))}**"]
    if one.detail:
        parts.append(plain(capital(one.detail)))
    if one.fix and one.severity != "good":
        parts.append(f":material/build: {plain(one.fix)}")
    with st.container(border=True):
        st.markdown("  \n".join(parts))


def capital(text: str) -> str:
    """Return a text with its first letter as a capital."""
    return text[:1].upper() + text[1:]
