"""What a deployed model is asked to prove it: prompts it has not learnt, as far as there are any.

Knows no server and no engine: whether a prompt can be read is asked of the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from fine_tuning.core.conversation import Message, Part
from fine_tuning.data_preparation.snapshot import Snapshot
from fine_tuning.evaluation.probes import read_probe_items
from fine_tuning.model_management.proof import MIN_PROMPTS

Prompt = tuple[Message, ...]
HELD_OUT, ASKED, BUILT_IN, LEARNT = (
    "held out",
    "of evaluation.test_prompts",
    "of the built-in set",
    "learnt from",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPrompts:
    """Prompts, and how many are of each kind; kinds without a prompt are left out."""

    prompts: tuple[Prompt, ...]
    counts: dict[str, int]

    @property
    def sentence(self) -> str:
        """How many there are, and of which kind."""
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.counts.items())
        return f"{len(self.prompts)} prompts: {kinds}"


def choose_prompts(
    snapshot: Snapshot,
    questions: Sequence[str],
    is_readable: Callable[[Sequence[Message]], bool],
    *,
    count: int = MIN_PROMPTS,
) -> ProofPrompts:
    """Choose conversations that end before a reply, those not learnt from first.

    Those of the test split come first, then of the validation split, then the questions, then the
    built-in tasks of general ability, of each skill in turn; a prompt that is also in the training
    split counts as learnt. Learnt ones fill up only what is left then.

    Args:
        snapshot: The data set the model was trained on.
        questions: What the settings ask both models.
        is_readable: Whether the model can be asked it.
        count: How many are wanted.

    Returns:
        At most ``count`` prompts, and how many are of each kind.
    """
    learnt = {_key(prompt) for prompt in _prompts(snapshot, "train")}
    kinds: dict[str, Iterable[Prompt]] = {
        HELD_OUT: (p for split in ("test", "validation") for p in _prompts(snapshot, split)),
        ASKED: map(_question, questions),
        BUILT_IN: _built_in(),
        LEARNT: _prompts(snapshot, "train"),
    }
    by_key: dict[str, tuple[str, Prompt]] = {}
    for kind, prompts in kinds.items():
        for prompt in prompts:
            if len(by_key) == count:
                break
            key = _key(prompt)
            if key in by_key or (key in learnt and kind != LEARNT):
                continue
            if any(message.role == "user" for message in prompt) and is_readable(prompt):
                by_key[key] = (kind, prompt)
    chosen = list(by_key.values())
    counts = {kind: sum(of == kind for of, _ in chosen) for kind in kinds}
    return ProofPrompts(
        prompts=tuple(prompt for _, prompt in chosen),
        counts={kind: number for kind, number in counts.items() if number},
    )


def has_tools(snapshot: Snapshot) -> bool:
    """Tell whether conversations with tools were learnt from."""
    return any(
        message.tool_calls or message.role == "tool"
        for example in snapshot.split("train").sources
        for message in example.messages
    )


def _prompts(snapshot: Snapshot, split: str) -> Iterator[Prompt]:
    for example in snapshot.split(split).sources:
        if example.targets and example.targets[0]:
            yield example.messages[: example.targets[0]]


def _built_in() -> Iterator[Prompt]:
    """Yield the tasks of general ability, one of each skill after the other."""
    skills: dict[str, list[Prompt]] = {}
    for item in read_probe_items():
        skills.setdefault(item.skill, []).append(item.messages())
    for row in zip_longest(*skills.values()):
        yield from (prompt for prompt in row if prompt)


def _question(text: str) -> Prompt:
    return (Message(id="0", role="user", content=(Part(text=text),)),)


def _key(prompt: Prompt) -> str:
    return "\0".join(f"{message.role}:{message.text}" for message in prompt)
