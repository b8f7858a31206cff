"""What a cleaning says: what it dropped and left out, what its steps did, and all together."""

from __future__ import annotations

from dataclasses import dataclass, field

from fine_tuning.core.conversation import Conversation
from fine_tuning.data_collection.cleaning_counts import (
    AlikeRecord,
    CleaningCounts,
    CleaningStepRecord,
)

EXAMPLES_PER_STEP = 5


@dataclass(frozen=True, slots=True)
class Dropped:
    """A conversation of which nothing is trained on; ``detail`` says why.

    ``conversation`` is as it came in.
    ``number`` is its place among those given, counted from 0; ``twin_id`` the conversation that
    stays in its place, for duplicates.
    """

    conversation: Conversation
    reason: str
    detail: str
    number: int = 0
    twin_id: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An exchange that is not trained on, though its conversation may be.

    ``message_id`` is the assistant's last message in it (the user's, if there is none);
    ``twin_id`` the conversation whose exchange stands in its place, for duplicates.
    """

    conversation_id: str
    message_id: str
    reason: str
    detail: str
    twin_id: str = ""


@dataclass(slots=True)
class StepCount:
    """What one step did: conversations it saw, changed and dropped, and its processor seconds.

    ``left_out`` are exchanges. ``examples`` are ids of the first few conversations it changed,
    dropped or left something out of, with why.
    """

    name: str
    seen: int = 0
    changed: int = 0
    dropped: int = 0
    left_out: int = 0
    cpu_s: float = 0.0
    examples: list[list[str]] = field(default_factory=list)

    def to_dict(self) -> CleaningStepRecord:
        """Return the counts as plain JSON values."""
        return {
            "name": self.name,
            "seen": self.seen,
            "changed": self.changed,
            "dropped": self.dropped,
            "left_out": self.left_out,
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
