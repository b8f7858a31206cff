"""One cleaning: conversations stream in, kept and dropped ones stream out, everything is counted.

Conversations go through the steps in batches; what is left waits in a spool until all were seen,
because near duplicates are only known then. The law: what came in is what was kept plus what was
dropped, step by step and reason by reason.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from fine_tuning.core.conversation import Conversation, ConversationLike
from fine_tuning.core.formats import each_conversation
from fine_tuning.data_collection.cleaning_counts import (
    AlikeRecord,
    CleaningCounts,
    CleaningStepRecord,
)
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.cleaning_steps import (
    NEAR_DUPLICATE,
    REASONS,
    TEXT_EDITS,
    Step,
)
from fine_tuning.data_collection.near_duplicates import Found, NearDuplicates
from fine_tuning.data_collection.quality import quality
from fine_tuning.data_collection.spool import Spool

EXAMPLES_PER_STEP = 5
BATCH = 128


@dataclass(frozen=True, slots=True)
class Dropped:
    """A conversation that was left out; ``detail`` says what was found.

    ``conversation`` is as it came in.
    ``number`` is its place among those given, counted from 0; ``twin_id`` the conversation that
    stays in its place, for duplicates.
    """

    conversation: Conversation
    reason: str
    detail: str
    number: int = 0
    twin_id: str = ""


@dataclass(slots=True)
class StepCount:
    """What one step did: conversations it saw, changed and dropped, and its processor seconds.

    ``examples`` are ids of the first few it changed or dropped, with what was found.
    """

    name: str
    seen: int = 0
    changed: int = 0
    dropped: int = 0
    cpu_s: float = 0.0
    examples: list[list[str]] = field(default_factory=list)

    def to_dict(self) -> CleaningStepRecord:
        """Return the counts as plain JSON values."""
        return {
            "name": self.name,
            "seen": self.seen,
            "changed": self.changed,
            "dropped": self.dropped,
            "cpu_s": self.cpu_s,
            "examples": [list(example) for example in self.examples],
        }

    def note(self, conversation_id: str, what: str) -> None:
        """Keep an example, if there are few."""
        if len(self.examples) < EXAMPLES_PER_STEP:
            self.examples.append([conversation_id, what])


@dataclass(frozen=True, slots=True)
class Alike:
    """Two kept conversations that are alike, yet not enough to be called duplicates."""

    first_id: str
    second_id: str
    similarity: float

    def to_dict(self) -> AlikeRecord:
        """Return the pair as plain JSON values."""
        return {
            "first_id": self.first_id,
            "second_id": self.second_id,
            "similarity": self.similarity,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CleaningResult:
    """What a cleaning found, whole.

    Attributes:
        counts: What came in, was kept and was dropped, as plain JSON values.
        clusters: The cluster of each kept conversation that has near duplicates: its oldest
            one's id.
        changed: The steps that changed the words of a conversation, by its id.
        review: Pairs for a person to look at, likest first: just below the bar, by words alone.
    """

    counts: CleaningCounts
    clusters: dict[str, str]
    changed: dict[str, tuple[str, ...]]
    review: list[Alike]


class Cleaning:
    """Iterates over the outcome of every conversation: itself, cleaned, or :class:`Dropped`.

    Drops come as soon as they are known, kept conversations in their given order at the end. It
    can be gone through once; there is a :attr:`result` when it is at its end, and not before.

    Args:
        items: What to clean.
        active: The steps that look at one conversation.
        similarity: That of near duplicates.
        drop_near_duplicates: Keep the best of each cluster only; else all, and only name clusters.
        spool: Where conversations wait; closed at the end.
        accepted: Ids of conversations that stay, though they are near duplicates of others.

    Raises:
        DataError: while iterating, naming the index of the first item that is no conversation.
    """

    def __init__(
        self,
        items: Iterable[ConversationLike],
        active: Sequence[Step],
        *,
        similarity: float,
        drop_near_duplicates: bool,
        spool: Spool,
        accepted: Collection[str] = (),
    ) -> None:
        self._items = items
        self._active = active
        self._near = NearDuplicates(similarity)
        self._drop_near = drop_near_duplicates
        self._spool = spool
        self._accepted = accepted
        self._numbers = array("Q")
        self._ids: list[str] = []
        self._times: list[str] = []
        self.steps = [StepCount(step.name) for step in active]
        self.near_step = StepCount(NEAR_DUPLICATE)
        if drop_near_duplicates:
            self.steps.append(self.near_step)
        self.num_in = 0
        self.num_kept = 0
        self.dropped: Counter[str] = Counter()
        self._clusters: dict[str, str] = {}
        self._changed: dict[str, tuple[str, ...]] = {}
        self._review: list[Alike] = []
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
        """What the cleaning found.

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
            "dropped": {reason: self.dropped[reason] for reason in REASONS if self.dropped[reason]},
            "steps": [step.to_dict() for step in self.steps],
            "clusters": len(set(self._clusters.values())),
            "review": [pair.to_dict() for pair in self._review],
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
            with _timed(self.near_step):
                for entry in batch:
                    self._near.add(len(self._ids), entry.spoken())
                    self._ids.append(entry.conversation.id)
                    self._times.append(entry.conversation.created_at)
                    self._numbers.append(entry.number)
                    self._spool.put(entry.conversation, entry.original)

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
                kept = []
                for entry, detail in zip(batch, step.drop(batch), strict=True):
                    if detail is None:
                        kept.append(entry)
                    else:
                        lost.append(
                            Dropped(entry.original, step.name, detail, entry.number, entry.twin_id)
                        )
        for one in lost:
            count.dropped += 1
            self.dropped[step.name] += 1
            count.note(one.conversation.id, one.detail)
            yield one
        return kept

    def _second_pass(self) -> Iterator[Conversation | Dropped]:
        losers: dict[int, tuple[int, float]] = {}
        with _timed(self.near_step):
            found = self._near.find(self._spoken)
            for cluster in found.clusters:
                losers |= self._resolve(cluster, found)
        for number, name in enumerate(self._ids):
            self.near_step.seen += 1
            if number in losers:
                winner, alike = losers[number]
                detail = f"it nearly says what conversation {self._ids[winner]} says ({alike:.0%})"
                self.near_step.dropped += 1
                self.near_step.note(name, detail)
                self.dropped[NEAR_DUPLICATE] += 1
                original = self._spool.original(number)
                place, twin_id = self._numbers[number], self._ids[winner]
                yield Dropped(original, NEAR_DUPLICATE, detail, place, twin_id)
            else:
                self.num_kept += 1
                yield self._spool.get(number)
        self._review = [
            Alike(self._ids[pair.first], self._ids[pair.second], pair.similarity)
            for pair in found.review
            if pair.first not in losers and pair.second not in losers
        ]

    def _resolve(self, cluster: list[int], found: Found) -> dict[int, tuple[int, float]]:
        """Name a cluster by its oldest member; return those that give way to the best."""
        oldest = min(cluster, key=lambda n: (self._times[n] == "", self._times[n], n))
        if not self._drop_near:
            self._clusters |= {self._ids[n]: self._ids[oldest] for n in cluster}
            return {}
        scores = {n: quality(self._spool.get(n)).score for n in cluster}
        wanted = {n for n in cluster if self._ids[n] in self._accepted}
        best = max(cluster, key=lambda n: (n in wanted, scores[n], -n))
        stay = wanted | {best}
        self._clusters |= {self._ids[n]: self._ids[oldest] for n in stay}
        return {n: (best, found.similarity.get(n, 0.0)) for n in cluster if n not in stay}

    def _spoken(self, number: int) -> str:
        return CleaningItem(self._spool.get(number)).spoken()


class _timed:  # noqa: N801 - reads as a verb
    """Adds the processor time of its body to a step's."""

    def __init__(self, count: StepCount) -> None:
        self._count = count
        self._start_s = 0.0

    def __enter__(self) -> None:
        self._start_s = time.process_time()

    def __exit__(self, *_: object) -> None:
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
