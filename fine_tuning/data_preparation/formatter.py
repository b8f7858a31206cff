"""Conversations to training records, and to the examples that training learns from.

Records (ChatML, Alpaca, Instruction) are for exchange with other tools; examples are what this
project's own training reads. Knows no tokens and touches no file; the shapes of records are in
``core/formats.py``. Nothing disappears: what cannot be formatted or learnt is counted by reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from fine_tuning.core.conversation import LEFT_OUT, Conversation, ConversationLike, Message
from fine_tuning.core.errors import ConfigError, DataError
from fine_tuning.core.example import Example
from fine_tuning.core.formats import (
    as_conversation,
    as_conversations,
    check_format,
    from_records,
    to_records,
    validate_record,
)
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.tool_schemas import tool_schemas

logger = logging.getLogger(__name__)


DEFAULT_BATCH_SIZE = 256
POLICIES: tuple[str, ...] = ("weighted", "all", "last", "rated_up")
"""Which replies are learnt; see :func:`examples_from`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Something that is not learnt, and why.

    ``reason`` is one of a few fixed phrases, so that drops can be counted; ``detail`` says more.
    ``num_targets`` is how many assistant turns are lost with it (0 when there was none).
    """

    conversation_id: str
    reason: str
    detail: str = ""
    num_targets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What can be learnt from some conversations: one example each, or a drop."""

    examples: tuple[Example, ...]
    drops: tuple[Drop, ...]

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def drops_by_reason(self) -> dict[str, int]:
        """How many conversations each reason dropped."""
        return dict(Counter(drop.reason for drop in self.drops))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordProblem:
    """One thing wrong with one record; ``index`` counts from 0."""

    index: int
    message: str

    def __str__(self) -> str:
        return f"record {self.index}: {self.message}"


class TrainingDataFormatter:
    """Writes conversations as records of one format, checks records, and converts them.

    Args:
        format_type: "chatml", "alpaca" or "instruction".
        batch_size: Conversations formatted at a time by :meth:`batches`.

    Raises:
        ConfigError: if the format is unknown (the nearest one is named), or ``batch_size`` is
            below 1.
    """

    def __init__(
        self, format_type: str = "chatml", *, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}, expected at least 1")
        self.format_type = check_format(format_type)
        self.batch_size = batch_size
        self.drops: tuple[Drop, ...] = ()
        """What the last :meth:`create_training_pairs` or :meth:`batches` could not format."""

    def create_training_pairs(
        self, conversations: Iterable[ConversationLike]
    ) -> list[dict[str, Any]]:
        """Return the records of all conversations, in order.

        Args:
            conversations: Conversations, ``ft/1`` dictionaries, logged turns with
                ``user_message`` and ``bot_response``, or records of any known format.

        Returns:
            Records of this format. A conversation that the format cannot express is left out,
            reported as a warning and kept in :attr:`drops`.

        Raises:
            DataError: if an item is no conversation; the sentence names its index.
        """
        return list(chain.from_iterable(self.batches(conversations)))

    def batches(self, conversations: Iterable[ConversationLike]) -> Iterator[list[dict[str, Any]]]:
        """Yield the records of ``batch_size`` conversations at a time, for more than fit in memory.

        Args:
            conversations: As :meth:`create_training_pairs` takes them; read as they are
                needed.

        Raises:
            DataError: as :meth:`create_training_pairs`.
        """
        drops: list[Drop] = []
        for number, batch in enumerate(_batched(conversations, self.batch_size)):
            records: list[dict[str, Any]] = []
            for place, item in enumerate(batch):
                conversation = _read(item, number * self.batch_size + place)
                try:
                    records += to_records(conversation, self.format_type)
                except DataError as error:
                    reason = f"not expressible as {self.format_type}"
                    drops.append(
                        Drop(conversation_id=conversation.id, reason=reason, detail=error.message)
                    )
            self.drops = tuple(drops)
            yield records
        self.drops = tuple(drops)
        if drops:
            logger.warning(
                "%d conversations were left out of the %s records: %s",
                len(drops),
                self.format_type,
                drops[0].detail,
            )

    def validate(self, records: Iterable[JsonObject]) -> list[RecordProblem]:
        """Return everything that keeps records from being trained on; [] when all are sound.

        Args:
            records: Records of this format.

        Returns:
            One problem for each fault, with the record's index.
        """
        return [
            RecordProblem(index=index, message=message)
            for index, record in enumerate(records)
            for message in validate_record(record, self.format_type)
        ]

    def convert(self, records: Sequence[JsonObject], to: str) -> list[dict[str, Any]]:
        """Return records of this format as records of another.

        Args:
            records: Records of this format.
            to: The other format: "chatml", "alpaca" or "instruction".

        Returns:
            Records of the other format, in order; a conversation may take several.

        Raises:
            ConfigError: if the other format is unknown.
            DataError: if a record is not of this format, or the other cannot express it.
        """
        check_format(to)
        conversations = from_records(records, self.format_type)
        return [record for item in conversations for record in to_records(item, to)]


def examples_from(
    conversations: Iterable[ConversationLike],
    *,
    train_on: str = "weighted",
    rated_up: Collection[tuple[str, str]] = (),
) -> Examples:
    """Return one example per conversation: its current branch, with the replies to learn.

    The tools that a conversation's metadata declare come with it, for the prompt to show.

    A target is an assistant turn that is complete, says something and was not left out by cleaning.
    Of these, "weighted" learns those whose weight is not 0, "all" every one, "last" the last
    weighted one, "rated_up" those a person liked. Messages after the last target are left out: they
    teach nothing, and an unanswered question would change the example's name.

    Args:
        conversations: In any shape ``core/formats.py`` reads.
        train_on: One of :data:`POLICIES`.
        rated_up: (conversation id, message id) of the replies a person liked.

    Raises:
        ConfigError: if the policy is unknown.
        DataError: if an item is no conversation.
    """
    if train_on not in POLICIES:
        raise ConfigError(f"train_on is {train_on!r}, expected one of {', '.join(POLICIES)}")
    examples: list[Example] = []
    drops: list[Drop] = []
    for conversation in as_conversations(conversations):
        try:
            path = conversation.path()
        except DataError as error:
            drops.append(
                Drop(conversation_id=conversation.id, reason="damaged tree", detail=error.message)
            )
            continue
        targets = _targets(conversation.id, path, train_on, rated_up)
        if not targets:
            reason = _why_nothing(path, train_on)
            drops.append(Drop(conversation_id=conversation.id, reason=reason))
            continue
        examples.append(
            Example(
                conversation_id=conversation.id,
                messages=path[: targets[-1] + 1],
                targets=targets,
                tools=tool_schemas(conversation.metadata),
            )
        )
    return Examples(examples=tuple(examples), drops=tuple(drops))


def _targets(
    conversation_id: str,
    path: Sequence[Message],
    train_on: str,
    rated_up: Collection[tuple[str, str]],
) -> tuple[int, ...]:
    if train_on == "all":
        found = [index for index, message in enumerate(path) if _is_finished_reply(message)]
    else:
        found = [index for index, message in enumerate(path) if is_target(message)]
    if train_on == "rated_up":
        found = [index for index in found if (conversation_id, path[index].id) in rated_up]
    return tuple(found[-1:] if train_on == "last" else found)


def is_target(message: Message) -> bool:
    """Tell whether a turn is to be learnt, by its weight."""
    return message.weight == 1 and _is_finished_reply(message)


def _is_finished_reply(message: Message) -> bool:
    said = bool(message.text.strip() or message.tool_calls)
    is_finished = message.role == "assistant" and message.status == "complete" and said
    return is_finished and LEFT_OUT not in message.metadata


def _why_nothing(path: Sequence[Message], train_on: str) -> str:
    """Return the reason why a branch without targets has none."""
    if train_on == "rated_up" and any(map(is_target, path)):
        return "no reply is rated up"
    replies = [message for message in path if message.role == "assistant"]
    if not replies:
        return "no reply"
    if all(message.weight != 1 for message in replies):
        return "all replies have weight 0"
    if all(message.status != "complete" for message in replies):
        return "no finished reply"
    return "only empty or excluded replies"


def _read(item: ConversationLike, index: int) -> Conversation:
    try:
        return as_conversation(item)
    except DataError as error:
        raise DataError(f"conversation {index}: {error.message}") from error


def _batched(items: Iterable[ConversationLike], size: int) -> Iterator[list[ConversationLike]]:
    """Yield lists of ``size`` items; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
