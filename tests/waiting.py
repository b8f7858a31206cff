"""Waits for what another process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(holds: Callable[[], bool], *, limit_s: float = 60.0) -> None:
    """Return as soon as something holds.

    Raises:
        AssertionError: if it does not within the limit.
    """
    give_up_s = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < give_up_s
        time.sleep(0.02)
