"""What every page uses: the workbench, errors as sentences, empty states.

Knows nothing of what a page shows.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import streamlit as st

from fine_tuning.config.loader import load_settings
from fine_tuning.config.workspace import HOME_VARIABLE, Workspace
from fine_tuning.core.errors import FineTuningError
from fine_tuning.integration.app.formatting import plain
from fine_tuning.workbench.workbench import Workbench

CONFIG_VARIABLE = "FINE_TUNING_CONFIG"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PageFacts:
    """What the navigation says of a page."""

    title: str
    icon: str


PAGES: dict[str, PageFacts] = {
    "chat": PageFacts("Chat", ":material/forum:"),
    "conversations": PageFacts("Conversations", ":material/library_books:"),
    "train": PageFacts("Train", ":material/model_training:"),
    "evaluate": PageFacts("Evaluate", ":material/balance:"),
    "models": PageFacts("Models", ":material/deployed_code:"),
    "doctor": PageFacts("Doctor", ":material/stethoscope:"),
}
"""The pages by module and path, in the navigation's order; the first answers without a path."""


def workbench() -> Workbench:
    """Return this process's workbench, made from ``FINE_TUNING_HOME`` and ``FINE_TUNING_CONFIG``.

    Raises:
        ConfigError: if a setting is not accepted.
    """
    variables = {k: v for k, v in os.environ.items() if k.startswith("FINE_TUNING__")}
    return _workbench(
        os.environ.get(HOME_VARIABLE, ""),
        os.environ.get(CONFIG_VARIABLE, ""),
        tuple(sorted(variables.items())),
    )


@st.cache_resource(show_spinner=False)
def _workbench(home: str, config: str, variables: tuple[tuple[str, str], ...]) -> Workbench:
    settings = load_settings(config or None, environment=dict(variables))
    return Workbench(settings, Workspace.open(home or None, settings))


@contextmanager
def told() -> Iterator[None]:
    """Show what goes wrong inside as one sentence and what to do next."""
    try:
        yield
    except FineTuningError as error:
        show_error(error)
    except Exception as error:  # noqa: BLE001 - whoever reads the page is owed a sentence
        _log.exception("a page failed")
        show_error(
            FineTuningError(
                f"this did not work: {type(error).__name__}: {str(error) or 'no reason was given'}",
                next_command="try again; the terminal that started the app says more",
            )
        )


def show_error(error: FineTuningError) -> None:
    """Show an error's sentence and its next step."""
    sentence = error.message[:1].upper() + error.message[1:]
    text = plain(sentence if sentence.endswith((".", "!", "?")) else f"{sentence}.")
    if error.next_command:
        text += f"  \n**Next:** {plain(error.next_command)}"
    st.error(text, icon=":material/error:")


def empty_state(
    sentence: str, *, page: str | None = None, label: str = "", demo: bool = False
) -> None:
    """Show that there is nothing yet, and the way on.

    Args:
        sentence: What is missing and what to do, friendly and short.
        page: Where the button leads; None shows none.
        label: The button's words.
        demo: Offer to load the sample conversations and train on them.
    """
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown("# :material/eco:", text_alignment="center")
        st.markdown(sentence, text_alignment="center")
        with st.container(horizontal=True, horizontal_alignment="center"):
            if page is not None and st.button(
                label or PAGES[page].title, type="primary", key=f"empty-{page}"
            ):
                go_to(page)
            if demo and st.button(
                "Load the sample conversations and train the demo",
                icon=":material/play_circle:",
                key="empty-demo",
                help="Some minutes on this computer; you can watch it on the page Train.",
            ):
                with told():
                    workbench().jobs.start_demo()
                    go_to("train")


def go_to(page: str) -> None:
    """Open another page by its name, such as ``train``; stays where it is when there is none."""
    pages = st.session_state.get("pages", {})
    if page in pages:
        st.switch_page(pages[page])


# Numbers for people
