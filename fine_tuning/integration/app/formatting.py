"""Numbers, times and texts as people read them on a page."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
STEP = 1024
MINUTE_S = 60
HOUR_S = 3600
SHORT_S = 10
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$&])")


def count(number: float) -> str:
    """Return a whole number as 12,345."""
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Return a time as 0.4 s, 20 s, 3 min 20 s or 2 h 5 min."""
    if seconds < SHORT_S:
        return f"{max(0.0, seconds):.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        minutes, rest = divmod(whole, MINUTE_S)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(whole / MINUTE_S), MINUTE_S)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size(num_bytes: float) -> str:
    """Return bytes as 512 B, 1.2 GiB or 34 MiB."""
    value, units = float(num_bytes), list(BINARY_UNITS)
    while value >= STEP and len(units) > 1:
        value /= STEP
        units.pop(0)
    digits = 1 if units[0] != "B" and value < SHORT_S else 0
    return f"{value:,.{digits}f} {units[0]}"


def percent(share: float) -> str:
    """Return a share of 1 as 86 %."""
    return f"{share * 100:.0f} %"


def when(moment: datetime | str) -> str:
    """Return a moment in local time as today 14:03, yesterday 9:30 or 12 Nov 2026; "" if unknown.

    Args:
        moment: With its zone, or as ISO 8601.
    """
    try:
        exact = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    except ValueError:
        return str(moment)
    local = exact.astimezone()
    today = datetime.now(local.tzinfo).date()
    if local.date() == today:
        return f"today {local:%H:%M}"
    if local.date() == today - timedelta(days=1):
        return f"yesterday {local:%H:%M}"
    return f"{local.day} {local:%b %Y}"


def plain(text: str) -> str:
    """Return text so that ``st.markdown`` shows it letter by letter, whatever it says."""
    return _MARKDOWN.sub(r"\\\1", text).replace("\n", "  \n")
