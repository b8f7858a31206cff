"""Conversations read from JSON Lines files: our log, our exports, ChatML, Alpaca, Instruction.

A line that cannot be read is skipped and counted, never fatal. Other programs' exports are read in
``importers``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError, StorageError
from fine_tuning.core.feedback import Feedback
from fine_tuning.core.formats import (
    TURN,
    as_conversation,
    detect_format,
    from_instruction,
    validate_record,
)
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.ports import Skipped
from fine_tuning.storage.atomic import storage_errors
from fine_tuning.storage.json_lines import decode, lines
from fine_tuning.storage.jsonl_store import JsonlConversationStore

INSTRUCTION_KEYS = {"instruction", "input", "context", "response", "system", "history", "id"}


class ConversationReader:
    """An iterable of the conversations in a file; each iteration reads the file anew.

    Attributes:
        path: The file.
        skipped: Lines left out by the last iteration, with number and reason.
        unread: Keys of instruction records that are not read, with the number of those records.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped: list[Skipped] = []
        self.unread: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Conversation]:
        """Yield the conversations.

        Raises:
            StorageError: if the file cannot be read.
        """
        self.skipped = []
        self.unread.clear()
        if not self._is_log():
            yield from self._conversations()
            return
        store = JsonlConversationStore(self.path)
        yield from store.conversations()
        self.skipped = store.skipped

    def feedback(self) -> Iterator[Feedback]:
        """Yield the feedback in the file; only logs hold any.

        Raises:
            StorageError: if the file cannot be read.
        """
        store = JsonlConversationStore(self.path)
        yield from store.feedback()

    def _is_log(self) -> bool:
        """Tell whether turns must be gathered: the first sound line is one of a log."""
        first = next(self._records(), None)
        self.skipped = []
        if first is None:
            return False
        raw = first[1]
        is_feedback = str(raw.get("schema", "")).startswith("ft-feedback/")
        return is_feedback or bool(raw.get("continues")) or detect_format(raw) == TURN

    def _records(self) -> Iterator[tuple[int, dict[str, JsonValue]]]:
        with storage_errors(self.path), self.path.open("rb") as file:
            for line in lines(file):
                try:
                    raw = decode(line)
                    if raw is not None:
                        if not str(raw.get("schema", "")).startswith("ft-feedback/"):
                            detect_format(raw)
                        yield line.number, raw
                except DataError as error:
                    self.skipped.append(Skipped(line.number, error.message))

    def _conversations(self) -> Iterator[Conversation]:
        """Yield one conversation per record, except that instruction records are joined."""
        exchanges: list[JsonObject] = []
        for number, raw in self._records():
            try:
                is_instruction = detect_format(raw) == "instruction"
                if is_instruction and (problems := validate_record(raw, "instruction")):
                    raise DataError(problems[0])  # noqa: TRY301 - counted with all other reasons
                found = None if is_instruction else as_conversation(raw)
            except DataError as error:
                self.skipped.append(Skipped(number, error.message))
                continue
            if exchanges and not (is_instruction and raw.get("history")):
                yield from from_instruction(exchanges)
                exchanges = []
            if found is not None:
                yield found
            else:
                self.unread.update(key for key in raw if key not in INSTRUCTION_KEYS and raw[key])
                exchanges.append(raw)
        yield from from_instruction(exchanges)


def read_conversations(path: Path | str) -> ConversationReader:
    """Return an iterable of the conversations in a JSON Lines file; its ``skipped`` counts the bad.

    Raises:
        StorageError: if there is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise StorageError(
            f"{path} {'is a folder' if path.is_dir() else 'does not exist'}, "
            "expected a file of conversations as JSON Lines",
            next_command="fine-tuning import FILE",
        )
    return ConversationReader(path)
