from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.ports import Tokenizer
from fine_tuning.data_preparation.chat_template import ChatTemplate
from fine_tuning.data_preparation.formatter import examples_from
from fine_tuning.data_preparation.hf_tokenizer import HfRenderer, HfTokenizer
from fine_tuning.data_preparation.incremental_prompts import (
    MAX_FAILURES,
    ConversationPrompts,
    IncrementalPrompts,
)
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.data_preparation.tokenizer import TokenizerUtils
from tests.data_preparation.conftest import Ports, open_folder
from tests.data_preparation.tiny_tokenizers import (
    CHATML,
    chatml_folder,
    dialogpt_folder,
    llama_folder,
)

SYSTEM_LAST = (  # as Mistral's newer templates: the system message stands in the last question
    "{% for m in messages %}{% if m.role != 'system' %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and messages[0].role == 'system' %}{{ messages[0].content }}\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.index0 + 4 < messages | length %}...{% else %}{{ m.content }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FOLDERS: dict[str, Callable[[Path], Path]] = {
    "dialogpt": dialogpt_folder,
    "chatml": chatml_folder,
    "llama": llama_folder,
    "text end": lambda folder: chatml_folder(folder, CHATML.replace("<|im_end|>", "<end>")),
    "system last": lambda folder: chatml_folder(folder, SYSTEM_LAST),
    "forgets": lambda folder: chatml_folder(folder, FORGETS),
}
GROWS = {"dialogpt", "chatml", "llama", "system last", "embedded"}

pieces = [*"ab é🙂\n1 .", "<|im_end|>", "<|im_start|>", "</s>", "<|im_", "[INST]", "</think>"]
words = st.lists(st.sampled_from(pieces), max_size=6).map("".join)
openings = st.sampled_from([(), ("system",), ("assistant",), ("user", "user"), ("user", "tool")])


@pytest.fixture(scope="module", params=[*FOLDERS, "embedded"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Ports]:
    if request.param == "embedded":
        utils: TokenizerUtils = request.getfixturevalue("embedded")
        return "embedded", Ports(utils.tokenizer, utils.renderer)
    return request.param, open_folder(
        FOLDERS[request.param](tmp_path_factory.mktemp(request.param.replace(" ", "-")))
    )


def spoken(roles: Sequence[str], texts: Sequence[str]) -> tuple[Message, ...]:
    return tuple(
        Message(id=str(n), role=role, content=(Part(text=text),))  # type: ignore[arg-type]
        for n, (role, text) in enumerate(zip(roles, texts, strict=True))
    )


def outcome(of: Callable[[], tuple[list[int], list[int]]]) -> object:
    try:
        return of()
    except Exception as error:  # noqa: BLE001 - which error it is, is compared
        return type(error), str(error)


@settings(max_examples=40)
@given(
    opening=openings, num_exchanges=st.integers(1, 9), data=st.data(), max_length=st.integers(2, 60)
)
def test_put_together_prompts_are_those_that_are_made_whole(
    model: tuple[str, Ports],
    opening: tuple[str, ...],
    num_exchanges: int,
    data: st.DataObject,
    max_length: int,
) -> None:
    _, ports = model
    roles = [*opening, *("user", "assistant") * num_exchanges]
    texts = data.draw(st.lists(words, min_size=len(roles), max_size=len(roles)))
    messages = spoken(roles, texts)
    replies = [place for place, role in enumerate(roles) if role == "assistant"]
    targets = sorted(data.draw(st.sets(st.sampled_from(replies), min_size=1)))
    turns = ChatTemplate(ports.tokenizer, ports.renderer)
    prompts = ConversationPrompts(IncrementalPrompts(turns), messages, targets, max_length)
    for place, target in enumerate(targets):
        whole = outcome(lambda target=target: turns.prompt_and_reply(messages, target))
        assert outcome(lambda place=place: prompts.at(place)) == whole


def test_plain_chats_are_put_together_and_others_made_whole(model: tuple[str, Ports]) -> None:
    name, ports = model
    prompts = IncrementalPrompts(ChatTemplate(ports.tokenizer, ports.renderer))
    assert (prompts.frame is None) == (name == "text end")
    texts = [f"Question or answer {n}?" for n in range(20)]
    messages = spoken(("user", "assistant") * 10, texts)
    grown = prompts.extend(messages, range(1, 20, 2), max_chars=10_000)
    assert (grown is not None) == (name in GROWS)
    if name == "system last":
        told = spoken(("system", *("user", "assistant") * 10), ["Be brief.", *texts])
        assert prompts.extend(told, range(2, 21, 2), max_chars=10_000) is None


def test_a_template_that_never_passes_is_not_tried_again(tmp_path: Path) -> None:
    ports = open_folder(chatml_folder(tmp_path, FORGETS))
    prompts = IncrementalPrompts(ChatTemplate(ports.tokenizer, ports.renderer))
    messages = spoken(("user", "assistant") * 6, [str(n) for n in range(12)])
    for _ in range(MAX_FAILURES):
        assert prompts.frame is not None
        assert prompts.extend(messages, range(1, 12, 2), max_chars=10_000) is None
    assert prompts.frame is None


class Counting:
    """A tokenizer that counts the characters it was given."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.num_chars = 0

    @property
    def fingerprint(self) -> str:
        return self._tokenizer.fingerprint

    def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        self.num_chars += len(text)
        return self._tokenizer.encode(text, add_special=add_special, parse_special=parse_special)

    def encode_many(self, texts: Sequence[str], *, parse_special: bool) -> list[list[int]]:
        self.num_chars += sum(map(len, texts))
        return self._tokenizer.encode_many(texts, parse_special=parse_special)

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)


@pytest.mark.parametrize("truncation", ["cut", "drop"])
@pytest.mark.parametrize("max_length", [512, 100_000])
def test_work_grows_with_the_conversation_and_stops_at_max_length(
    tmp_path: Path, max_length: int, truncation: str
) -> None:
    tokenizer = HfTokenizer(chatml_folder(tmp_path))
    counting = Counting(tokenizer)
    recipe = ExampleTokenizer(
        counting, HfRenderer(tokenizer), max_length=max_length, truncation=truncation
    )
    spent = []
    for num_exchanges in (100, 400):
        turns = [("user", "And who approves it?"), ("assistant", "Your manager.")] * num_exchanges
        (example,) = examples_from([Conversation.from_turns(turns)])  # type: ignore[arg-type]
        before = counting.num_chars
        done = recipe.tokenize(example)
        assert done.sequences
        spent.append(counting.num_chars - before)
    # Made whole, four times as many exchanges cost sixteen times as much.
    assert spent[1] < (5 if max_length > 512 else 1.5) * spent[0]
    assert spent[0] < 60_000


def test_the_window_of_the_newest_exchanges_is_that_of_a_search_from_the_start(
    chatml: Ports,
) -> None:
    texts = [("Hello " * (1 + n * 7 % 5)) + str(n) for n in range(40)]
    messages = spoken(("system", *("user", "assistant") * 20), ["Be brief.", *texts])
    turns = ChatTemplate(chatml.tokenizer, chatml.renderer)
    targets = range(2, 41, 2)
    prompts = ConversationPrompts(IncrementalPrompts(turns), messages, targets, 120)

    def searched(target: int) -> tuple[list[int], list[int]]:
        whole = turns.prompt_and_reply(messages, target)
        for start in (0, *range(2, target)):
            rest = messages if not start else (messages[0], *messages[start : target + 1])
            if start and messages[start].role != "user":
                continue
            last = target if not start else len(rest) - 1
            prompt, reply = turns.prompt_and_reply(rest, last)
            if len(prompt) + len(reply) <= 120:
                return prompt, reply
        return whole

    for place, target in enumerate(targets):
        assert prompts.fitting(place) == searched(target)


def test_an_end_of_turn_that_swallows_what_stands_before_it_is_found_out(tmp_path: Path) -> None:
    folder = chatml_folder(tmp_path)
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    for token in raw["added_tokens"]:
        token["lstrip"] = token["content"] == "<|im_end|>"
    path.write_text(json.dumps(raw))
    ports = open_folder(folder)
    turns = ChatTemplate(ports.tokenizer, ports.renderer)
    texts = [f"Number {n} " for n in range(12)]
    messages = spoken(("user", "assistant") * 6, texts)
    targets = range(1, 12, 2)
    assert IncrementalPrompts(turns).extend(messages, targets, max_chars=10_000) is None
    prompts = ConversationPrompts(IncrementalPrompts(turns), messages, targets, 4096)
    for place, target in enumerate(targets):
        assert prompts.at(place) == turns.prompt_and_reply(messages, target)
