"""Checks a machine can make of a reply: a number, a word, a format, a refusal.

A check is a small dictionary, ``{"kind": "number", "value": 7}``, so that probe items and the
canaries of a user are data. What this does not know: whether a reply is good otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, list_of, number_of, object_of, text_of
from fine_tuning.evaluation.facts import contains_fact
from fine_tuning.evaluation.metrics import is_refusal

Check = JsonObject
_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_FENCE = re.compile(r"```(?:\w+)?\s*(.*?)```", re.DOTALL)
_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_SPELLED = re.compile(rf"\b({'|'.join(_UNITS)})\b", re.IGNORECASE)


def passes(reply: str, check: Check) -> bool:
    """Tell whether a reply passes a check.

    Raises:
        DataError: if the check is of an unknown kind or lacks a field.
    """
    kind = check.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise DataError(f"a check has kind {kind!r}, expected one of {', '.join(sorted(_KINDS))}")
    try:
        return _KINDS[kind](reply, check)
    except (KeyError, TypeError, ValueError, re.error) as error:
        raise DataError(f"the check {dict(check)!r} cannot be made: {error!r}") from error


def _number(reply: str, check: Check) -> bool:
    """A sentence or line ends its calculation with the number, in digits or as a word."""
    text = _SPELLED.sub(lambda word: str(_UNITS.index(word.group().lower())), reply)
    last = (_NUMBER.findall(part)[-1:] for part in _SENTENCE_END.split(text))
    return any(
        float(n.replace(",", "")) == number_of(check, "value") for found in last for n in found
    )


def _contains(reply: str, check: Check) -> bool:
    """All of ``all`` and one of ``any`` stand in the reply; either may be absent."""
    needed, accepted = _texts(check, "all"), _texts(check, "any")
    if not needed and not accepted:
        raise KeyError("any")
    has_any = not accepted or any(contains_fact(reply, word) for word in accepted)
    return has_any and all(contains_fact(reply, word) for word in needed)


def _not_contains(reply: str, check: Check) -> bool:
    return bool(reply.strip()) and not any(
        contains_fact(reply, word) for word in _texts(check, "any", needed=True)
    )


def _regex(reply: str, check: Check) -> bool:
    return re.search(text_of(check, "pattern"), reply.strip()) is not None


def _words(reply: str, check: Check) -> bool:
    """The number of words lies between ``min`` and ``max``; an empty reply never passes."""
    count = len(reply.split())
    bounds = {"min": 1, "max": count, **check}
    least, most = int(number_of(bounds, "min")), int(number_of(bounds, "max"))
    return max(1, least) <= count <= most


def _items(reply: str, check: Check) -> bool:
    """The reply is one line of comma-separated short items, ``exactly`` so many."""
    parts = [part.strip() for part in reply.strip().rstrip(".").split(",")]
    return len(parts) == int(number_of(check, "exactly")) and all(
        part and len(part.split()) <= _ITEM_WORDS for part in parts
    )


def _lines(reply: str, check: Check) -> bool:
    """``exactly`` so many lines match ``pattern``."""
    pattern = re.compile(text_of(check, "pattern"))
    found = sum(pattern.match(line) is not None for line in reply.splitlines())
    return found == int(number_of(check, "exactly"))


def _json(reply: str, check: Check) -> bool:
    """The reply, or the code block in it, is JSON equal to ``equals``; true is not 1."""
    fenced = _FENCE.search(reply)
    try:
        found = json.loads(fenced.group(1) if fenced else reply)
    except (ValueError, RecursionError):
        return False
    return json.dumps(found, sort_keys=True) == json.dumps(check["equals"], sort_keys=True)


def _word_among(reply: str, check: Check) -> bool:
    """The right word is there, and is the last of the words offered that the reply names."""
    right = str(check["right"])
    offered = [right, *map(str, list_of(check, "others"))]
    places = {word: reply.lower().rfind(word.lower()) for word in offered}
    return places[right] >= 0 and places[right] == max(places.values())


def _texts(check: Check, key: str, *, needed: bool = False) -> Sequence[str]:
    """Return the words under a key; none where there is none, unless they are needed."""
    return [str(word) for word in list_of(check, key)] if needed or key in check else []


def _parts(check: Check) -> Sequence[Check]:
    return [object_of({"checks": part}, "checks") for part in list_of(check, "checks")]


_ITEM_WORDS = 3
_KINDS: dict[str, Callable[[str, Check], bool]] = {
    "number": _number,
    "contains": _contains,
    "not_contains": _not_contains,
    "regex": _regex,
    "words": _words,
    "items": _items,
    "lines": _lines,
    "json": _json,
    "word_among": _word_among,
    "refusal": lambda reply, _: is_refusal(reply),
    "all_of": lambda reply, check: all(passes(reply, part) for part in _parts(check)),
}
CHECK_KINDS = tuple(sorted(_KINDS))
