"""What was said before, told when all conversations were seen: duplicates, stock replies, copies.

The first reason wins: an exchange that is equal to another is no stock reply, and neither is
compared with what it nearly says. Of exchanges that nearly say the same, that of the better
conversation is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.cleaning_steps import (
    BOILERPLATE,
    DUPLICATE,
    NEAR_DUPLICATE,
    CleaningLimits,
)
from fine_tuning.data_collection.exchanges import exchanges_of
from fine_tuning.data_collection.near_duplicates import NearDuplicates
from fine_tuning.data_collection.quality import quality
from fine_tuning.data_collection.repeated_exchanges import Equals, ExchangeTable
from fine_tuning.data_collection.same_substance import is_same_in_substance
from fine_tuning.data_collection.spool import Spool

MOST_READ = 1024


@dataclass(frozen=True, slots=True)
class RepeatReason:
    """Why an exchange is left out, and the conversation that stands in its place."""

    reason: str
    detail: str
    twin_id: str = ""


class Repetition:
    """Collects the exchanges of conversations, then says which were seen before.

    Args:
        limits: How alike near duplicates are, and how often one reply is trained on.
        spool: Where the conversations wait, in the order in which they are added.
        skip: Names of steps that leave out nothing.
    """

    def __init__(self, limits: CleaningLimits, spool: Spool, *, skip: Collection[str]) -> None:
        self._limits = limits
        self._spool = spool
        self._skip = skip
        self._table = ExchangeTable()
        self._near = NearDuplicates(limits.similarity)
        self._compared: set[int] = set()
        self._equals = Equals()
        self._told: dict[int, RepeatReason] = {}
        self._alike: list[list[int]] = []
        self._scores: dict[int, float] = {}
        self._times: list[str] = []
        self.ids: list[str] = []
        self.same_replies: NDArray[np.int64] = np.zeros(0, np.int64)
        self.review: list[tuple[int, int, float]] = []

    def add(self, entry: CleaningItem) -> None:
        """Add a conversation that all steps are done with."""
        conversation = entry.conversation
        self.ids.append(conversation.id)
        self._times.append(conversation.created_at)
        is_accepted = conversation.id in self._limits.accepted
        for number, exchange, own in self._table.add(entry, is_accepted=is_accepted):
            if own in self._compared:
                self._table.compare(number)
            elif self._near.add(number, exchange.said):
                self._compared.add(own)
                self._table.compare(number)

    def num_trained(self, conversation: int) -> int:
        """Return how many exchanges of a conversation stood before this."""
        return sum(map(self._table.is_trained, self._table.numbers_of(conversation)))

    def reasons_of(self, conversation: int) -> dict[int, RepeatReason]:
        """Return why exchanges of a conversation are left out, by their place in it."""
        told = self._told
        numbers = self._table.numbers_of(conversation)
        return {place: told[n] for place, n in enumerate(numbers) if n in told}

    def stands_for(self, conversation: int) -> RepeatReason | None:
        """Return the conversation that holds all of another, if there is one."""
        other = self._equals.conversations.get(conversation)
        if other is None:
            return None
        while other in self._equals.conversations:  # the beginning of a beginning
            other = self._equals.conversations[other]
        name = self.ids[other]
        longer = len(self._table.numbers_of(other)) > len(self._table.numbers_of(conversation))
        detail = (
            f"it is the beginning of conversation {name}"
            if longer
            else f"it says the same as conversation {name}"
        )
        return RepeatReason(DUPLICATE, detail, name)

    def find(self) -> None:
        """Rule all exchanges, once all were added."""
        self._compared.clear()
        table = self._table
        stands = table.trained.copy()
        if DUPLICATE not in self._skip:
            self._equals = table.equals()
            for number, other in self._equals.exchanges.items():
                name = self.ids[table.place_of(other)[0]]
                detail = f"conversation {name} says the same up to here"
                self._told[number] = RepeatReason(DUPLICATE, detail, name)
                stands[number] = False
        most = self._limits.max_same_reply
        if BOILERPLATE not in self._skip and most is not None:
            stock, self.same_replies = table.stock_replies(stands, most)
            why = RepeatReason(BOILERPLATE, f"its reply was given more than {most} times")
            self._told |= dict.fromkeys(stock.tolist(), why)
            stands[stock] = False
        self._compare(stands)

    def _compare(self, stands: NDArray[np.bool_]) -> None:
        """Find near duplicates among the exchanges that stand."""
        table = self._table
        found = self._near.find(self._reader(), is_same_in_substance)
        copies = table.same_words(table.trained)
        by_first = {number: group for group in copies for number in group}
        for cluster in found.clusters:
            numbers = {n: None for one in cluster for n in by_first.get(one, [one])}
            self._alike.append(sorted(numbers))
            self._resolve(sorted(numbers), stands, found.similarity, is_mixed=True)
        taken = {number for group in self._alike for number in group}
        for group in copies:
            if group[0] not in taken:
                self._alike.append(group)
                self._resolve(group, stands, {}, is_mixed=False)
        best: dict[tuple[int, int], float] = {}
        for pair in found.review:
            one, other = (table.place_of(n)[0] for n in (pair.first, pair.second))
            if one != other and stands[pair.first] and stands[pair.second]:
                both = (min(one, other), max(one, other))
                best[both] = max(pair.similarity, best.get(both, 0.0))
        ranked = sorted(best.items(), key=lambda item: -item[1])
        self.review = [(*both, similarity) for both, similarity in ranked]

    def _resolve(
        self,
        group: Sequence[int],
        stands: NDArray[np.bool_],
        similarity: dict[int, float],
        *,
        is_mixed: bool,
    ) -> None:
        """Let all but one of a group of near duplicates give way."""
        group = [number for number in group if stands[number]]
        if NEAR_DUPLICATE in self._skip or not group:
            return
        owners = {number: self._table.place_of(number)[0] for number in group}
        if is_mixed:
            for owner in set(owners.values()) - self._scores.keys():
                self._scores[owner] = quality(self._spool.get(owner)).score
        has_scores = all(owner in self._scores for owner in owners.values())
        wanted = {n for n in group if self.ids[owners[n]] in self._limits.accepted}

        def rank(number: int) -> tuple[bool, float, int]:
            score = self._scores[owners[number]] if has_scores else 0.0
            return number in wanted, score, -number

        best = max(group, key=rank)
        name = self.ids[owners[best]]
        for number in group:
            if number != best and number not in wanted:
                alike = similarity.get(number, 1.0)
                detail = f"it nearly says what conversation {name} says ({alike:.0%})"
                self._told[number] = RepeatReason(NEAR_DUPLICATE, detail, name)
                stands[number] = False

    def _reader(self) -> Callable[[int], str]:
        """Return a function that reads the text of an exchange; it remembers some conversations."""
        read: dict[int, list[str]] = {}

        def text_of(number: int) -> str:
            owner, place = self._table.place_of(number)
            if owner not in read:
                if len(read) >= MOST_READ:
                    read.clear()
                path = self._spool.get(owner).path()
                read[owner] = [exchange.said for exchange in exchanges_of(path)]
            return read[owner][place]

        return text_of

    def clusters(self, stays: Sequence[bool]) -> dict[str, str]:
        """Return the cluster of each kept conversation that shares something, by its id.

        Args:
            stays: Whether each conversation is kept.

        Returns:
            The id of the oldest of those that share a beginning or an exchange.
        """
        sets = self._table.joined(self._alike, is_limited=NEAR_DUPLICATE not in self._skip)
        named: dict[str, str] = {}
        for group in sets.groups():
            oldest = min(group, key=lambda n: (self._times[n] == "", self._times[n], n))
            named |= {self.ids[n]: self.ids[oldest] for n in group if stays[n]}
        return named
