"""Writes conversations in every format trainers read, whole or not at all, in one pass.

Equal conversations give equal bytes. A conversation that a format cannot express, or that has
nothing to learn, is left out of that format's file and counted in the statistics with its reason.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import orjson

from fine_tuning.config.workspace import Workspace
from fine_tuning.core.conversation import Conversation, ConversationLike
from fine_tuning.core.errors import DataError
from fine_tuning.core.exchange import DPO, KTO, WRITTEN
from fine_tuning.core.formats import (
    FORMATS,
    check_format,
    each_conversation,
    to_records,
    validate_record,
)
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.preference import LabelledReply, PreferencePair
from fine_tuning.data_collection.preference_files import write_labels, write_pairs
from fine_tuning.data_collection.statistics import conversation_statistics
from fine_tuning.storage.atomic import write_file
from fine_tuning.storage.json_lines import whole_lines
from fine_tuning.storage.log_lines import full_record

ALL_FORMATS: tuple[str, ...] = (*FORMATS, *WRITTEN)
"""The formats of conversations; rated replies have two more."""
CONVERSATIONS = "conversations"
STATISTICS = "statistics"
EXAMPLES_PER_REASON = 5

_log = logging.getLogger(__name__)


class DataExporter:
    """Exports conversations for training elsewhere.

    Args:
        output_dir: The folder of the files; created if need be. Without one, the workspace's
            ``exports`` (``FINE_TUNING_HOME``, by default ``./fine_tuning_home``).
    """

    def __init__(self, output_dir: Path | str | None = None) -> None:
        self.output_dir = Path(output_dir) if output_dir is not None else Workspace.open().exports

    def export_all_formats(
        self,
        conversations: Iterable[ConversationLike],
        *,
        pairs: Iterable[PreferencePair] = (),
        labelled: Iterable[LabelledReply] = (),
    ) -> dict[str, Path]:
        """Write a file of each format, ``conversations`` and statistics.

        Args:
            conversations: Conversation values, ``ft/1`` objects or user_message/bot_response
                objects; read once, so an iterator will do.
            pairs: What people preferred; becomes ``trl_dpo``.
            labelled: Replies people rated; becomes ``trl_kto``.

        Returns:
            Format to file: ``chatml``, ``alpaca``, ``instruction``, ``openai``, ``sharegpt``,
            ``trl_sft``, ``trl_dpo``, ``trl_kto``, ``conversations`` (``ft/1``, with everything)
            and ``statistics`` (JSON; counts, and what each format left out and why).

        Raises:
            DataError: if an item is no conversation; then no file is written.
            StorageError: if a file cannot be written.
        """
        paths = self._export(conversations, ALL_FORMATS)
        for name in (DPO, KTO):
            paths[name] = self.output_dir / f"{name}.jsonl"
        write_pairs(paths[DPO], pairs)
        write_labels(paths[KTO], labelled)
        return paths

    def export(self, conversations: Iterable[ConversationLike], format: str) -> Path:  # noqa: A002
        """Write one format's file, beside ``conversations`` and ``statistics``; return its path.

        Args:
            conversations: Conversation values, ``ft/1`` objects or
                user_message/bot_response objects. Read once.
            format: A format :meth:`export_all_formats` lists, such as ``chatml``.

        Returns:
            The format's file; one that was there is replaced.

        Raises:
            ConfigError: if the format is unknown.
            DataError: if an item is no conversation; then no file is written.
            StorageError: if a file cannot be written.
        """
        name = format if format in WRITTEN else check_format(format)
        return self._export(conversations, (name,))[name]

    def _export(
        self, items: Iterable[ConversationLike], formats: tuple[str, ...]
    ) -> dict[str, Path]:
        names = (*formats, CONVERSATIONS)
        paths = {name: self.output_dir / f"{name}.jsonl" for name in names}
        tallies = {name: _Tally() for name in formats}
        with ExitStack() as stack:
            writers = {name: stack.enter_context(whole_lines(p)) for name, p in paths.items()}
            written = _write_all(each_conversation(items), writers, tallies)
            stats = conversation_statistics(written)
        shown: dict[str, object] = {
            key: value
            for key, value in stats.items()
            if key not in {"turns_per_session", "feedback"}
        }
        shown["formats"] = {name: tally.to_dict() for name, tally in tallies.items()}
        paths[STATISTICS] = self.output_dir / f"{STATISTICS}.json"
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write_file(paths[STATISTICS], orjson.dumps(shown, option=options))
        _log.debug("exported %d conversations to %s", stats["total_conversations"], self.output_dir)
        return paths


class _Tally:
    """What became of the conversations in one format."""

    def __init__(self) -> None:
        self.conversations = 0
        self.records = 0
        self.records_left_out = 0
        self.left_out: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def leave_out(self, conversation: Conversation, reason: str) -> None:
        reason = reason.replace(f"conversation {conversation.id}", "the conversation")
        self.left_out[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES_PER_REASON:
            examples.append(conversation.id)

    def to_dict(self) -> dict[str, JsonValue]:
        left_out: list[JsonValue] = [
            {"reason": reason, "conversations": count, "examples": self.examples[reason]}
            for reason, count in sorted(self.left_out.items())
        ]
        return {
            "conversations": self.conversations,
            "records": self.records,
            "records_left_out": self.records_left_out,
            "left_out": left_out,
        }


def _write_all(
    conversations: Iterable[Conversation],
    writers: Mapping[str, Callable[[object], None]],
    tallies: Mapping[str, _Tally],
) -> Iterator[Conversation]:
    """Write each conversation in every format, and pass it on to be counted."""
    for conversation in conversations:
        writers[CONVERSATIONS](full_record(conversation))
        for name, tally in tallies.items():
            _write_one(conversation, name, writers[name], tally)
        yield conversation


def _write_one(
    conversation: Conversation, name: str, write: Callable[[object], None], tally: _Tally
) -> None:
    try:
        is_ours = name in FORMATS
        records = to_records(conversation, name) if is_ours else [WRITTEN[name](conversation)]
    except DataError as error:
        tally.leave_out(conversation, error.message)
        return
    sound = [record for record in records if not (is_ours and validate_record(record, name))]
    tally.records_left_out += len(records) - len(sound)
    if not sound:
        tally.leave_out(conversation, validate_record(records[0], name)[0])
        return
    for record in sound:
        write(record)
    tally.conversations += 1
    tally.records += len(sound)
