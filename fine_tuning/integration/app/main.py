"""What ``streamlit run`` executes at each touch of a page: the gate, then the page asked for.

A page is a module of this package with a function ``show``; it is imported when it is first seen.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import streamlit as st

# Streamlit puts this folder first, where `evaluate` and `train` would hide libraries of that name.
HERE = str(Path(__file__).parent)
sys.path[:] = [entry for entry in sys.path if entry != HERE]

from fine_tuning.integration.app.access import let_in  # noqa: E402
from fine_tuning.integration.app.common import PAGES, PageFacts, told  # noqa: E402

PACKAGE = "fine_tuning.integration.app"


def shown_by(name: str) -> None:
    """Show a page; what goes wrong in it becomes a sentence."""
    with told():
        import_module(f"{PACKAGE}.{name}").show()


def page_of(name: str, facts: PageFacts) -> st.Page:
    """Return a page of the navigation."""

    def shown() -> None:
        shown_by(name)

    is_first = name == next(iter(PAGES))
    # The first page answers at the address without a path, and by its name.
    return st.Page(shown, title=facts.title, icon=facts.icon, url_path=name, default=is_first)


def run() -> None:
    """Show the page that the browser asks for."""
    st.set_page_config(page_title="Fine-tuning", page_icon=":material/forum:", layout="wide")
    let_in()
    pages = {
        name: page_of(name, facts)
        for name, facts in PAGES.items()
        if find_spec(f"{PACKAGE}.{name}") is not None
    }
    st.session_state["pages"] = pages
    if not pages:
        return
    st.navigation(list(pages.values())).run()


run()
