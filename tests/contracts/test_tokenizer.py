"""The laws of the ports ``Tokenizer`` and ``PromptRenderer``, run against every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Conversation
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import PromptRenderer, Tokenizer
from fine_tuning.data_preparation.hf_tokenizer import HfRenderer, HfTokenizer
from fine_tuning.runtimes.base_model import resolve_base_model
from fine_tuning.runtimes.embedded import CHATML_TEMPLATE, EmbeddedServer
from tests.data_preparation.tiny_tokenizers import chatml_folder, dialogpt_folder, llama_folder

FOLDERS = {"dialogpt": dialogpt_folder, "chatml": chatml_folder, "llama": llama_folder}

# U+2581 is SentencePiece's own space: texts with it come back with spaces, by design. SmolLM2's
# vocabulary lacks the bytes of eight control characters and of the unassigned planes.
texts = st.text(
    st.characters(
        exclude_categories=["Cs", "Cn", "Co", "Cc"],
        include_characters="\t\n\r",
        exclude_characters="▁",
    ),
    max_size=40,
)


@dataclass
class Model:
    tokenizer: Tokenizer
    renderer: PromptRenderer
    special: str
    bos: str
    end: str


@pytest.fixture(scope="module", params=[*FOLDERS, "embedded"])
def model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    if request.param == "embedded":
        with EmbeddedServer(resolve_base_model("embedded").path, context_tokens=256) as server:
            yield Model(server.tokenizer, server.renderer, "<|im_end|>", "", "<|im_end|>\n")
        return
    tokenizer = HfTokenizer(FOLDERS[request.param](tmp_path_factory.mktemp(request.param)))
    special = {"dialogpt": "<|endoftext|>", "chatml": "<|im_end|>", "llama": "</s>"}[request.param]
    yield Model(
        tokenizer,
        HfRenderer(tokenizer),
        special,
        bos="<s>" if request.param == "llama" else "",
        end={"chatml": "<|im_end|>\n"}.get(request.param, special),
    )


@settings(max_examples=60)
@given(text=texts)
def test_decoding_what_was_encoded_gives_the_text(model: Model, text: str) -> None:
    ids = model.tokenizer.encode(text, add_special=False, parse_special=False)
    assert model.tokenizer.decode(ids) == text


@settings(max_examples=30)
@given(many=st.lists(texts, max_size=5), parse_special=st.booleans())
def test_many_texts_are_encoded_each_by_itself(
    model: Model, many: list[str], parse_special: bool
) -> None:
    said = [*many, "", f"a{model.special}b"]
    assert model.tokenizer.encode_many(said, parse_special=parse_special) == [
        model.tokenizer.encode(text, add_special=False, parse_special=parse_special)
        for text in said
    ]
    assert model.tokenizer.encode_many([], parse_special=parse_special) == []


def test_long_text_is_neither_cut_nor_padded(model: Model) -> None:
    text = "Ask your manager. " * 200
    assert (
        model.tokenizer.decode(model.tokenizer.encode(text, add_special=False, parse_special=True))
        == text
    )
    assert len(model.tokenizer.encode("a", add_special=False, parse_special=False)) == 1


def test_special_text_is_one_token_only_when_parsed(model: Model) -> None:
    (special,) = model.tokenizer.encode(model.special, add_special=False, parse_special=True)
    text = f"a {model.special} b"
    parsed = model.tokenizer.encode(text, add_special=False, parse_special=True)
    plain = model.tokenizer.encode(text, add_special=False, parse_special=False)
    assert special in parsed
    assert special not in plain
    assert len(plain) > len(parsed)
    assert model.tokenizer.decode(plain) == text


def test_add_special_adds_the_beginning_of_sequence_and_nothing_else(model: Model) -> None:
    plain = model.tokenizer.encode("Hello there", add_special=False, parse_special=True)
    whole = model.tokenizer.encode("Hello there", add_special=True, parse_special=True)
    added = model.tokenizer.encode(model.bos, add_special=False, parse_special=True)
    assert len(added) == bool(model.bos)
    assert whole == [*added, *plain]


def test_half_a_surrogate_pair_is_one_clear_error(model: Model) -> None:
    with pytest.raises(DataError, match="udc00"):
        model.tokenizer.encode("a\udc00", add_special=False, parse_special=False)


def test_a_prompt_the_reply_and_the_end_of_turn_begin_the_next_prompt(model: Model) -> None:
    turns = ["Hello there", "I am fine", "What is AI?", "A model", "And you?"]
    roles = ["user", "assistant"] * 3
    conversation = Conversation.from_turns(zip(roles, turns, strict=False))  # type: ignore[arg-type]
    messages = conversation.messages
    for k in (1, 3):
        prompt = model.renderer.render(messages[:k], add_generation_prompt=True)
        longer = model.renderer.render(messages[: k + 2], add_generation_prompt=True)
        assert longer.startswith(prompt)
        assert longer[len(prompt) :].lstrip(" ").startswith(turns[k] + model.end)
        assert not (model.bos and longer.startswith(model.bos))


def test_rendering_nothing_is_refused(model: Model) -> None:
    with pytest.raises(DataError, match="no message"):
        model.renderer.render([], add_generation_prompt=True)


def test_fingerprints_are_stable_and_tell_models_apart(tmp_path: Path) -> None:
    prints = []
    for name in (*FOLDERS, *FOLDERS):
        tokenizer = HfTokenizer(FOLDERS[name](tmp_path / name))
        prints.append((tokenizer.fingerprint, HfRenderer(tokenizer).fingerprint))
    assert prints[:3] == prints[3:]
    assert len({tokens for tokens, _ in prints}) == len(FOLDERS)
    assert len({template for _, template in prints}) == len(FOLDERS)


def test_the_embedded_fingerprint_of_the_template_follows_the_template() -> None:
    path = resolve_base_model("embedded").path
    with EmbeddedServer(path, context_tokens=256) as own:
        first = (own.tokenizer.fingerprint, own.renderer.fingerprint)
    with EmbeddedServer(path, context_tokens=256, chat_template=CHATML_TEMPLATE) as other:
        second = (other.tokenizer.fingerprint, other.renderer.fingerprint)
    assert first[0] == second[0]
    assert first[1] != second[1]
