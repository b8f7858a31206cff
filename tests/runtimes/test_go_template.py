"""Go templates learnt from renderings: what Ollama makes of them is what Jinja made."""

from __future__ import annotations

from collections.abc import Sequence

import jinja2
import pytest

from fine_tuning.core.conversation import Conversation, Message, Role
from fine_tuning.core.errors import DataError
from fine_tuning.runtimes.go_template import Render, infer_go_template
from tests.model_management.ollama_serving import CHATML
from tests.ollama_stand_in.go_template import render_chat

GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}"
    "{% endif %}{% for m in turns %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ first if loop.first else '' }}{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{% for m in messages %}{% if m['role'] == 'user' %}[INST] {{ m['content'] }} [/INST]"
    "{% elif m['role'] == 'assistant' %} {{ m['content'] }}</s>"
    "{% else %}{{ raise_exception('no system role') }}{% endif %}{% endfor %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set s = '<<SYS>>\n' + messages[0]['content'] + "
    "'\n<</SYS>>\n\n' %}{% set turns = messages[1:] %}{% else %}{% set s = '' %}"
    "{% set turns = messages %}{% endif %}{% for m in turns %}{% if m['role'] == 'user' %}"
    "<s>[INST] {{ s if loop.first else '' }}{{ m['content'] }} [/INST]{% else %}"
    " {{ m['content'] }} </s>{% endif %}{% endfor %}"
)
WITH_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n"
    "Be {{ '{{' }} kind<|im_end|>\n{% endif %}"
) + CHATML
THINKING = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n\n</think>\n{% endif %}")
NOT_SO_SIMPLE = "{{ messages | length }}{% for m in messages %}[{{ m['content'] }}]{% endfor %}"


def jinja(source: str) -> Render:
    def fail(text: str) -> str:
        raise DataError(text)

    template = jinja2.Environment(keep_trailing_newline=True).from_string(source)  # noqa: S701

    def render(messages: Sequence[Message]) -> str:
        turns = [{"role": m.role, "content": m.text} for m in messages]
        return template.render(messages=turns, add_generation_prompt=True, raise_exception=fail)

    return render


CONVERSATIONS: tuple[tuple[tuple[Role, str], ...], ...] = (
    (("user", "Where is {{ .System }}?"),),
    (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", 'say "e"')),
    (("system", "Be brief."), ("user", "a"), ("assistant", "b\n\nc"), ("user", "d")),
)


@pytest.mark.parametrize("source", [CHATML, GEMMA, MISTRAL, LLAMA2, WITH_DEFAULT, THINKING])
def test_ollama_renders_as_jinja_did(source: str) -> None:
    render = jinja(source)
    learnt = infer_go_template(render)
    assert learnt is not None
    for turns in CONVERSATIONS:
        try:
            expected = render(Conversation.from_turns(turns).messages)
        except DataError:
            continue
        assert render_chat(learnt, [{"role": r, "content": t} for r, t in turns]) == expected


def test_what_is_not_so_simple_is_left_alone() -> None:
    assert infer_go_template(jinja(NOT_SO_SIMPLE)) is None
    assert infer_go_template(jinja("{{ raise_exception('never') }}")) is None
    assert infer_go_template(jinja("nothing of it")) is None
