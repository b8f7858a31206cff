"""Times as exports write them for people: in the order, words and digits of a country."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

_MONTHS = {
    1: ("jan", "ene", "gen", "янв", "sty", "led", "oca"),
    2: ("feb", "fév", "fev", "фев", "lut", "úno", "şub"),
    3: ("mar", "mär", "мар", "bře"),
    4: ("apr", "avr", "abr", "апр", "kwi", "dub", "nis"),
    5: ("may", "mai", "mag", "мая", "май", "maj", "kvě"),
    6: ("jun", "juin", "giu", "июн", "cze", "čvn", "haz"),
    7: ("jul", "juil", "lug", "июл", "lip", "čvc", "tem"),
    8: ("aug", "aoû", "ago", "авг", "sie", "srp", "ağu"),
    9: ("sep", "set", "сен", "wrz", "zář", "eyl"),
    10: ("oct", "okt", "ott", "out", "окт", "paź", "říj", "eki"),
    11: ("nov", "ноя", "lis", "kas"),
    12: ("dec", "dez", "déc", "dic", "дек", "gru", "pro", "ara"),
}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_AFTERNOON = re.compile(r"p\.?\s?m\b|下午|午後|오후|晚上|\bم\b", re.IGNORECASE)
_MORNING = re.compile(r"a\.?\s?m\b|上午|午前|오전|凌晨|早上|\bص\b", re.IGNORECASE)
_NAMED = re.compile(r"[^\W\d_]+")
MAX_CHARS = 80


def ascii_digits(said: str) -> str:
    """Return a text with the digits of other scripts as 0 to 9, and plain spaces."""
    plain = (
        str(unicodedata.decimal(sign)) if sign.isdecimal() and not sign.isascii() else sign
        for sign in said
    )
    return re.sub(r"[\u00a0\u202f\u2009]", " ", "".join(plain))


def takeout_time(said: str) -> str:
    """Return a whole text such as ``Dec 1, 2025, 10:00:00 AM CET`` as ISO 8601; "" for another."""
    if len(said) > MAX_CHARS:
        return ""
    given = ascii_digits(said)
    clock = re.search(r"(\d{1,2}):(\d{2}):(\d{2})", given)
    if clock is None:
        return ""
    numbers = [int(number) for number in re.findall(r"\d+", given[: clock.start()])]
    year = next((number for number in numbers if number > 1900), 0)  # noqa: PLR2004
    others = [number for number in numbers if number != year and 0 < number <= 31]  # noqa: PLR2004
    month = _month(given[: clock.start()])
    if month and others:
        day = others[0]
    elif len(others) == 2:  # noqa: PLR2004
        is_year_first = numbers[0] == year
        month, day = others if is_year_first else others[::-1]
    else:
        return ""
    return moment(year, month, day, given[clock.start() :], given)


def _month(said: str) -> int:
    for word in _NAMED.findall(said.lower()):
        for number, names in _MONTHS.items():
            if word.startswith(names):
                return number
    return 0


def moment(year: int, month: int, day: int, clock: str, whole: str = "") -> str:
    """Return a date with the time in a text, as ISO 8601 in UTC; "" for what is no date.

    Args:
        year: Of two digits or four.
        month: From 1.
        day: From 1.
        clock: A text with hours and minutes.
        whole: Where a word for before or after noon stands; ``clock`` if empty.
    """
    found = _CLOCK.search(clock)
    if found is None:
        return ""
    hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
    if _AFTERNOON.search(whole or clock) and hour < 12:  # noqa: PLR2004 - noon
        hour += 12
    elif _MORNING.search(whole or clock) and hour == 12:  # noqa: PLR2004 - midnight
        hour = 0
    try:
        at = datetime(year + 2000 * (year < 100), month, day, hour, minute, second, tzinfo=UTC)  # noqa: PLR2004
    except ValueError:
        return ""
    return at.isoformat(timespec="microseconds")
