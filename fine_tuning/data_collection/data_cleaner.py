"""Cleans conversations and says of each one that leaves why it does.

Runs the steps of ``cleaning_steps`` over conversations of any known shape. The law, which every
report keeps: what came in is what was kept plus what was dropped, reason by reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import ConfigError
from fine_tuning.core.formats import as_conversation, as_conversations
from fine_tuning.data_collection.cleaning_steps import (
    REASONS,
    STEP_NAMES,
    Limits,
    Reason,
    Step,
    normalize_whitespace,
    repair_unicode,
    steps,
)
from fine_tuning.data_collection.redaction import DEFAULT_REGIONS, Redactor, known_regions

_log = logging.getLogger(__name__)
Item = Conversation | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A conversation that was left out, as it came in; ``detail`` says what was found."""

    conversation: Conversation
    reason: Reason
    detail: str


@dataclass(slots=True)
class StepCount:
    """What one step did: conversations it saw, changed and dropped."""

    name: str
    seen: int = 0
    changed: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class CleaningReport:
    """What cleaning kept, dropped and did.

    ``kept`` are cleaned conversations, ``dropped`` original ones, both in their given order.
    """

    kept: list[Conversation]
    dropped: list[Dropped]
    steps: list[StepCount]

    @property
    def counts(self) -> dict[str, Any]:
        """``in``, ``kept``, ``dropped`` (reason to number) and ``steps``, as plain JSON values."""
        reasons = Counter(item.reason for item in self.dropped)
        return {
            "in": len(self.kept) + len(self.dropped),
            "kept": len(self.kept),
            "dropped": {reason: reasons[reason] for reason in REASONS if reasons[reason]},
            "steps": [
                {
                    "name": step.name,
                    "seen": step.seen,
                    "changed": step.changed,
                    "dropped": step.dropped,
                }
                for step in self.steps
            ],
        }


class DataCleaner:
    """Cleans and filters conversations for training.

    Lengths are characters of one exchange: a user's message with the reply to it. A conversation
    is too short when all its exchanges are, and too long when one is.

    Args:
        min_length: The least length of an exchange that is worth learning.
        max_length: The greatest length an exchange may have.
        skip: Names of steps to leave out; see ``cleaning_steps.STEP_NAMES``.
        phone_regions: Countries (ISO 3166) whose national phone numbers are replaced.

    Raises:
        ConfigError: if a length is negative, the lengths contradict, or a name is unknown.
    """

    def __init__(
        self,
        min_length: int = 10,
        max_length: int = 1000,
        *,
        skip: Collection[str] = (),
        phone_regions: Sequence[str] = DEFAULT_REGIONS,
    ) -> None:
        if not 0 <= min_length <= max_length:
            raise ConfigError(
                f"min_length is {min_length} and max_length {max_length}, "
                "expected 0 <= min_length <= max_length"
            )
        _check_names("step", skip, STEP_NAMES)
        _check_names("region", phone_regions, sorted(known_regions()))
        self.min_length = min_length
        self.max_length = max_length
        self._skip = frozenset(skip)
        self._limits = Limits(
            min_length=min_length, max_length=max_length, phone_regions=tuple(phone_regions)
        )

    def filter_conversations(self, conversations: Iterable[Item]) -> list[Conversation]:
        """Return the conversations that are worth learning, cleaned, in their given order.

        Args:
            conversations: Conversation values, ``ft/1`` objects, user_message/bot_response
                objects, or records of any export format.

        Raises:
            DataError: naming the index of the first item that is no conversation.
        """
        return self.clean(conversations).kept

    def clean(self, conversations: Iterable[Item]) -> CleaningReport:
        """Clean conversations and account for every one.

        Raises:
            DataError: naming the index of the first item that is no conversation.
        """
        active = self._steps()
        report = CleaningReport([], [], [StepCount(step.name) for step in active])
        for conversation in as_conversations(conversations):
            result = _run(conversation, active, report.steps)
            if isinstance(result, Dropped):
                report.dropped.append(result)
            else:
                report.kept.append(result)
        _log.debug("cleaned: %s", report.counts)
        return report

    def is_valid(self, conversation: Item) -> bool:
        """Tell whether cleaning would keep a conversation, were it the only one.

        Raises:
            DataError: if the item is no conversation.
        """
        counts = [StepCount(step.name) for step in self._steps()]
        result = _run(as_conversation(conversation), self._steps(), counts)
        return isinstance(result, Conversation)

    def normalize_text(self, text: str) -> str:
        """Return one text as cleaning leaves it: repaired, spaced evenly, redacted."""
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
        redactor = Redactor(self._limits.phone_regions)
        redactor.reserve(text)
        return redactor.redact(text)

    def _steps(self) -> list[Step]:
        return [step for step in steps(self._limits) if step.name not in self._skip]


def _run(
    conversation: Conversation, active: Sequence[Step], counts: Sequence[StepCount]
) -> Conversation | Dropped:
    """Take a conversation through the steps, until one drops it."""
    current = conversation
    for step, count in zip(active, counts, strict=True):
        count.seen += 1
        if step.edit is not None:
            edited = step.edit(current)
            count.changed += edited != current
            current = edited
        elif step.drop is not None and (detail := step.drop(current)) is not None:
            count.dropped += 1
            return Dropped(conversation, cast("Reason", step.name), detail)
    return current


def _check_names(what: str, names: Collection[str], accepted: Sequence[str]) -> None:
    for name in names:
        if name not in accepted:
            near = get_close_matches(str(name), accepted, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            some = ", ".join(accepted[:20])
            raise ConfigError(f"cleaning has no {what} {name!r}, expected one of {some}{hint}")
