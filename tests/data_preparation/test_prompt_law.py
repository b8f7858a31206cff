"""The law of prompts, for conversations and templates of many kinds, in every window.

The ids before a reply that is trained on are the ids of its rendered prompt; every reply is trained
on once, or lost by a named reason.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Message, Part, ToolCall
from fine_tuning.core.example import Example
from fine_tuning.data_preparation import masking
from fine_tuning.data_preparation.masking import ExampleTokenizer, Tokenization
from tests.data_preparation import strict_templates as templates
from tests.data_preparation.conftest import Ports, open_folder
from tests.data_preparation.tiny_tokenizers import CHATML, chatml_folder, llama_folder

TEMPLATES = {
    "chatml": CHATML,
    "gemma": templates.GEMMA,
    "alternating": templates.ALTERNATING,
    "opens thought": templates.OPENS_THOUGHT,
    "shows last thought": templates.SHOWS_LAST_THOUGHT,
    "hybrid": templates.HYBRID,
    "shows thoughts": templates.SHOWS_THOUGHTS,
    "tools": templates.TOOLS,
    "short ids": templates.SHORT_IDS,
}
REASONS = {masking.NOTHING_BEFORE, masking.NOT_TEXT, masking.NOT_SHOWN, masking.TOO_LONG}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module", params=[*TEMPLATES, "mistral"])
def ports(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ports:
    folder = tmp_path_factory.mktemp(request.param.replace(" ", "-"))
    if request.param == "mistral":
        return open_folder(llama_folder(folder))
    return open_folder(chatml_folder(folder, TEMPLATES[request.param]))


KINDS = ["system", "developer", "user", "user", "user", "assistant", "assistant", "picture", "tool",
         "thought", "empty system", "untrained"]  # fmt: skip
FILLER = st.sampled_from(["", " and more", " é🙂 日本", " <|im_end|> </s>", " word" * 30, "\n\n"])


def message(number: int, kind: str, filler: str) -> list[tuple[Message, bool]]:
    """The messages of one kind, each with whether it is to be trained on."""
    text = (Part(text=f"R{number}.{filler}"),)
    name = str(number)
    if kind == "picture":
        parts = (*text, Part(type="image_url", data={"url": "x"}))
        return [(Message(id=name, role="user", content=parts), False)]
    if kind == "tool":
        call = ToolCall(id=f"call_{number}", name="f", arguments={"x": number})
        return [
            (Message(id=name, role="assistant", tool_calls=(call,)), False),
            (Message(id=f"{name}t", role="tool", content=text, tool_call_id=call.id), False),
        ]
    if kind == "empty system":
        return [(Message(id=name, role="system", content=(Part(text=" "),)), False)]
    role = "assistant" if kind in {"thought", "untrained"} else kind
    thought = f"T{number}" if kind == "thought" else ""
    is_target = role == "assistant" and kind != "untrained"
    return [(Message(id=name, role=role, content=text, reasoning=thought), is_target)]  # type: ignore[arg-type]


@st.composite
def examples(draw: st.DrawFn) -> Example:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    made = [
        pair for n, kind in enumerate([*kinds, "user", "assistant"])
        for pair in message(n, kind, draw(FILLER))
    ]  # fmt: skip
    return Example(
        conversation_id="c",
        messages=tuple(one for one, _ in made),
        targets=tuple(place for place, (_, is_target) in enumerate(made) if is_target),
        tools=(TOOL,) if draw(st.booleans()) else (),
    )


def trained(done: Tokenization, recipe: ExampleTokenizer) -> list[str]:
    """The texts trained on; each stands behind the ids of its prompt as the server renders it."""
    texts = []
    for sequence, example in zip(done.sequences, done.examples, strict=True):
        assert sequence.example_id == example.id
        num_trained = 0
        starts = []
        for target in example.targets:
            prompt = recipe.renderer.render(
                example.messages[:target], add_generation_prompt=True, tools=example.tools
            )
            ids = recipe.tokenizer.encode(prompt, add_special=True, parse_special=True)
            assert list(sequence.ids[: len(ids)]) == ids
            starts.append(len(ids))
        for start, stop in zip(starts, [*starts[1:], len(sequence.ids)], strict=True):
            end = sequence.mask.index(0, start, stop) if 0 in sequence.mask[start:stop] else stop
            assert end > start
            assert not any(sequence.mask[end:stop])
            texts.append(recipe.tokenizer.decode(sequence.ids[start:end]))
            num_trained += end - start
        assert num_trained == sequence.num_targets
    return texts


@settings(max_examples=50)
@given(example=examples(), max_length=st.sampled_from([60, 150, 400, 4096]))
def test_every_reply_is_trained_on_once_behind_its_own_prompt_or_lost_by_name(
    ports: Ports, example: Example, max_length: int
) -> None:
    recipe = ExampleTokenizer(ports.tokenizer, ports.renderer, max_length=max_length)
    done = recipe.tokenize(example)
    texts = trained(done, recipe)
    assert all(len(sequence.ids) <= max_length for sequence in done.sequences)
    assert {drop.reason for drop in done.drops} <= REASONS
    num_lost = sum(drop.num_targets for drop in done.drops)
    wanted = [example.messages[target].text.partition(".")[0] + "." for target in example.targets]
    count = {name: sum(name in text for text in texts) for name in wanted}
    assert max(count.values()) <= 1  # windows overlap in context only
    # A reply that is cut may lose even its name, and replies in a row may be lost as one.
    roles = [one.role for one in example.messages]
    behind = zip(example.targets, example.targets[1:], strict=False)
    num_in_a_row = sum("user" not in roles[one:other] for one, other in behind)
    assert sum(count.values()) + num_lost + done.num_cut + num_in_a_row >= len(wanted)
    if max_length == 4096:
        assert sum(count.values()) + num_lost == len(wanted)
        assert done.num_cut == 0
