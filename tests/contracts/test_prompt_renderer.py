"""The laws of the port ``PromptRenderer``, run against every implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tuning.core.conversation import Message, Part, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.ports import ChatModel, PromptRenderer, Sampling, Tokenizer
from fine_tuning.runtimes.embedded import CHATML_TEMPLATE, EmbeddedServer
from tests.runtimes.models import ask, messages, model_path

STRICT = """{%- for m in messages -%}
{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('roles must alternate') }}
{%- endif -%}
[{{ m['role'] }}]{{ m['content'] }}
{%- endfor -%}
{%- if add_generation_prompt -%}[assistant]{%- endif -%}"""


@dataclass(frozen=True)
class Case:
    """A renderer with the model that serves its prompts, and one with other rules."""

    renderer: PromptRenderer
    tokenizer: Tokenizer
    chat: ChatModel
    other: PromptRenderer
    strict: PromptRenderer


def embedded() -> Iterator[Case]:
    settings = {"context_tokens": 512, "threads": 1}
    with (
        EmbeddedServer(model_path(), **settings) as server,
        EmbeddedServer(model_path(), chat_template=CHATML_TEMPLATE, **settings) as other,
        EmbeddedServer(model_path(), chat_template=STRICT, **settings) as strict,
    ):
        yield Case(
            server.renderer, server.tokenizer, server.chat_model, other.renderer, strict.renderer
        )


@pytest.fixture(scope="module", params=[embedded])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    opener: Callable[[], Iterator[Case]] = request.param
    yield from opener()


words = st.text(st.characters(codec="utf-8", exclude_categories=("Cn", "Co", "Cs", "Cc")),
                min_size=1, max_size=20).map(str.strip).filter(bool)  # fmt: skip


def test_every_text_is_in_the_prompt_in_order(case: Case) -> None:
    turns = messages(
        ("system", "Sei höflich."), ("user", "Grüße"), ("assistant", "日本"), ("user", "{{ x }}")
    )
    prompt = case.renderer.render(turns, add_generation_prompt=True)
    places = [prompt.index(message.text) for message in turns]
    assert places == sorted(places)
    assert case.renderer.render(turns, add_generation_prompt=True) == prompt


@given(words, words, words)
@settings(max_examples=25)
def test_a_prompt_with_its_reply_begins_the_next_prompt(
    case: Case, question: str, answer: str, more: str
) -> None:
    first = messages(("user", question))
    prompt = case.renderer.render(first, add_generation_prompt=True)
    told = messages(("user", question), ("assistant", answer))
    with_reply = case.renderer.render(told, add_generation_prompt=False)
    assert with_reply.startswith(prompt + answer)
    end_of_turn = with_reply.removeprefix(prompt + answer)
    assert end_of_turn
    later = case.renderer.render(
        messages(("user", question), ("assistant", answer), ("user", more)),
        add_generation_prompt=True,
    )
    assert later.startswith(with_reply)
    assert more in later.removeprefix(with_reply)


def test_the_reply_ends_with_the_token_that_ends_serving(case: Case) -> None:
    turns = ask("Say hello.")
    prompt = case.renderer.render(turns, add_generation_prompt=True)
    served = "".join(case.chat.reply(turns, Sampling(max_tokens=200)))
    told = (*turns, Message(id="r", role="assistant", content=(Part(text=served),)))
    suffix = case.renderer.render(told, add_generation_prompt=False).removeprefix(prompt + served)
    ids = case.tokenizer.encode(suffix, add_special=False, parse_special=True)
    plain = case.tokenizer.encode(suffix, add_special=False, parse_special=False)
    assert ids[0] not in plain
    assert case.tokenizer.decode(ids[:1]) in suffix


def test_without_a_generation_prompt_nothing_follows_the_last_turn(case: Case) -> None:
    bare = case.renderer.render(ask("Hi"), add_generation_prompt=False)
    with_prompt = case.renderer.render(ask("Hi"), add_generation_prompt=True)
    assert with_prompt.startswith(bare)
    assert "assistant" in with_prompt.removeprefix(bare)


def test_parts_and_tools_are_rendered_or_refused_never_fatal(case: Case) -> None:
    parts = Message(id="u", role="user", content=(Part(text="one"), Part(text="two")))
    call = ToolCall(id="c", name="weather", arguments={"city": "Łódź", "days": 2})
    turns = [
        parts,
        Message(id="a", role="assistant", tool_calls=(call,), parent_id="u"),
        Message(id="t", role="tool", content=(Part(text="drizzle"),), tool_call_id="c"),
    ]
    prompt = case.renderer.render(turns, add_generation_prompt=True)
    assert prompt.index("one") < prompt.index("two") < prompt.index("drizzle")
    picture = Message(id="p", role="user", content=(Part(type="image_url", data={"url": "x"}),))
    with pytest.raises(DataError):
        case.renderer.render([picture], add_generation_prompt=True)
    with pytest.raises(DataError):
        case.renderer.render([], add_generation_prompt=True)


def test_a_template_without_tools_ignores_them(case: Case) -> None:
    function = {"name": "weather", "parameters": {"type": "object", "properties": {}}}
    plain = case.renderer.render(ask("Rain?"), add_generation_prompt=True)
    offered = case.renderer.render(
        ask("Rain?"), add_generation_prompt=True, tools=[{"type": "function", "function": function}]
    )
    assert offered == plain


def test_an_order_of_roles_the_template_refuses_is_an_error(case: Case) -> None:
    good = messages(("user", "a"), ("assistant", "b"), ("user", "c"))
    assert case.strict.render(good, add_generation_prompt=True) == (
        "[user]a[assistant]b[user]c[assistant]"
    )
    with pytest.raises(DataError, match="roles must alternate"):
        case.strict.render(good[:1] + good[2:], add_generation_prompt=True)


def test_the_fingerprint_tells_rules_apart(case: Case) -> None:
    names = {case.renderer.fingerprint, case.other.fingerprint, case.strict.fingerprint}
    assert len(names) == 3
    differs = case.other.render(ask("Hi"), add_generation_prompt=True)
    assert case.renderer.render(ask("Hi"), add_generation_prompt=True) != differs
