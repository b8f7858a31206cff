"""Questions with the facts their answers must hold, and the JSONL files they live in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.evaluation.facts import contains_any
from fine_tuning.evaluation.item_files import read_items


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question and what a right answer must state.

    A right answer states every one of ``key_facts``, or one wording of ``accept_whole``, which
    stands for all of them; ``accept[i]`` holds other wordings of ``key_facts[i]``. ``fact`` names
    what is asked for: questions of one fact depend on each other and are resampled together.
    ``extra`` keeps the file's other fields.

    Raises:
        DataError: on construction, if there is no question, no key fact or an empty one, or
            ``accept`` is neither empty nor as long as ``key_facts``.
    """

    id: str
    question: str
    key_facts: tuple[str, ...]
    accept: tuple[tuple[str, ...], ...] = ()
    accept_whole: tuple[str, ...] = ()
    fact: str = ""
    extra: JsonObject = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a question nothing can answer."""
        if not self.question.strip():
            raise DataError(f"question {self.id!r} has no text")
        if not self.key_facts or not all(fact.strip() for fact in self.key_facts):
            raise DataError(
                f"question {self.id!r} has key facts {list(self.key_facts)!r}, "
                "expected at least one, none of them empty"
            )
        if self.accept and len(self.accept) != len(self.key_facts):
            raise DataError(
                f"question {self.id!r} has {len(self.accept)} lists of accepted wordings for "
                f"{len(self.key_facts)} key facts, expected one list per fact"
            )

    @property
    def cluster(self) -> str:
        """The fact asked for, or the question itself when none is named."""
        return self.fact or self.id

    def messages(self, system: str = "") -> tuple[Message, ...]:
        """Return the question as a conversation of one turn, after an optional system message."""
        turns = [("system", system)] if system else []
        turns.append(("user", self.question))
        return tuple(
            Message(id=f"{self.id}/{i}", role=role, content=(Part(text=text),))  # type: ignore[arg-type]
            for i, (role, text) in enumerate(turns)
        )

    def found(self, reply: str) -> tuple[bool, ...]:
        """Tell for each key fact whether the reply states it, in any accepted wording."""
        if contains_any(reply, self.accept_whole):
            return (True,) * len(self.key_facts)
        accept = self.accept or ((),) * len(self.key_facts)
        return tuple(
            contains_any(reply, (fact, *others))
            for fact, others in zip(self.key_facts, accept, strict=True)
        )

    def to_dict(self) -> dict[str, JsonValue]:
        """Return plain JSON values, the form of one line."""
        raw: dict[str, JsonValue] = {
            "id": self.id,
            "question": self.question,
            "key_facts": list(self.key_facts),
        }
        if self.accept_whole:
            raw["accept"] = list(self.accept_whole)
        elif any(self.accept):
            raw["accept"] = [list(wordings) for wordings in self.accept]
        if self.fact:
            raw["fact"] = self.fact
        return {**raw, **self.extra}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read one line's object.

        ``accept`` may be a flat list (each wording stands for the whole answer), a list of lists
        (one per key fact), or an object from key fact to wordings.

        Raises:
            DataError: if a field is missing, of the wrong type, or breaks a rule of the class.
        """
        identity, question = raw.get("id"), raw.get("question")
        if not isinstance(identity, str) or not isinstance(question, str):
            raise DataError(
                f"a question holds id {identity!r} and question {question!r}, expected two strings"
            )
        facts = _strings(identity, "key_facts", raw.get("key_facts"))
        accept, accept_whole = _accepted(identity, facts, raw.get("accept"))
        known = {"id", "question", "key_facts", "accept", "fact"}
        return cls(
            id=identity,
            question=question,
            key_facts=facts,
            accept=accept,
            accept_whole=accept_whole,
            fact=str(raw.get("fact") or ""),
            extra={key: value for key, value in raw.items() if key not in known},
        )


def read_questions(path: Path) -> tuple[Question, ...]:
    """Read a JSONL file of questions.

    Raises:
        DataError: as :func:`~fine_tuning.evaluation.item_files.read_items`.
    """
    return read_items(path, Question.from_dict, "question")


def _strings(identity: str, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"question {identity!r} has {key} {value!r}, expected a list of strings")
    return tuple(value)


def _accepted(
    identity: str, facts: Sequence[str], value: object
) -> tuple[tuple[tuple[str, ...], ...], tuple[str, ...]]:
    """Read the forms of ``accept``: wordings per fact, and wordings of the whole answer."""
    if not value:
        return (), ()
    if isinstance(value, Mapping):
        unknown = sorted(set(value) - set(facts))
        if unknown:
            raise DataError(
                f"question {identity!r} accepts wordings of unknown fact {unknown[0]!r}"
            )
        return tuple(_strings(identity, "accept", value.get(fact, [])) for fact in facts), ()
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return tuple(_strings(identity, "accept", item) for item in value), ()
    return (), _strings(identity, "accept", value)
