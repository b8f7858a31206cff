"""Exchanges that were seen before: equal ones, stock replies, and what conversations share.

One row of numbers for each exchange, so that a million conversations fit in memory. An exchange
equals another when the whole branch up to and with it does; forks and exports of a grown chat share
such beginnings. Of equal exchanges the first is trained on, unless its conversation is the
beginning of a longer one, which then stands for it.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xxhash
from numpy.typing import NDArray

from fine_tuning.core.conversation import Message
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.exchanges import Exchange
from fine_tuning.data_collection.near_duplicates import DisjointSets

MOST_SHARING = 8
"""Conversations that may share an exchange and be joined by it; more share a phrase like "hi"."""
LARGEST_SHARE = 1 / 50
"""Of all conversations: a set that shared exchanges make is not larger, or chains of rare phrases
would join everything."""
MIN_SENTENCE_WORDS, MIN_PHRASE_WORDS = 5, 10
MIN_UNSPACED_CHARS = 12
MIN_JOINING_BYTES = 48
_TRAINED, _JOINS, _COMPARED = 1, 2, 4
_WORD = re.compile(r"\w+")
_SENTENCE = re.compile(r"[.!?\u3002\uff01\uff1f\u0964\u061f\u2026][)\"'\u201d\u2019\u00bb]*\Z")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_CODE = re.compile(r"^ *```|\n(?: {2}|\t)", re.MULTILINE)

Numbers = NDArray[np.int64]


@dataclass(slots=True)
class Equals:
    """Exchanges that are equal to another; and conversations that begin another, or equal it.

    Numbers of exchanges and conversations lead to the number that stands in their place.
    """

    exchanges: dict[int, int] = field(default_factory=dict)
    conversations: dict[int, int] = field(default_factory=dict)


class ExchangeTable:
    """Rows of exchanges, numbered from 0 in the order of their conversations."""

    def __init__(self) -> None:
        self._firsts = array("q", [0])
        self._owners = array("q")
        self._digests = array("B")
        self._own = array("Q")
        self._stock = array("Q")
        self._flags = array("B")

    def __len__(self) -> int:
        return len(self._owners)

    def add(self, entry: CleaningItem, *, is_accepted: bool) -> list[tuple[int, Exchange, int]]:
        """Add the exchanges of a conversation.

        Args:
            entry: The conversation, all steps done.
            is_accepted: Whether a person accepted it, so that its stock replies stay.

        Returns:
            Number, exchange and hash of its words, for each that is trained on.
        """
        prefix = xxhash.xxh3_128()
        owner = len(self._firsts) - 1
        words = [_words(message.text) for message in entry.path]
        keys = [_key(message, said) for message, said in zip(entry.path, words, strict=True)]
        position = 0
        trained: list[tuple[int, Exchange, int]] = []
        for exchange in entry.exchanges:
            said = b"".join(keys[exchange.end - len(exchange.messages) : exchange.end])
            prefix.update(b"".join(keys[position : exchange.end]))
            position = exchange.end
            own = xxhash.xxh3_64_intdigest(said)
            is_trained = exchange.place not in entry.marks
            number = len(self._owners)
            self._owners.append(owner)
            self._digests.frombytes(prefix.digest())
            self._own.append(own)
            self._stock.append(_stock_key(exchange) if is_trained and not is_accepted else 0)
            self._flags.append(is_trained | (_JOINS if len(said) >= MIN_JOINING_BYTES else 0))
            if is_trained:
                trained.append((number, exchange, own))
        self._firsts.append(len(self._owners))
        return trained

    def compare(self, number: int) -> None:
        """Note that an exchange is long enough to be compared with others."""
        self._flags[number] |= _COMPARED

    def numbers_of(self, conversation: int) -> range:
        """Return the numbers of a conversation's exchanges."""
        return range(self._firsts[conversation], self._firsts[conversation + 1])

    def place_of(self, number: int) -> tuple[int, int]:
        """Return the conversation of an exchange, and its place there."""
        owner = self._owners[number]
        return owner, number - self._firsts[owner]

    def is_trained(self, number: int) -> bool:
        """Tell whether an exchange is trained on, for all the steps before say."""
        return bool(self._flags[number] & _TRAINED)

    @cached_property
    def _flag_column(self) -> NDArray[np.uint8]:
        return np.asarray(self._flags)

    @cached_property
    def _owner_column(self) -> Numbers:
        return np.asarray(self._owners)

    @cached_property
    def trained(self) -> NDArray[np.bool_]:
        """Whether each exchange is trained on, for all the steps before say."""
        return (self._flag_column & _TRAINED).astype(bool)

    @cached_property
    def _same_branches(self) -> list[Numbers]:
        pairs = np.asarray(self._digests).view(np.uint64).reshape(-1, 2)
        return list(_groups(pairs[:, 0], pairs[:, 1]))

    def equals(self) -> Equals:
        """Return which exchanges and conversations another one stands for."""
        found = Equals()
        owners, trained = self._owner_column, self.trained
        lasts = np.full(len(self._firsts) - 1, -1, np.int64)
        np.maximum.at(lasts, owners[trained], np.flatnonzero(trained))
        lengths = lasts - np.asarray(self._firsts)[:-1]
        groups = [some for g in self._same_branches if len(some := g[trained[g]]) > 1]
        for group in groups:
            inside = owners[group]
            longest = int(inside[np.argmax(lengths[inside])])
            ended = inside[(lasts[inside] == group) & (lengths[inside] < lengths[longest])]
            found.conversations |= dict.fromkeys(ended.tolist(), longest)

        def rank(number: int) -> tuple[bool, int, int]:
            owner = int(owners[number])
            gives_way = owner in found.conversations
            return gives_way, -int(lengths[owner]) if gives_way else 0, number

        for group in groups:
            stays = min(group.tolist(), key=rank)
            others = group[group != stays]
            found.exchanges |= dict.fromkeys(others.tolist(), stays)
            for owner in owners[others[lasts[owners[others]] == others]].tolist():
                found.conversations.setdefault(owner, int(owners[stays]))
        return found

    def stock_replies(self, stands: NDArray[np.bool_], most: int) -> tuple[Numbers, Numbers]:
        """Return the exchanges whose reply was given too often before, and how often each was.

        Args:
            stands: Whether each exchange still stands.
            most: How often one reply is trained on.

        Returns:
            Numbers of exchanges, and the counts of all different replies.
        """
        stock = np.asarray(self._stock)
        numbers = np.flatnonzero(stands & (stock != 0))
        order = np.argsort(stock[numbers], kind="stable")
        ranked = stock[numbers][order]
        starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if len(ranked) else ranked
        counts = np.diff(np.r_[starts, len(ranked)]).astype(np.int64)
        ranks = np.arange(len(ranked)) - np.repeat(starts, counts).astype(np.int64)
        return np.sort(numbers[order][ranks >= most]), counts

    def same_words(self, stands: NDArray[np.bool_]) -> list[list[int]]:
        """Return groups of comparable exchanges that still stand and say the same words."""
        compared = np.flatnonzero(stands & ((self._flag_column & _COMPARED) != 0))
        own = np.asarray(self._own)[compared]
        return [compared[group].tolist() for group in _groups(own)]

    def joined(self, alike: Iterable[Iterable[int]], *, is_limited: bool) -> DisjointSets:
        """Return sets of conversations that share a beginning or an exchange.

        Args:
            alike: Groups of exchanges that nearly say the same.
            is_limited: Whether those that very many conversations share join none, either.
        """
        sets = DisjointSets(len(self._firsts) - 1)
        joining = np.flatnonzero(self._flag_column & _JOINS)
        own = np.asarray(self._own)[joining]
        equal = (joining[group] for group in _groups(own))
        for group in self._same_branches:
            self._join(sets, group, MOST_SHARING)
        count = len(self._firsts) - 1
        largest = max(MOST_SHARING, int(count * LARGEST_SHARE))
        for group in sorted(equal, key=len):  # what fewest share says most
            self._join(sets, group, MOST_SHARING, largest)
        for numbers in (np.fromiter(some, np.int64) for some in alike):
            if is_limited:
                self._join(sets, numbers, MOST_SHARING, largest)
            else:
                self._join(sets, numbers, len(numbers))
        return sets

    def _join(
        self, sets: DisjointSets, numbers: Numbers, most: int, largest: int | None = None
    ) -> None:
        owners = np.unique(self._owner_column[numbers]).tolist()
        if len(owners) > most or (largest is not None and sets.size_of(owners) > largest):
            return
        for other in owners[1:]:
            sets.join(owners[0], other)


def _groups(*columns: NDArray[np.uint64]) -> Iterator[Numbers]:
    """Yield the places of equal rows, two and more, each group in rising order."""
    order = np.lexsort(columns)
    if not len(order):
        return
    is_new = np.zeros(len(order), bool)
    is_new[0] = True
    for column in columns:
        ranked = column[order]
        is_new[1:] |= ranked[1:] != ranked[:-1]
    starts = np.flatnonzero(is_new)
    ends = np.r_[starts[1:], len(order)]
    for group in np.flatnonzero(ends - starts > 1).tolist():
        yield order[starts[group] : ends[group]].astype(np.int64)


def _words(text: str) -> str:
    """Return a text in any case and spacing; where spaces are the topic, as it is."""
    if "\n" in text and _CODE.search(text):
        return text.strip()
    return " ".join(text.casefold().split())


def _key(message: Message, words: str) -> bytes:
    if not message.tool_calls and len(message.content) == 1 and message.content[0].type == "text":
        return f"{message.role}\0{words}\0".encode("utf-8", "surrogatepass")
    others = [part.to_dict() for part in message.content if part.type != "text"]
    calls = [call.to_dict() for call in message.tool_calls]
    return repr((message.role, words, others, calls)).encode("utf-8", "surrogatepass")


def _stock_key(exchange: Exchange) -> int:
    """Return a hash that exchanges with one stock reply share; 0 for one that cannot be.

    A short reply to many different questions is a label; it is counted by question.
    """
    replies = exchange.trained
    if any(message.tool_calls for message in replies):
        return 0
    words = " ".join(" ".join(message.text.casefold().split()) for message in replies)
    if not is_phrase(words):
        asked = " ".join(m.text for m in exchange.messages if m.role == "user")
        words = f"{words}\0{' '.join(_WORD.findall(asked.casefold()))}"
    return xxhash.xxh3_64_intdigest(words.encode("utf-8", "surrogatepass")) or 1


def is_phrase(words: str) -> bool:
    """Tell whether a reply is a phrase or more, not a label such as "positive"."""
    if words[:1] in {"{", "[", "<"}:
        return False
    number = words.count(" ") + 1
    if number >= MIN_PHRASE_WORDS or (number >= MIN_SENTENCE_WORDS and _SENTENCE.search(words)):
        return True
    return not words.isascii() and len(_UNSPACED.findall(words)) >= MIN_UNSPACED_CHARS
