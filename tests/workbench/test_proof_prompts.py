"""Which prompts a deployed model is asked: what it has not learnt, and how many of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fine_tuning.core.conversation import Conversation, Message, Role
from fine_tuning.model_management.proof import MIN_PROMPTS, conversation_shapes
from fine_tuning.workbench.models.proof_prompts import ProofPrompts, choose_prompts, has_tools
from fine_tuning.workbench.workbench import Workbench
from tests.workbench.trained import Chat, write_chats, write_trained


def chat(question: str, *before: tuple[Role, str]) -> Chat:
    turns = [*before, ("user", question), ("assistant", "Yes.")]
    return Conversation.from_turns(turns).messages  # type: ignore[arg-type]


def chats(split: str, count: int) -> list[Chat]:
    return [chat(f"{split} question {number}?") for number in range(count)]


def choose(
    folder: Path, questions: Sequence[str] = (), longest: int = 10**6, **splits: int
) -> ProofPrompts:
    data = write_chats(folder, {split: chats(split, count) for split, count in splits.items()})
    return choose_prompts(
        data, questions, lambda prompt: sum(len(message.text) for message in prompt) <= longest
    )


@pytest.mark.parametrize(
    ("splits", "questions", "counts"),
    [
        ({"test": 20}, ["A?"], {"held out": 16}),
        ({"test": 2, "validation": 1, "train": 50}, [], {
            "held out": 3, "of the built-in set": 13}),
        ({"test": 3, "train": 9}, ["A?", "B?"], {
            "held out": 3, "of evaluation.test_prompts": 2, "of the built-in set": 11}),
        ({"train": 1}, [], {"of the built-in set": 16}),
        ({}, [], {"of the built-in set": 16}),
        ({"train": 1}, ["train question 0?", "A?"], {
            "of evaluation.test_prompts": 1, "of the built-in set": 15}),
    ],
)  # fmt: skip
def test_what_was_not_learnt_comes_first(
    tmp_path: Path, splits: dict[str, int], questions: list[str], counts: dict[str, int]
) -> None:
    chosen = choose(tmp_path, questions, **splits)
    assert chosen.counts == counts
    assert len(chosen.prompts) == MIN_PROMPTS == sum(counts.values())
    assert len({prompt[-1].text for prompt in chosen.prompts}) == MIN_PROMPTS
    assert not any(prompt[-1].text.startswith("train") for prompt in chosen.prompts)
    assert conversation_shapes(chosen.prompts)


def test_the_sentence_says_how_many_of_each(tmp_path: Path) -> None:
    chosen = choose(tmp_path, test=3, train=9)
    assert chosen.sentence == "16 prompts: 3 held out, 13 of the built-in set"


def test_the_built_in_set_brings_every_skill(tmp_path: Path) -> None:
    asked = {prompt[0].id.rpartition("-")[0] for prompt in choose(tmp_path).prompts}
    assert len(asked) > 3


def test_learnt_prompts_come_last(tmp_path: Path) -> None:
    """The built-in tasks are longer than these."""
    chosen = choose(tmp_path, longest=len("train question 11?"), train=20)
    assert chosen.counts["learnt from"] + chosen.counts.get("of the built-in set", 0) == MIN_PROMPTS
    assert [p[-1].text[:5] for p in chosen.prompts].index("train") == chosen.counts.get(
        "of the built-in set", 0
    )


def test_what_nobody_can_be_asked_is_left_out(tmp_path: Path) -> None:
    greeting = Conversation.from_turns([("system", "Be brief."), ("assistant", "Hello!")]).messages
    long = chat("word " * 100)
    data = write_chats(tmp_path, {"test": [greeting, long, chat("Is it?", ("system", "Hm."))]})

    def is_short(prompt: Sequence[Message]) -> bool:
        return len(prompt[-1].text) < 200

    chosen = choose_prompts(data, (), is_short)
    assert chosen.counts == {"held out": 1, "of the built-in set": 15}
    assert [message.role for message in chosen.prompts[0]] == ["system", "user"]


def test_tools_are_seen_where_they_were_learnt(tmp_path: Path) -> None:
    tool = Message(id="t", role="tool", content=chat("A?")[-1].content)
    calling: Chat = (*chat("A?")[:1], tool, *chat("A?")[1:])
    assert has_tools(write_chats(tmp_path / "a", {"train": [chat("B?"), calling]}))
    assert not has_tools(write_chats(tmp_path / "b", {"train": [chat("B?")], "test": [calling]}))


def test_a_run_on_a_handful_of_chats_is_deployed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    trained = write_trained(tmp_path)
    trained.add_run(chats={"train": chats("train", 4), "test": chats("test", 2)})
    bench = trained.bench()
    no_questions = bench.context.settings.evaluation.model_copy(update={"test_prompts": ()})
    settings = bench.context.settings.model_copy(update={"evaluation": no_questions})
    done = Workbench(settings, bench.context.workspace).models.deployment.deploy(switch=False)
    (output,) = [part for part in done.deployed.proof["parts"] if part["name"] == "output"]
    assert "over 16 prompts: 2 held out, 14 of the built-in set" in output["sentence"]
    assert output["figures"]["prompts"] == "16 prompts: 2 held out, 14 of the built-in set"
