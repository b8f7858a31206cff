"""Ctrl-C as a request: the run finishes what it must not leave half done, saves and stops.

A second Ctrl-C stops at once; the last checkpoint then stands.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self

from fine_tuning.core.closing import Closing

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest(Closing):
    """Becomes ``requested`` when the user presses Ctrl-C, or the system asks the process to end.

    Outside a process's main thread Python allows no handlers; there only :meth:`ask` sets it.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def ask(self) -> None:
        """Request the stop."""
        self.requested = True

    def __enter__(self) -> Self:
        """Listen to the signals."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
