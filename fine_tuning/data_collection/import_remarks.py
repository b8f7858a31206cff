"""What is worth saying about an import besides its counts."""

from __future__ import annotations

from collections.abc import Mapping

NUM_NAMED = 8


def unread_line(unread: Mapping[str, int]) -> str:
    """Return the columns and keys of a file that are not read, in one line; "" for none.

    Args:
        unread: In how many records each stands, by name.
    """
    if not unread:
        return ""
    ranked = sorted(unread.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{name} (in {number:,})" for name, number in ranked[:NUM_NAMED]]
    more = len(ranked) - len(named)
    return f"not read: {', '.join(named)}{f' and {more} more' if more else ''}"
