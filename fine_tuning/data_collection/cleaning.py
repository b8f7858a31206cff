"""One cleaning: conversations stream in, kept and dropped ones stream out, everything is counted.

Conversations go through the steps in batches; what is left waits in a spool until all were seen,
because what was said before is only known then. The law, for conversations and for exchanges: what
came in is what was kept plus what was left out, reason by reason.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from itertools import islice

from fine_tuning.core.conversation import Conversation, ConversationLike
from fine_tuning.core.formats import each_conversation
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.cleaning_item import CleaningItem, without_training
from fine_tuning.data_collection.cleaning_outcome import (
    Alike,
    CleaningResult,
    Dropped,
    LeftOut,
    StepCount,
)
from fine_tuning.data_collection.cleaning_steps import (
    BOILERPLATE,
    DUPLICATE,
    NEAR_DUPLICATE,
    NO_REPLY,
    NOT_TRAINED,
    REASONS,
    TEXT_EDITS,
    CleaningLimits,
    Step,
    steps,
)
from fine_tuning.data_collection.exchange_rules import RuleHit
from fine_tuning.data_collection.exchanges import exchanges_of
from fine_tuning.data_collection.limit_advice import limit_advice
from fine_tuning.data_collection.repetition import RepeatReason, Repetition
from fine_tuning.data_collection.spool import Spool

__all__ = ["Alike", "Cleaning", "CleaningResult", "Dropped", "LeftOut", "StepCount"]

BATCH = 128


class Cleaning:
    """Iterates over the outcome of every conversation: itself, cleaned, or :class:`Dropped`.

    Drops come as soon as they are known, kept conversations in their given order at the end. It
    can be gone through once; there is a :attr:`result` when it is at its end, and not before.

    Args:
        items: What to clean.
        limits: The bounds of the steps.
        skip: Names of steps to pass over.
        spool: Where conversations wait; closed at the end.
        on_left_out: Called with each exchange that is left out, as soon as it is known.

    Raises:
        DataError: while iterating, naming the index of the first item that is no conversation.
    """

    def __init__(
        self,
        items: Iterable[ConversationLike],
        limits: CleaningLimits,
        *,
        skip: Collection[str] = (),
        spool: Spool,
        on_left_out: Callable[[LeftOut], None] | None = None,
    ) -> None:
        self._items = items
        self._limits = limits
        self._spool = spool
        self._on_left_out = on_left_out
        self._active = [step for step in steps(limits) if step.name not in skip]
        self._repetition = Repetition(limits, spool, skip=skip)
        self._numbers = array("Q")
        self._marks: dict[int, list[tuple[str, str]]] = {}
        self.steps = [StepCount(step.name) for step in self._active]
        self._across = {
            name: StepCount(name)
            for name in (DUPLICATE, BOILERPLATE, NEAR_DUPLICATE)
            if name not in skip
        }
        self.steps += self._across.values()
        self._by_name = {count.name: count for count in self.steps}
        self.num_in = 0
        self.num_kept = 0
        self.dropped: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._exchanges_in = self._exchanges_kept = 0
        self._changed: dict[str, tuple[str, ...]] = {}
        self._review: list[Alike] = []
        self._clusters: dict[str, str] = {}
        self._result: CleaningResult | None = None

    def __iter__(self) -> Iterator[Conversation | Dropped]:
        try:
            yield from self._first_pass()
            yield from self._second_pass()
            self._result = CleaningResult(
                counts=self._counts(),
                clusters=self._clusters,
                changed=self._changed,
                review=self._review,
            )
        finally:
            self._spool.close()

    @property
    def result(self) -> CleaningResult:
        """What the cleaning came to.

        Raises:
            RuntimeError: if it was not gone through to its end: half of a result is none.
        """
        if self._result is None:
            raise RuntimeError("the cleaning is not at its end, and has no result before")
        return self._result

    @property
    def counts(self) -> CleaningCounts:
        """The counts of :attr:`result`."""
        return self.result.counts

    @property
    def clusters(self) -> dict[str, str]:
        """The clusters of :attr:`result`."""
        return self.result.clusters

    @property
    def changed(self) -> dict[str, tuple[str, ...]]:
        """The changed conversations of :attr:`result`."""
        return self.result.changed

    def _counts(self) -> CleaningCounts:
        return {
            "in": self.num_in,
            "kept": self.num_kept,
            "dropped": _in_order(self.dropped),
            "steps": [step.to_dict() for step in self.steps],
            "clusters": len(set(self._clusters.values())),
            "review": [pair.to_dict() for pair in self._review],
            "exchanges": {
                "in": self._exchanges_in,
                "kept": self._exchanges_kept,
                "left_out": _in_order(self.left_out),
            },
            "advice": limit_advice(
                self._active,
                self._limits,
                self.left_out,
                self._exchanges_in,
                self._repetition.same_replies,
            ),
        }

    def _first_pass(self) -> Iterator[Dropped]:
        source = each_conversation(self._items)
        while batch := [
            CleaningItem(conversation, self.num_in + place)
            for place, conversation in enumerate(islice(source, BATCH))
        ]:
            self.num_in += len(batch)
            for step, count in zip(self._active, self.steps, strict=False):
                batch = yield from self._run(step, count, batch)
            for entry in batch:
                self._wait(entry)

    def _wait(self, entry: CleaningItem) -> None:
        """Put a conversation into the spool until all were seen."""
        number = len(self._numbers)
        self._numbers.append(entry.number)
        if entry.marks:
            self._tell_marks(entry)
            self._marks[number] = [(mark.reason, mark.detail) for mark in entry.marks.values()]
        near = self._across.get(NEAR_DUPLICATE)
        with _timed(near):
            self._repetition.add(entry)
        self._exchanges_in += len({e.place for e in entry.exchanges} | entry.marks.keys())
        self._spool.put(entry.finished(), entry.original)

    def _run(
        self, step: Step, count: StepCount, batch: list[CleaningItem]
    ) -> Generator[Dropped, None, list[CleaningItem]]:
        """Take a batch through one step; yield what it drops and return what it keeps."""
        count.seen += len(batch)
        kept = batch
        lost: list[Dropped] = []
        with _timed(count):
            if step.edit is not None:
                changed = _edit(step.edit, count, batch)
                if step.name in TEXT_EDITS:
                    for name in changed:
                        self._changed[name] = (*self._changed.get(name, ()), step.name)
            if step.drop is not None:
                kept, lost = self._filtered(step.name, step.drop(batch), batch)
            if step.rule is not None:
                kept, lost = self._ruled(step.name, step.rule(batch), batch)
        for drop in lost:
            count.dropped += 1
            yield drop
        return kept

    def _filtered(
        self, name: str, details: list[str | None], batch: list[CleaningItem]
    ) -> tuple[list[CleaningItem], list[Dropped]]:
        """Return the conversations nothing was said against, and drop the others."""
        kept: list[CleaningItem] = []
        lost: list[Dropped] = []
        for entry, detail in zip(batch, details, strict=True):
            if detail is None:
                kept.append(entry)
            else:
                self._by_name[name].note(entry.conversation.id, detail)
                self._by_name[name].left_out += len(entry.standing)
                lost.append(self._dropped(entry, name, detail))
        return kept, lost

    def _ruled(
        self, name: str, hits: Iterable[RuleHit], batch: list[CleaningItem]
    ) -> tuple[list[CleaningItem], list[Dropped]]:
        """Leave out exchanges; return the conversations that still have some, and drop others."""
        count = self._by_name[name]
        touched: set[int] = set()
        for entry, exchange, detail in hits:
            entry.leave_out(exchange, name, detail)
            count.left_out += 1
            count.note(entry.conversation.id, detail)
            touched.add(entry.number)
        is_first = name in {NO_REPLY, NOT_TRAINED}
        if not touched and not is_first:
            return batch, []
        kept: list[CleaningItem] = []
        lost: list[Dropped] = []
        for entry in batch:
            if (is_first or entry.number in touched) and not entry.standing:
                marks = [(mark.reason, mark.detail) for mark in entry.marks.values()]
                reason, detail = _most(marks) or (name, "nobody asks and is answered in it")
                if entry.number not in touched:
                    count.note(entry.conversation.id, detail)
                lost.append(self._dropped(entry, reason, detail))
            else:
                kept.append(entry)
        return kept, lost

    def _dropped(self, entry: CleaningItem, reason: str, detail: str) -> Dropped:
        """Account for a conversation of which nothing is left."""
        for exchange in entry.standing:
            entry.leave_out(exchange, reason, detail)
        self._exchanges_in += len(entry.marks)
        self._tell_marks(entry)
        self.dropped[reason] += 1
        return Dropped(entry.original, reason, detail, entry.number)

    def _tell_marks(self, entry: CleaningItem) -> None:
        for exchange, reason, detail in entry.marks.values():
            self.left_out[reason] += 1
            if self._on_left_out:
                name = entry.conversation.id
                self._on_left_out(LeftOut(name, exchange.last_reply_id, reason, detail))

    def _second_pass(self) -> Iterator[Conversation | Dropped]:
        with _timed(self._across.get(NEAR_DUPLICATE)):
            repetition = self._repetition
            repetition.find()
        stays: list[bool] = []
        for number in range(len(self._numbers)):
            outcome = self._settled(number)
            stays.append(not isinstance(outcome, Dropped))
            yield outcome
        names = repetition.ids
        self._clusters = repetition.clusters(stays)
        self._review = [
            Alike(names[one], names[other], similarity)
            for one, other, similarity in repetition.review
            if stays[one] and stays[other]
        ]

    def _settled(self, number: int) -> Conversation | Dropped:
        """Return a conversation without what was said before, or why nothing of it is left."""
        repetition = self._repetition
        told = repetition.reasons_of(number)
        num_left = repetition.num_trained(number)
        if not told:
            for count in self._across.values():
                count.seen += 1
            self.num_kept += 1
            self._exchanges_kept += num_left
            return self._spool.get(number)
        conversation = self._spool.get(number)
        exchanges = exchanges_of(conversation.path())
        reasons: dict[str, str] = {}
        for name, count in self._across.items():
            count.seen += 1
            for place, why in told.items():
                if why.reason != name:
                    continue
                num_left -= 1
                count.left_out += 1
                count.note(conversation.id, why.detail)
                self.left_out[name] += 1
                reasons |= {message.id: name for message in exchanges[place].messages}
                if self._on_left_out:
                    message_id = exchanges[place].last_reply_id
                    twin = why.twin_id
                    self._on_left_out(LeftOut(conversation.id, message_id, name, why.detail, twin))
            if not num_left:
                count.dropped += 1
                return self._nothing_left(number, told)
        self.num_kept += 1
        self._exchanges_kept += num_left
        return without_training(conversation, reasons)

    def _nothing_left(self, number: int, told: Mapping[int, RepeatReason]) -> Dropped:
        """Drop a conversation, for another that holds all of it or for what took most of it."""
        marks = [
            *self._marks.get(number, ()),
            *((why.reason, why.detail) for why in told.values()),
        ]
        whole = self._repetition.stands_for(number)
        reason, detail = _most(marks) or ("", "")
        twins = [v.twin_id for v in told.values() if (v.reason, v.detail) == (reason, detail)]
        twin_id = twins[-1] if twins else ""
        if whole is not None:
            reason, detail, twin_id = whole.reason, whole.detail, whole.twin_id
        self.dropped[reason] += 1
        original = self._spool.original(number)
        return Dropped(original, reason, detail, self._numbers[number], twin_id)


def _in_order(counts: Counter[str]) -> dict[str, int]:
    return {reason: counts[reason] for reason in REASONS if counts[reason]}


def _most(marks: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the reason that took most exchanges, the later of equals, with its last detail."""
    counts = Counter(reason for reason, _ in marks)
    order = {reason: place for place, reason in enumerate(REASONS)}
    return max(reversed(marks), key=lambda mark: (counts[mark[0]], order[mark[0]]), default=None)


class _timed:  # noqa: N801 - reads as a verb
    """Adds the processor time of its body to a step's, if there is one."""

    def __init__(self, count: StepCount | None) -> None:
        self._count = count
        self._start_s = 0.0

    def __enter__(self) -> None:
        self._start_s = time.process_time()

    def __exit__(self, *_: object) -> None:
        if self._count is not None:
            self._count.cpu_s += time.process_time() - self._start_s


def _edit(
    edit: Callable[[CleaningItem], Conversation], count: StepCount, batch: list[CleaningItem]
) -> list[str]:
    """Take a batch through an edit; return the ids of the conversations it changed."""
    changed: list[str] = []
    for entry in batch:
        edited = edit(entry)
        if edited is not entry.conversation and edited != entry.conversation:
            count.changed += 1
            count.note(edited.id, "changed")
            changed.append(edited.id)
            entry.conversation = edited
    return changed
