"""A served model has its base's parameters, system prompt, messages and room, or fails by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fine_tuning.core.ports import ServedSettings
from fine_tuning.model_management.proof_parts import Proof
from fine_tuning.model_management.remedies import remedy
from fine_tuning.model_management.settings_check import settings_part

BASE = ServedSettings(
    parameters={"temperature": 0.2, "num_ctx": 4096, "stop": ["<|im_end|>"]},
    system="You are SmolLM.",
    messages=(("user", "Hi"), ("assistant", "Hello!")),
    context_tokens=8192,
)


def parameters(**changes: Any) -> dict[str, Any]:
    assert BASE.parameters is not None
    changed = {**BASE.parameters, **changes}
    return {name: value for name, value in changed.items() if value is not None}


@pytest.mark.parametrize(
    "shown",
    [
        BASE,
        replace(BASE, parameters=parameters(temperature="0.2", num_ctx=4096.0)),
        replace(BASE, parameters=parameters(temperature=0.20000000298)),
        replace(BASE, parameters=parameters(stop=("<|im_end|>", "<|im_start|>"))),
        replace(BASE, parameters=parameters(num_thread=4, num_gpu=0)),
        replace(BASE, context_tokens=8192 + 0),
        replace(BASE, context_tokens=None),
        replace(BASE, system="You are SmolLM.\n"),
        ServedSettings(context_tokens=8192),
    ],
)
def test_the_same_settings_hold(shown: ServedSettings) -> None:
    part = settings_part(BASE, shown)
    assert part.outcome == "holds", part.sentence


@pytest.mark.parametrize(
    ("shown", "cause", "said"),
    [
        (replace(BASE, parameters=parameters(temperature=0.8)), "other_parameter", "0.8"),
        (replace(BASE, parameters=parameters(temperature=None)), "other_parameter", "unset"),
        (replace(BASE, parameters=parameters(top_k=1)), "other_parameter", "top_k 1"),
        (replace(BASE, parameters=parameters(stop=None)), "other_parameter", "stop unset"),
        (replace(BASE, parameters=parameters(stop="</s>")), "other_parameter", "</s>"),
        (replace(BASE, parameters=parameters(num_ctx=2048)), "other_room", "num_ctx 2048"),
        (replace(BASE, system=""), "other_system", "''"),
        (replace(BASE, system="Tu es un pirate. 海賊です。"), "other_system", "海賊"),
        (replace(BASE, messages=()), "other_messages", "0 messages"),
        (replace(BASE, context_tokens=4096), "other_room", "4096"),
    ],
)
def test_other_settings_fail_by_name(shown: ServedSettings, cause: str, said: str) -> None:
    part = settings_part(BASE, shown)
    assert (part.outcome, part.cause) == ("fails", cause)
    assert said in part.sentence
    proof = Proof(model="m", parts=(part,))
    assert not proof.holds
    command = remedy(proof, "support:1", "ollama", None)
    is_room = cause == "other_room"
    assert command.startswith("OLLAMA_CONTEXT_LENGTH=8192" if is_room else "fine-tuning deploy")


def test_servers_that_show_nothing_leave_it_open() -> None:
    part = settings_part(BASE, None)
    assert (part.outcome, part.may_stand) == ("cannot tell", True)
