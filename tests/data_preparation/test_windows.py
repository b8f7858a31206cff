"""Conversations longer than a sequence: windows that overlap in context only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.example import Example
from fine_tuning.core.ports import Tokenizer
from fine_tuning.data_preparation import masking
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.hf_tokenizer import HfRenderer, HfTokenizer
from fine_tuning.data_preparation.masking import ExampleTokenizer, show_mask
from tests.data_preparation import strict_templates as templates
from tests.data_preparation.conftest import Ports
from tests.data_preparation.tiny_tokenizers import CHATML, chatml_folder

MAX_LENGTH = 256
SYSTEM = "You are a calm assistant."


def session(num_exchanges: int, *, words: int = 6) -> Example:
    turns = [("system", SYSTEM)]
    for n in range(num_exchanges):
        turns += [("user", f"Q{n} " + "word " * words), ("assistant", f"A{n}." + " more" * words)]
    (example,) = examples_from([Conversation.from_turns(turns)])  # type: ignore[arg-type]
    return example


class Counting:
    """A tokenizer that counts the tokens it gave."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.fingerprint = tokenizer.fingerprint
        self.num_tokens = 0

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        ids = self._tokenizer.encode(text, add_special=add_special, parse_special=parse_special)
        self.num_tokens += len(ids)
        return ids

    def encode_many(self, texts: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        found = self._tokenizer.encode_many(texts, parse_special=parse_special)
        self.num_tokens += sum(map(len, found))
        return found

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)


def test_every_reply_of_a_long_session_is_trained_on_once(chatml: Ports) -> None:
    example = session(60)
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=MAX_LENGTH)
    done = recipe.tokenize(example)
    assert done.drops == ()
    assert done.num_cut == 0
    assert all(len(one.ids) <= MAX_LENGTH for one in done.sequences)
    masks = [show_mask(one, chatml.tokenizer, ansi=False) for one in done.sequences]
    learnt = [part.partition(".")[0] for mask in masks for part in mask.split("[[")[1:]]
    assert learnt == [f"A{n}" for n in range(60)]
    for mask in masks:
        assert mask.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nQ")
    for one, part in zip(done.sequences[1:], done.examples[1:], strict=True):
        context = one.mask.index(1)
        assert 0 < context <= MAX_LENGTH // 2
        assert one.num_targets > MAX_LENGTH // 8
        assert part.messages[1].role == "user"
        assert part.targets[0] > 2  # earlier exchanges are its context


def test_a_conversation_that_fits_stays_one_sequence(chatml: Ports) -> None:
    example = session(3)
    windows, cut = (
        ExampleTokenizer(
            chatml.tokenizer, chatml.renderer, max_length=MAX_LENGTH, truncation=truncation
        ).tokenize(example)
        for truncation in ("windows", "cut")
    )
    assert windows == cut
    assert windows.examples == (example,)


@pytest.mark.parametrize(
    ("template", "times"), [(CHATML, 7), (templates.GEMMA, 7), (templates.OPENS_THOUGHT, 16)]
)
def test_work_grows_with_the_length_of_the_session(
    tmp_path: Path, template: str, times: int
) -> None:
    tokenizer = HfTokenizer(chatml_folder(tmp_path, template))
    counting = Counting(tokenizer)
    recipe = ExampleTokenizer(counting, HfRenderer(tokenizer), max_length=2048)
    spent = []
    for num_exchanges in (250, 1000):
        example = session(num_exchanges)
        whole = HfRenderer(tokenizer).render(example.messages[1:], add_generation_prompt=False)
        length = len(tokenizer.encode(whole, add_special=True, parse_special=True))
        before = counting.num_tokens
        done = recipe.tokenize(example)
        assert sum(len(part.targets) for part in done.examples) == num_exchanges
        spent.append(counting.num_tokens - before)
        assert spent[-1] < times * length
    assert spent[1] < 4.5 * spent[0]


def test_a_reply_that_does_not_fit_by_itself_is_cut_and_its_neighbours_are_whole(
    chatml: Ports,
) -> None:
    long = Message(id="long", role="assistant", content=(Part(text="Long." + " word" * 400),))
    turns = [*session(9).messages]
    turns[8] = long
    targets = tuple(n for n, one in enumerate(turns) if one.role == "assistant")
    example = Example(conversation_id="c", messages=tuple(turns), targets=targets)
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=MAX_LENGTH)
    done = recipe.tokenize(example)
    assert done.drops == ()
    assert done.num_cut == 1
    cut = [one for one in done.sequences if one.ids[-1] != recipe.end_ids[-1]]
    assert [len(one.ids) for one in cut] == [MAX_LENGTH]
    assert chatml.tokenizer.decode(cut[0].ids).count("Q") == 1
    masks = [show_mask(one, chatml.tokenizer, ansi=False) for one in done.sequences]
    learnt = [part.partition(".")[0] for mask in masks for part in mask.split("[[")[1:]]
    assert learnt == ["A0", "A1", "A2", "Long", "A4", "A5", "A6", "A7", "A8"]


def test_a_question_that_leaves_no_room_costs_its_own_reply(chatml: Ports) -> None:
    turns = [*session(5).messages]
    turns[5] = Message(id="q", role="user", content=(Part(text="word " * 400),))
    example = Example(conversation_id="c", messages=tuple(turns), targets=(2, 4, 6, 8, 10))
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=MAX_LENGTH)
    done = recipe.tokenize(example)
    assert [(drop.reason, drop.num_targets) for drop in done.drops] == [(masking.TOO_LONG, 1)]
    assert sum(len(part.targets) for part in done.examples) == 4


@settings(max_examples=40)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), min_size=1, max_size=25),
    max_length=st.integers(64, 300),
)
def test_windows_overlap_in_context_only(
    chatml: Ports, sizes: list[tuple[int, int]], max_length: int
) -> None:
    turns = [
        turn
        for n, (asked, said) in enumerate(sizes)
        for turn in (("user", "q" + " word" * asked), ("assistant", f"A{n}:" + " more" * said))
    ]
    (example,) = examples_from([Conversation.from_turns(turns)])  # type: ignore[arg-type]
    recipe = ExampleTokenizer(chatml.tokenizer, chatml.renderer, max_length=max_length)
    done = recipe.tokenize(example)
    assert all(len(one.ids) <= max_length for one in done.sequences)
    masks = [show_mask(one, chatml.tokenizer, ansi=False) for one in done.sequences]
    learnt = [part.partition(":")[0] for mask in masks for part in mask.split("[[")[1:]]
    assert len(learnt) == len(set(learnt))
    assert len(learnt) + sum(drop.num_targets for drop in done.drops) == len(sizes)
