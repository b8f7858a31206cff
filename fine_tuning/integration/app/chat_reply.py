"""Replies as they come: streamed, stoppable at any moment, errors kept for the next run.

The model works in another thread, so that a stop is heard while nothing comes.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fine_tuning.core.errors import FineTuningError, RuntimeFailedError
from fine_tuning.data_collection.chat_session import ChatSession
from fine_tuning.data_collection.chat_turns import DRAWN, drawn_order
from fine_tuning.integration.app.chat_state import Failed, Picked, Wish, models
from fine_tuning.integration.app.chat_text import rendered
from fine_tuning.integration.app.common import workbench
from fine_tuning.integration.app.formatting import duration

LOOK_S = 0.1
LEAVE_S = 2.0
CURSOR = " ▌"
UNDER_WAY = "reply-under-way"


class Incoming:
    """A reply that is being made in another thread.

    Args:
        begin: Makes the generator of its pieces; it is told how to ask whether to stop.
    """

    def __init__(self, begin: Callable[[Callable[[], bool]], Generator[str, None, str]]) -> None:
        self._queue: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._begin = begin
        self.error: FineTuningError | None = None
        self._thread = threading.Thread(target=self._work, name="reply", daemon=True)
        self._thread.start()

    def pieces(self) -> Generator[str, None, None]:
        """Yield what came since the last look, "" when nothing did, until the reply ends."""
        is_over = False
        while not is_over:
            came: list[str] = []
            try:
                item = self._queue.get(timeout=LOOK_S)
                while item is not None:
                    came.append(item)
                    item = self._queue.get_nowait()
                is_over = True
            except queue.Empty:
                pass
            yield "".join(came)

    def stop(self) -> None:
        """End it, and wait a moment until what came is recorded."""
        self._stopped.set()
        self._thread.join(LEAVE_S)

    def _work(self) -> None:
        try:
            for piece in self._begin(self._stopped.is_set):
                self._queue.put(piece)
        except FineTuningError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - told on the page instead of dying unheard
            self.error = RuntimeFailedError(f"the reply broke off: {type(error).__name__}: {error}")
        finally:
            self._queue.put(None)


def end_what_is_under_way() -> None:
    """Stop a reply that an earlier run of this page was streaming, so that it is read as it ended.

    Streamlit begins a run while the one it replaces is still being left.
    """
    incoming: Incoming | None = st.session_state.pop(UNDER_WAY, None)
    if incoming is not None:
        incoming.stop()


def fulfil(talk: ChatSession, wanted: Wish, picked: Picked) -> None:
    """Stream the replies that are wished for, record them, and run the page anew."""
    names = drawn_order(wanted.models, wanted.asked_id)
    places = _places(len(names))
    st.button("Stop", icon=":material/stop_circle:", key="stop", help="Keep what came so far.")
    for name, place in zip(names, places, strict=True):
        error = _stream(talk, wanted, name, picked, place)
        if error is not None:
            st.session_state["failed"] = Failed(asked_id=wanted.asked_id, error=error)
            break
    if talk.is_recording:
        try:
            workbench().data.export_if_due()
        except FineTuningError as error:
            st.session_state["notice"] = error
    st.rerun()


def _places(number: int) -> list[DeltaGenerator]:
    if number == 1:
        return [st.chat_message("assistant").empty()]
    columns = st.columns(number)
    return [
        column.chat_message("assistant", avatar=f":material/counter_{index}:").empty()
        for index, column in enumerate(columns, start=1)
    ]


def _stream(
    talk: ChatSession, wanted: Wish, name: str, picked: Picked, place: DeltaGenerator
) -> FineTuningError | None:
    """Stream one reply into its place; return what went wrong."""
    place.markdown(CURSOR)
    try:
        # Two that are compared side by side answer as they were picked; alone, one may be drawn.
        route = workbench().models.aliases.answering(name, "" if wanted.note else talk.id)
        model = models().model(route.model)
    except FineTuningError as error:
        return error
    sampling, note = picked.sampling, wanted.note or (DRAWN if route.is_drawn else "")
    incoming = Incoming(
        lambda is_stopped: talk.reply(
            wanted.asked_id,
            model,
            sampling,
            note=note,
            version=route.version,
            is_stopped=is_stopped,
        )
    )
    st.session_state[UNDER_WAY] = incoming
    text, begun_s = "", time.monotonic()
    try:
        for piece in incoming.pieces():
            text += piece
            if text:
                place.markdown(rendered(text) + CURSOR)
            else:
                place.caption(f"Thinking, {duration(round(time.monotonic() - begun_s))} …")
    finally:
        incoming.stop()  # also when the page is left, or another button was pressed
    return incoming.error
