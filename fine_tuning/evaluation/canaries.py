"""Canaries: prompts whose replies must pass a check, whatever else a model has learnt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, object_of
from fine_tuning.evaluation.checks import CHECK_KINDS, Check, passes
from fine_tuning.evaluation.item_files import read_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A prompt and the check its reply must pass (see checks.py).

    Raises:
        DataError: on construction, if the prompt is empty or the check's kind is unknown.
    """

    id: str
    prompt: str
    check: Check

    def __post_init__(self) -> None:
        """Refuse a canary that cannot sing."""
        kind = self.check.get("kind")
        if not self.prompt.strip() or kind not in CHECK_KINDS:
            raise DataError(
                f"canary {self.id!r} has prompt {self.prompt!r} and a check of kind {kind!r}, "
                f"expected a prompt and a check of kind {', '.join(CHECK_KINDS)}"
            )

    def messages(self) -> tuple[Message, ...]:
        """Return the prompt as a conversation of one turn."""
        return (Message(id=self.id, role="user", content=(Part(text=self.prompt),)),)

    def holds(self, reply: str) -> bool:
        """Tell whether a reply passes."""
        return passes(reply, self.check)

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read one line of a file of canaries.

        Raises:
            DataError: if a field is missing or of the wrong type.
        """
        try:
            return cls(id=str(raw["id"]), prompt=str(raw["prompt"]), check=object_of(raw, "check"))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"a canary cannot be read: {error!r}, expected id, prompt and check"
            ) from error


def read_canaries(path: Path) -> tuple[Canary, ...]:
    """Read canaries from a JSONL file.

    Raises:
        DataError: as :func:`~fine_tuning.evaluation.item_files.read_items`.
    """
    return read_items(path, Canary.from_dict, "canary")
