"""The prompt trained on is the one the user's server sends, by the TEMPLATE of the base."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from fine_tuning.core.conversation import Conversation, Message, ToolCall
from fine_tuning.core.example import Example
from fine_tuning.data_preparation.hf_tokenizer import HfTokenizer
from fine_tuning.data_preparation.masking import ExampleTokenizer
from fine_tuning.runtimes.go_templates.prompts import Thinking, go_template
from fine_tuning.runtimes.ollama_model import ollama_message
from fine_tuning.runtimes.served_prompts import RendererRules, template_prompts
from tests.data_preparation.tiny_tokenizers import byte_level
from tests.runtimes.go_templates.known_templates import KNOWN, SPECIAL, TOOL, TURNS

pytestmark = pytest.mark.real_input("prompt of the user's server")
REPLY = "Sure, here it is."
CASES = [(name, shape) for name, known in KNOWN.items() for shape in known.prompts]
WITH_TOOLS = [name for name, known in KNOWN.items() if "tools" in known.prompts]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> HfTokenizer:
    folder = tmp_path_factory.mktemp("known")
    byte_level(list(SPECIAL)).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return HfTokenizer(folder)


def turns(shape: str) -> tuple[Message, ...]:
    return Conversation.from_turns(TURNS[shape]).messages  # type: ignore[arg-type]


def trained(
    tokenizer: HfTokenizer, name: str, messages: Sequence[Message], shape: str = ""
) -> list[tuple[str, str]]:
    """Return what stands before each reply that is trained on, and that reply as trained on."""
    known = KNOWN[name]
    renderer = template_prompts(known.source, rules=RendererRules("</s>", known.stop))
    recipe = ExampleTokenizer(tokenizer, renderer, max_length=4096)
    targets = tuple(n for n, one in enumerate(messages) if one.role == "assistant")
    tools = (TOOL,) if shape == "tools" else ()
    example = Example(conversation_id="c", messages=tuple(messages), targets=targets, tools=tools)
    done = recipe.tokenize(example)
    assert not done.drops
    said: list[tuple[str, str]] = []
    for one in done.sequences:
        start = 0
        while 1 in one.mask[start:]:
            begin = one.mask.index(1, start)
            end = one.mask.index(0, begin) if 0 in one.mask[begin:] else len(one.mask)
            said.append((tokenizer.decode(one.ids[:begin]), tokenizer.decode(one.ids[begin:end])))
            start = end
    return said


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_the_evaluator_writes_what_the_template_says(name: str, shape: str) -> None:
    template = go_template(KNOWN[name].source)
    thinking = Thinking(is_wanted=True) if "thinking" in template.identifiers else None
    messages = [ollama_message(one) for one in turns(shape)]
    tools = [TOOL] if shape == "tools" else []
    assert template.render(messages, tools=tools, thinking=thinking) == KNOWN[name].prompts[shape]


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_training_puts_the_servers_prompt_before_a_reply(
    tokenizer: HfTokenizer, name: str, shape: str
) -> None:
    known = KNOWN[name]
    reply = Conversation.from_turns([("assistant", REPLY)]).messages[0]
    messages = (*turns(shape), reply)
    said = trained(tokenizer, name, messages, shape)
    lead = said[-1][1].removesuffix(REPLY + known.end)
    assert (said[-1][0] + lead, said[-1][1]) == (known.prompts[shape], lead + REPLY + known.end)
    if shape == "several":
        assert said[0] == (known.prompts["one"], "Hello!" + known.end)


@pytest.mark.parametrize("name", WITH_TOOLS)
def test_a_call_is_trained_on_as_the_template_writes_it(tokenizer: HfTokenizer, name: str) -> None:
    call = ToolCall(id="a1b2c3d4e", name="weather", arguments={"town": "Oslo"})
    messages = (*turns("tools"), Message(id="1", role="assistant", tool_calls=(call,)))
    ((before, said),) = trained(tokenizer, name, messages, "tools")
    prompt = KNOWN[name].prompts["tools"]
    assert before == prompt
    assert "weather" in said
    assert '{"town":"Oslo"}' in said
    assert said.endswith(KNOWN[name].end)
    assert said.count(KNOWN[name].end) == 1
