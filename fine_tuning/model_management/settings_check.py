"""Is a model served with the settings of its base? By what its server shows of it.

Parameters, system prompt, messages and room of the base belong to what was trained. Servers that
show nothing of a model leave the question open.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.ports import ServedSettings
from fine_tuning.model_management.proof_parts import SETTINGS, Cause, ProofPart

COMPARED = (
    "num_ctx", "num_keep", "num_predict", "temperature", "top_k", "top_p", "min_p", "seed",
    "repeat_last_n", "repeat_penalty", "presence_penalty", "frequency_penalty", "stop",
)  # fmt: skip
"""Parameters that change replies; others are a matter of the machine, or dropped by versions."""
NEAR = 1e-6
"""Servers keep numbers in 32 bits."""
ROOM_STEP = 256
"""llama.cpp rounds a room up to a multiple of it."""
SHOWN_CHARACTERS = 60


def settings_part(expected: ServedSettings, shown: ServedSettings | None) -> ProofPart:
    """Compare what a server shows of a model with what its base has.

    Args:
        expected: The base's settings, and those training added; a room of None is not compared.
        shown: As the server shows them; None when it shows none. What is None of them it does not
            tell.
    """
    if shown is None:
        return ProofPart(
            name=SETTINGS,
            outcome="cannot tell",
            excuse="no settings shown",
            sentence="the server shows no settings of the model",
        )
    for check in _CHECKS:
        difference = check(expected, shown)
        if difference is not None:
            cause, sentence = difference
            return ProofPart(
                name=SETTINGS,
                outcome="fails",
                cause=cause,
                sentence=sentence,
                figures={"expected_context_tokens": expected.context_tokens},
            )
    names = sorted(name for name in expected.parameters or {} if name in COMPARED)
    said = ", ".join(names) if names else "none"
    room = f"; a room of {shown.context_tokens} tokens" if shown.context_tokens else ""
    return ProofPart(
        name=SETTINGS,
        outcome="holds",
        sentence=f"parameters ({said}), system prompt and messages are the base's{room}",
        figures={"parameters": list(names), "context_tokens": shown.context_tokens},
    )


Difference = tuple[Cause, str]


def _other_parameters(expected: ServedSettings, shown: ServedSettings) -> Difference | None:
    wanted, found = expected.parameters, shown.parameters
    if wanted is None or found is None:
        return None
    for name in COMPARED:
        if not _is_kept(name, wanted, found):
            had, has = (_said(values, name) for values in (wanted, found))
            cause: Cause = "other_room" if name == "num_ctx" else "other_parameter"
            return cause, f"the model is served with {name} {has}, its base has {had}"
    return None


def _other_system(expected: ServedSettings, shown: ServedSettings) -> Difference | None:
    if shown.system is None or shown.system.strip() == (expected.system or "").strip():
        return None
    had, has = (_cut(one.system or "") for one in (expected, shown))
    return "other_system", f"the model is served with the system prompt {has}, its base has {had}"


def _other_messages(expected: ServedSettings, shown: ServedSettings) -> Difference | None:
    if shown.messages is None or tuple(shown.messages) == tuple(expected.messages or ()):
        return None
    counts = len(shown.messages), len(expected.messages or ())
    return "other_messages", (
        f"the model is served with {counts[0]} messages before every conversation, its base has "
        f"{counts[1]}, or others"
    )


def _other_room(expected: ServedSettings, shown: ServedSettings) -> Difference | None:
    wanted, found = expected.context_tokens, shown.context_tokens
    if not wanted or not found or _rounded(wanted) == _rounded(found):
        return None
    return "other_room", (
        f"the model is served with room for {found} tokens, it was trained for {wanted}, and its "
        "base rotates positions by it"
    )


_CHECKS: tuple[Callable[[ServedSettings, ServedSettings], Difference | None], ...] = (
    _other_parameters,
    _other_system,
    _other_messages,
    _other_room,
)


def _is_kept(name: str, wanted: JsonObject, found: JsonObject) -> bool:
    if name == "stop":
        # Servers add texts they know of a template; that replies do not end too early is checked.
        return set(_texts(wanted.get(name))) <= set(_texts(found.get(name)))
    if name not in wanted or name not in found:
        return (name in wanted) == (name in found)
    return _is_same(wanted[name], found[name])


def _is_same(one: JsonValue, other: JsonValue) -> bool:
    try:
        return math.isclose(float(str(one)), float(str(other)), rel_tol=NEAR, abs_tol=NEAR)
    except ValueError:
        return str(one) == str(other)


def _texts(value: JsonValue) -> list[str]:
    return (
        [str(one) for one in value]
        if isinstance(value, (list, tuple))
        else [str(value)] * (value is not None)
    )


def _said(values: JsonObject, name: str) -> str:
    return str(values[name]) if name in values else "unset"


def _cut(text: str) -> str:
    return repr(text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}...")


def _rounded(room_tokens: int) -> int:
    return -(-room_tokens // ROOM_STEP) * ROOM_STEP
