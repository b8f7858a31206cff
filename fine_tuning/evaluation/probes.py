"""Did it forget? Small tasks of general ability, scored by likelihood and by what is answered.

Each task brings choices, the right one first: how much of the chance the model gives to the right
one is a finer measure than right or wrong, and needs no reply. A check scores the reply where one
is generated. What this does not know: engines, runtimes, and what a drop means (see gate.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fine_tuning.core.conversation import Message, Part
from fine_tuning.core.errors import DataError
from fine_tuning.core.example import TokenizedExample
from fine_tuning.core.json_shape import data_errors
from fine_tuning.core.json_value import JsonObject, list_of, object_of
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.evaluation.checks import CHECK_KINDS, Check, passes
from fine_tuning.evaluation.item_files import read_items
from fine_tuning.evaluation.metrics import mean_of
from fine_tuning.evaluation.results import SuiteResult

PROBE_FILE = Path(__file__).parents[1] / "data" / "samples" / "probe_items.jsonl"
ABILITY = "ability"
"""The suite of all tasks; that of one skill is called ``ability/<skill>``."""
MIN_CHOICES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeItem:
    """A task: what is asked, how a reply is checked, and choices of which the first is right.

    ``lead`` is put at the start of the model's reply before a choice is scored, so that a model
    that answers in whole sentences is asked for the deciding word.

    Raises:
        DataError: on construction, if a text is missing, or choices are fewer than two or repeat.
    """

    id: str
    skill: str
    prompt: str
    check: Check
    choices: tuple[str, ...]
    lead: str = ""

    def __post_init__(self) -> None:
        """Refuse a task that cannot be scored."""
        if not self.id or not self.skill or not self.prompt.strip():
            raise DataError(f"probe item {self.id!r} lacks an id, a skill or a prompt")
        if len(set(self.choices)) != len(self.choices) or len(self.choices) < MIN_CHOICES:
            raise DataError(
                f"probe item {self.id!r} has choices {list(self.choices)!r}, "
                "expected at least two, each once"
            )
        if self.check.get("kind") not in CHECK_KINDS:
            raise DataError(f"probe item {self.id!r} has a check of an unknown kind")

    def messages(self) -> tuple[Message, ...]:
        """Return the task as a conversation of one turn."""
        return (Message(id=self.id, role="user", content=(Part(text=self.prompt),)),)

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read one line of a file of tasks.

        Raises:
            DataError: if a field is missing or of the wrong type.
        """
        with data_errors("a probe item"):
            return cls(
                id=str(raw["id"]),
                skill=str(raw["skill"]),
                prompt=str(raw["prompt"]),
                check=object_of(raw, "check"),
                choices=tuple(map(str, list_of(raw, "choices"))),
                lead=str(raw.get("lead", "")),
            )


def read_probe_items(path: Path = PROBE_FILE) -> tuple[ProbeItem, ...]:
    """Read tasks from a JSONL file.

    Raises:
        DataError: as :func:`~fine_tuning.evaluation.item_files.read_items`.
    """
    return read_items(path, ProbeItem.from_dict, "probe item")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedProbe:
    """A task's choices as sequences to score, in the order of the choices."""

    item: ProbeItem
    sequences: tuple[TokenizedExample, ...]


def tokenize_probes(
    items: Sequence[ProbeItem], tokenizer: Tokenizer, renderer: PromptRenderer
) -> tuple[TokenizedProbe, ...]:
    """Put each choice behind its prompt as serving shows it; only the choice's tokens count.

    Tokens that all choices of a task begin with decide nothing and are left in the prompt.
    """
    probes = []
    for item in items:
        prompt = renderer.render(item.messages(), add_generation_prompt=True)
        prompt_ids = tokenizer.encode(prompt, add_special=True, parse_special=True)
        replies = [
            tokenizer.encode(item.lead + choice, add_special=False, parse_special=False)
            for choice in item.choices
        ]
        shared = _num_shared(replies)
        probes.append(
            TokenizedProbe(
                item=item,
                sequences=tuple(
                    _sequence(item, number, [*prompt_ids, *reply], len(prompt_ids) + shared)
                    for number, reply in enumerate(replies)
                ),
            )
        )
    return tuple(probes)


def ability_suites(
    items: Sequence[ProbeItem],
    *,
    model: str,
    shares: Sequence[float] = (),
    replies: Sequence[str] = (),
) -> tuple[SuiteResult, ...]:
    """Return one suite over all tasks and one for each skill.

    Args:
        items: The tasks.
        model: The name results are filed under.
        shares: ``right_share`` of each task, or nothing: the metric ``right_choice``.
        replies: The reply to each task, or nothing: the metric ``tasks_passed``.

    Raises:
        DataError: if there are neither shares nor replies, or not one for each task.
    """
    values: dict[str, tuple[list[float], str]] = {}
    if shares:
        values["right_choice"] = (list(shares), "share of chance")
    if replies:
        found = [float(passes(r, item.check)) for r, item in zip(replies, items, strict=True)]
        values["tasks_passed"] = (found, "share of tasks")
    if not values or any(len(found) != len(items) for found, _ in values.values()):
        raise DataError(f"{len(items)} probe items lack shares and replies, expected one each")
    skills = dict.fromkeys(item.skill for item in items)
    chosen = {ABILITY: list(range(len(items)))} | {
        f"{ABILITY}/{skill}": [i for i, item in enumerate(items) if item.skill == skill]
        for skill in skills
    }
    return tuple(
        SuiteResult(
            suite=suite,
            model=model,
            item_ids=tuple(items[i].id for i in places),
            clusters=tuple(items[i].id for i in places),
            metrics=tuple(
                mean_of(name, [found[i] for i in places], higher_is_better=True, unit=unit)
                for name, (found, unit) in values.items()
            ),
        )
        for suite, places in chosen.items()
    )


def _num_shared(replies: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all replies begin with; each keeps at least one of its own."""
    shortest = min(map(len, replies))
    shared = 0
    while shared < shortest - 1 and len({reply[shared] for reply in replies}) == 1:
        shared += 1
    return shared


def _sequence(
    item: ProbeItem, number: int, ids: Sequence[int], num_context: int
) -> TokenizedExample:
    return TokenizedExample(
        example_id=f"{item.id}/{number}",
        conversation_id=item.id,
        ids=tuple(ids),
        mask=(0,) * num_context + (1,) * (len(ids) - num_context),
    )
