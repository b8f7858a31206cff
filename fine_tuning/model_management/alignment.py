"""Which of the reference's tokens an entry of a server's log-probabilities is about, by bytes.

Ollama 0.24 tells an entry for every token and writes U+FFFD for each byte that is no character by
itself. Servers that run llama-server (Ollama 0.33, the embedded runtime) send a character when its
last token is drawn, with the entry of that token alone. The text of the reply is what counts: its
bytes say which tokens were drawn, and entries that several tokens share are never taken for one.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from fine_tuning.core.ports import ServedToken
from fine_tuning.model_management.reference import FollowedToken

UNKNOWN = "\ufffd"
"""Stands in a server's text for a byte, or some bytes, it does not tell."""
LAST_ASCII = 0x7F


@dataclass(frozen=True, slots=True)
class AlignedEntry:
    """An entry, and the place of the reply whose likeliest tokens it tells."""

    index: int
    entry: ServedToken


@dataclass(frozen=True, slots=True)
class Alignment:
    """What is known of a reply's tokens.

    Attributes:
        entries: Those whose place is known, in order.
        num_tokens: How many tokens at the beginning are those the server drew; a text can be cut
            into tokens in several ways, and the reference cuts it in the usual one.
    """

    entries: tuple[AlignedEntry, ...]
    num_tokens: int


def align(entries: Sequence[ServedToken] | None, tokens: Sequence[FollowedToken]) -> Alignment:
    """Find the reference's token of each entry.

    Args:
        entries: As the server tells them; None when it tells none: then the text alone counts.
        tokens: The reply's text as the reference cuts it.
    """
    if entries is None:
        return Alignment((), len(tokens))
    pieces = [_bytes(token.text) for token in tokens]
    ends = list(accumulate(map(len, pieces)))
    data = b"".join(pieces)
    offset, index = _lead(data, entries), 0
    found: list[AlignedEntry] = []
    for entry in entries:
        is_single = _is_single(entry)
        if is_single:
            found.append(AlignedEntry(index, entry))
        if not entry.text:
            if is_single:
                break  # A special token: the end, or what the text does not show.
            continue  # A text held back, because a stop text may begin with it.
        end = _end(entry.text, data, offset)
        last = ends.index(end, index) if end in ends[index:] else -1
        is_known = last == index if is_single else last >= 0 and _may_end(entry, tokens[last])
        if end is None or not is_known:
            break
        if not is_single and entry.likeliest:
            found.append(AlignedEntry(last, entry))
        offset, index = end, last + 1
    return Alignment(tuple(found), index)


def counterparts(
    entry: ServedToken, computed: Mapping[str, float]
) -> Iterator[list[tuple[list[float], list[float]]]]:
    """Yield what is comparable at an entry: served log-probabilities beside computed ones.

    Several tokens may be written with the same text where a server does not tell bytes, and only
    the likeliest of them are told: beside so many of them stand as many of the computed tokens with
    that text, the likeliest first. That is yielded for each way servers write tokens; the right one
    is the one that fits.

    Args:
        entry: What is served.
        computed: The reference's log-probabilities at the same place, by text; a token that is not
            among them counts as the least of them.
    """
    served: dict[str, list[float]] = {}
    for text, value in entry.likeliest:
        served.setdefault(text, []).append(value)
    least = min(computed.values())
    for write in WRITINGS:
        alike: dict[str, list[float]] = {}
        for text, value in sorted(computed.items(), key=lambda pair: -pair[1]):
            alike.setdefault(write(text), []).append(value)
        yield [
            (values, [*alike.get(text, ()), *[least] * len(values)][: len(values)])
            for text, values in served.items()
        ]


@lru_cache(maxsize=1 << 16)
def each_byte(exact: str) -> str:
    """Return a token as Go writes it to JSON: U+FFFD for each byte that is no character's."""
    return "".join(UNKNOWN if "\ud800" <= one <= "\udfff" else one for one in exact)


@lru_cache(maxsize=1 << 16)
def each_run(exact: str) -> str:
    """Return a token as Ollama gets it from llama-server.

    A character that is begun at its end is left out; what else is none becomes U+FFFD.
    """
    whole = codecs.getincrementaldecoder("utf-8")("replace")
    return whole.decode(_bytes(exact))


WRITINGS: tuple[Callable[[str], str], ...] = (str, each_byte, each_run)
"""How servers write a token's text, given with surrogates for bytes that are no characters."""


def _is_single(entry: ServedToken) -> bool:
    """Tell whether an entry's text is that of one token: the drawn one is told with that text."""
    if not entry.likeliest:
        return entry.text.isascii()
    drawn = _drawn(entry)
    return entry.text in drawn if drawn else entry.text.isascii()


def _may_end(entry: ServedToken, token: FollowedToken) -> bool:
    """Tell whether the token an entry of several tells the place of may be this one."""
    drawn = _drawn(entry)
    return not drawn or any(write(token.text) in drawn for write in WRITINGS)


def _drawn(entry: ServedToken) -> list[str]:
    """Return the texts of the likeliest tokens that are as likely as the one drawn."""
    return [text for text, value in entry.likeliest if value == entry.log_probability]


def _end(text: str, data: bytes, start: int) -> int | None:
    """Return where an entry's text ends in the reply's bytes; None where they are others."""
    at = start
    for piece in _split(text):
        if piece is None:
            is_some = at < len(data) and data[at] > LAST_ASCII
            if not is_some:
                return None
            at += 1
        elif data.startswith(piece, at):
            at += len(piece)
        else:
            return None
    return at


def _split(text: str) -> Iterable[bytes | None]:
    """Yield the known parts of a text, and None for each byte between them."""
    for index, part in enumerate(text.split(UNKNOWN)):
        if index:
            yield None
        yield _bytes(part)


def _lead(data: bytes, entries: Sequence[ServedToken]) -> int:
    """Return how many blanks the first token has that its server leaves out: 0 or 1."""
    first = next((entry.text for entry in entries if entry.text), "")
    is_left_out = data[:1] == b" " and not first.startswith(" ")
    return 1 if is_left_out and _end(first, data, 1) is not None else 0


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
