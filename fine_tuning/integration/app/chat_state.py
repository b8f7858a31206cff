"""What the page Chat keeps between touches: the chat shown, the models, what is being done.

The chat's id stands in the address, so that a reload comes back to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.ports import Sampling
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.integration.app.common import show_error, workbench
from fine_tuning.workbench.chat.chat_models import ChatModels, ModelChoice
from fine_tuning.workbench.workbench import Workbench

ADDRESS = "chat"
CHOICES_KEPT_S = 5
MAX_REPLY_TOKENS = 512
REASONS = ("Wrong", "Made up", "Not what I asked", "Too long", "Too short", "Rude")
"""What may be wrong with a reply that got a thumb down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Replies that are to be made now: to which question, by which models."""

    asked_id: str
    models: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A reply that did not come, and why."""

    asked_id: str
    error: FineTuningError


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Who is talked to; with ``other`` two reply, and nobody is told which is which."""

    model: str
    other: str = ""
    temperature: float = 0.5

    @property
    def sampling(self) -> Sampling:
        """How replies are drawn."""
        return Sampling(temperature=self.temperature, top_p=0.95, max_tokens=MAX_REPLY_TOKENS)


def models() -> ChatModels:
    """Return the models of this process's workbench, shared by everyone who chats."""
    bench = workbench()
    return _models(str(bench.context.workspace.home), bench)


@st.cache_resource(show_spinner=False, on_release=lambda held: held.close())
def _models(home: str, _bench: Workbench) -> ChatModels:  # noqa: ARG001 - the cache's key
    return _bench.chat.open_models()


def choices() -> list[ModelChoice]:
    """Return the models to pick from; while the runtime does not answer, the base only."""
    bench = workbench()
    try:
        return _choices(str(bench.context.workspace.home), bench)
    except FineTuningError as error:
        show_error(error)
        base = bench.context.settings.training.base_model
        return [ModelChoice(name=base, label=f"{base} (base, not tuned)", kind="base")]


@st.cache_data(ttl=CHOICES_KEPT_S, show_spinner=False)
def _choices(home: str, _bench: Workbench) -> list[ModelChoice]:  # noqa: ARG001 - as above
    return _bench.chat.model_choices()


def current_talk() -> ChatSession:
    """Return the chat that the address names, or a new one."""
    wanted = st.query_params.get(ADDRESS, "")
    talk: ChatSession | None = st.session_state.get("talk")
    if talk is None or (wanted and wanted != talk.id):
        talk = workbench().chat.session(wanted)
        st.session_state["talk"] = talk
    return talk


def open_chat(conversation_id: str = "") -> None:
    """Show another chat from the next run on; "" begins a new one."""
    st.session_state["talk"] = workbench().chat.session(conversation_id)
    for key in ("wish", "failed", "editing", "unsent"):
        st.session_state.pop(key, None)
    if conversation_id:
        st.query_params[ADDRESS] = conversation_id
    else:
        st.query_params.pop(ADDRESS, None)


def wish(asked_id: str, names: tuple[str, ...], note: str = "") -> None:
    """Have replies made in the next run."""
    st.session_state["wish"] = Wish(asked_id=asked_id, models=names, note=note)
    st.session_state.pop("failed", None)
