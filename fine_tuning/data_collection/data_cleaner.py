"""Cleans conversations and says of each exchange that is left out why it is.

The door to ``cleaning_steps`` and ``cleaning``: a list in and a report out for what fits in
memory, a stream for what does not. The law, which every report keeps: what came in is what was
kept plus what was left out, reason by reason, for exchanges and for conversations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType

from fine_tuning.core.conversation import Conversation, ConversationLike, Message
from fine_tuning.core.errors import ConfigError
from fine_tuning.core.formats import as_conversation
from fine_tuning.core.naming import canonical_json
from fine_tuning.data_collection.cleaning import Alike, Cleaning, Dropped, LeftOut, StepCount
from fine_tuning.data_collection.cleaning_counts import CleaningCounts
from fine_tuning.data_collection.cleaning_item import CleaningItem
from fine_tuning.data_collection.cleaning_steps import (
    EDITS,
    STEP_NAMES,
    CleaningLimits,
    Step,
    steps,
)
from fine_tuning.data_collection.moderation import DEFAULT_THRESHOLD, toxicity_classifiers
from fine_tuning.data_collection.private_values import DEFAULT_REGIONS, KINDS, known_regions
from fine_tuning.data_collection.redaction import Redactor
from fine_tuning.data_collection.spool import FileSpool, MemorySpool, Spool
from fine_tuning.data_collection.text_repair import normalize_whitespace, repair_unicode

__all__ = ["Alike", "Change", "CleaningReport", "DataCleaner", "Dropped", "LeftOut", "StepCount"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What cleaning kept, dropped and did.

    ``kept`` are cleaned conversations, ``dropped`` original ones, both in their given order.
    ``clusters`` names the cluster of each kept conversation that has near duplicates; ``review``
    are pairs just below the bar, for a person to look at. ``left_out`` are the exchanges that are
    not trained on, those of dropped conversations among them.
    """

    kept: list[Conversation]
    dropped: list[Dropped]
    steps: list[StepCount]
    counts: CleaningCounts
    clusters: dict[str, str] = field(default_factory=dict)
    review: list[Alike] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Change:
    """A text as it was said and as it would be learnt; ``role`` is "title" for a title."""

    conversation_id: str
    role: str
    before: str
    after: str


class DataCleaner:
    """Cleans and filters conversations for training.

    What is bad in a conversation is left out by the exchange: it stays as context and is not
    trained on. Lengths are characters of one exchange: a user's message with the reply to it.

    Args:
        min_length: The least length of an exchange that is worth training on.
        max_length: The greatest length an exchange may have; None sets no limit.
        skip: Names of steps to leave out; see ``cleaning_steps.STEP_NAMES``.
        phone_regions: Countries (ISO 3166) whose national phone numbers are replaced.
        private_kinds: What is replaced by placeholders; see ``private_values.KINDS``.
        max_tokens: The most tokens of a conversation up to the end of an exchange, estimated; None
            sets no limit.
        languages: ISO 639-1 codes of the languages to keep; empty keeps all.
        min_quality: The least heuristic quality, 0 to 1.
        max_same_reply: How often one reply is trained on; None sets no limit.
        similarity: The least Jaccard similarity of near duplicates.
        moderation: Classifiers of inappropriate content; see ``moderation.CLASSIFIERS``.
        toxicity_threshold: The probability from which the ``toxicity`` classifier drops.
        reviewed: The conversations a person decided on, True for accepted, False for rejected.
        withheld: The conversations that must not be trained on; no ``skip`` lets them through.

    Raises:
        ConfigError: if a length is negative, the lengths contradict, or a name is unknown.
        MissingDependencyError: if a classifier's package is not installed.
    """

    def __init__(  # noqa: PLR0913 - the settings of cleaning, all optional
        self,
        min_length: int = 10,
        max_length: int | None = None,
        *,
        skip: Collection[str] = (),
        phone_regions: Sequence[str] = DEFAULT_REGIONS,
        private_kinds: Sequence[str] = KINDS,
        max_tokens: int | None = None,
        languages: Sequence[str] = (),
        min_quality: float = 0.0,
        max_same_reply: int | None = 20,
        similarity: float = 0.7,
        moderation: Sequence[str] = ("words",),
        toxicity_threshold: float = DEFAULT_THRESHOLD,
        reviewed: Mapping[str, bool] = MappingProxyType({}),
        withheld: Collection[str] = (),
    ) -> None:
        if min_length < 0 or (max_length is not None and max_length < min_length):
            raise ConfigError(
                f"min_length is {min_length} and max_length {max_length}, "
                "expected 0 <= min_length <= max_length"
            )
        if not 0 < similarity <= 1:
            raise ConfigError(f"similarity is {similarity}, expected above 0 and up to 1")
        _check_names("step", skip, STEP_NAMES)
        _check_names("region", phone_regions, sorted(known_regions()))
        _check_names("private kind", private_kinds, KINDS)
        self.min_length = min_length
        self.max_length = max_length
        self._skip = frozenset(skip)
        self._limits = CleaningLimits(
            min_length=min_length,
            max_length=max_length,
            max_tokens=max_tokens,
            phone_regions=tuple(phone_regions),
            private_kinds=tuple(private_kinds),
            languages=tuple(languages),
            min_quality=min_quality,
            max_same_reply=max_same_reply,
            similarity=similarity,
            classifiers=toxicity_classifiers(moderation, toxicity_threshold),
            accepted=frozenset(name for name, is_kept in reviewed.items() if is_kept),
            rejected=frozenset(name for name, is_kept in reviewed.items() if not is_kept),
            withheld=frozenset(withheld),
        )

    def filter_conversations(self, conversations: Iterable[ConversationLike]) -> list[Conversation]:
        """Return the conversations that are worth learning, cleaned, in their given order.

        Args:
            conversations: Conversation values, ``ft/1`` objects, user_message/bot_response
                objects, or records of any export format.

        Raises:
            DataError: naming the index of the first item that is no conversation.
        """
        return self.clean(conversations).kept

    def clean(self, conversations: Iterable[ConversationLike]) -> CleaningReport:
        """Clean conversations that fit in memory, and account for every one.

        Args:
            conversations: Conversation values, ``ft/1`` objects or
                user_message/bot_response objects.

        Returns:
            What was kept, what was left out and why, and the counts of every step.

        Raises:
            DataError: naming the index of the first item that is no conversation.
        """
        left_out: list[LeftOut] = []
        run = self._cleaning(conversations, MemorySpool(), left_out.append)
        kept: list[Conversation] = []
        dropped: list[Dropped] = []
        for outcome in run:
            if isinstance(outcome, Dropped):
                dropped.append(outcome)
            else:
                kept.append(outcome)
        dropped.sort(key=lambda item: item.number)
        found = run.result
        _log.debug("cleaned: %s", found.counts)
        return CleaningReport(
            kept, dropped, run.steps, found.counts, found.clusters, found.review, left_out
        )

    def stream(
        self,
        conversations: Iterable[ConversationLike],
        folder: Path | None = None,
        on_left_out: Callable[[LeftOut], None] | None = None,
    ) -> Cleaning:
        """Return a cleaning of any number of conversations; memory grows by 0.5 KB an exchange.

        Args:
            conversations: Read once.
            folder: Where cleaned conversations wait; the system's temporary folder if None.
            on_left_out: Called with each exchange that is left out; none is kept in memory.

        Raises:
            StorageError: if no file can be made there.
        """
        return self._cleaning(conversations, FileSpool(folder), on_left_out)

    def changes(self, conversations: Iterable[ConversationLike]) -> Iterator[Change]:
        """Yield every text that the edits would change, for review; nothing is kept in memory.

        Args:
            conversations: Conversation values, ``ft/1`` objects or
                user_message/bot_response objects.

        Raises:
            DataError: if an item is no conversation.
        """
        for item in conversations:
            conversation = as_conversation(item)
            yield from _changes(conversation, self.edited(conversation))

    def edited(self, conversation: Conversation) -> Conversation:
        """Return a conversation repaired, spaced evenly and redacted; nothing is dropped.

        Args:
            conversation: Stays as it is.

        Returns:
            The edited copy, equal to the original if nothing was to change.
        """
        entry = CleaningItem(conversation)
        for step in self._steps():
            if step.name in EDITS and step.edit is not None:
                entry.conversation = step.edit(entry)
        return entry.conversation

    def edited_together(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return messages edited as one conversation, so that placeholders agree.

        Args:
            messages: In the order in which they were said.

        Returns:
            As many messages, in the same order, with their ids.
        """
        chained = [
            replace(message, id=str(place), parent_id=str(place - 1) if place else None)
            for place, message in enumerate(messages)
        ]
        edited = self.edited(Conversation(id="", messages=tuple(chained))).messages
        by_id = {message.id: message for message in edited}
        return tuple(
            replace(by_id.get(str(place), message), id=message.id, parent_id=message.parent_id)
            for place, message in enumerate(messages)
        )

    def is_valid(self, conversation: ConversationLike) -> bool:
        """Tell whether cleaning would keep a conversation, were it the only one.

        Args:
            conversation: In any form :meth:`clean` takes.

        Returns:
            True if it would be kept; duplicates are not looked for.

        Raises:
            DataError: if the item is no conversation.
        """
        return bool(self.clean([conversation]).kept)

    def normalize_text(self, text: str) -> str:
        """Return one text as cleaning leaves it: repaired, spaced evenly, redacted.

        Args:
            text: One message's text.

        Returns:
            The text with addresses, numbers and secrets replaced by placeholders.
        """
        edits = {
            "unicode": repair_unicode,
            "whitespace": normalize_whitespace,
            "redaction": self._redact,
        }
        for name, edit in edits.items():
            if name not in self._skip:
                text = edit(text)
        return text

    def _redact(self, text: str) -> str:
        redactor = Redactor(self._limits.phone_regions, self._limits.private_kinds)
        redactor.reserve(text)
        return redactor.redact(text)

    def _steps(self) -> list[Step]:
        return [step for step in steps(self._limits) if step.name not in self._skip]

    def _cleaning(
        self,
        items: Iterable[ConversationLike],
        spool: Spool,
        on_left_out: Callable[[LeftOut], None] | None,
    ) -> Cleaning:
        return Cleaning(items, self._limits, skip=self._skip, spool=spool, on_left_out=on_left_out)


def _changes(before: Conversation, after: Conversation) -> Iterator[Change]:
    if before is after:
        return
    if before.title != after.title:
        yield Change(before.id, "title", before.title, after.title)
    earlier = {message.id: message for message in before.messages}
    later = {message.id: message for message in after.messages}
    for name in earlier | later:  # parting markup makes messages, and drops empty ones
        other = later.get(name) or earlier[name].with_text("")
        one = earlier.get(name) or Message(id=name, role=other.role)
        if one.text != other.text:
            yield Change(before.id, one.role, one.text, other.text)
        if one.reasoning != other.reasoning:
            yield Change(before.id, f"{one.role}, thinking", one.reasoning, other.reasoning)
        if one.tool_calls != other.tool_calls:
            calls = [canonical_json([c.to_dict() for c in m.tool_calls]) for m in (one, other)]
            yield Change(before.id, f"{one.role}, calling", *calls)


def _check_names(what: str, names: Collection[str], accepted: Sequence[str]) -> None:
    for name in names:
        if name not in accepted:
            near = get_close_matches(str(name), accepted, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            some = ", ".join(accepted[:20])
            raise ConfigError(f"cleaning has no {what} {name!r}, expected one of {some}{hint}")
