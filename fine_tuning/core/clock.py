"""The machine's own clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """Time as the operating system tells it."""

    def now(self) -> datetime:
        """Return the time of day in UTC."""
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary moment; never goes backwards."""
        return time.monotonic()


def iso(moment: datetime) -> str:
    """Return a moment in UTC as ISO 8601 with microseconds, the form stored everywhere."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
