"""The page Train: what is at work, a new training with what it will take, and all runs so far."""

from __future__ import annotations

import streamlit as st

from fine_tuning.core.errors import DataError
from fine_tuning.integration.app.common import empty_state, told, workbench
from fine_tuning.integration.app.train_form import new_training
from fine_tuning.integration.app.train_live import at_work
from fine_tuning.integration.app.train_runs import earlier_runs


def show() -> None:
    """Show the page."""
    st.title("Train")
    at_work("train")
    with told():
        if _has_conversations():
            new_training()
        elif not workbench().jobs.runs() and not workbench().jobs.all():
            empty_state(
                "There is nothing to train on yet. Chat with your model or import chats you had "
                "elsewhere, then train on them.",
                page="chat",
                label="Start a chat",
                demo=True,
            )
        else:
            st.info(
                "To train on your own conversations, chat with your model or import some first.",
                icon=":material/forum:",
            )
        earlier_runs()


def _has_conversations() -> bool:
    try:
        workbench().data.pipeline.require_recorded()
    except DataError:
        return False
    return True
