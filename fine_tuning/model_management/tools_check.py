"""May the served model be given tools? By the server's own renderings of one request with a tool.

A conversation with tools that was trained on must be served so. One that was not must be no worse
than on the base as the same server serves it: its prompt may be training's or the base's own, and
it may be refused where the base refuses it. Knows servers by their renderings only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.model_management.proof_parts import Cause

Standing = Literal[
    "no tools", "not shown", "as trained", "as the base", "refused as the base", "other", "refused"
]
FINE: tuple[Standing, ...] = (
    "no tools", "not shown", "as trained", "as the base", "refused as the base",
)  # fmt: skip
CAUSES: Mapping[Standing, Cause] = {"other": "wrong_template", "refused": "tools_refused"}
SHOWN_CHARACTERS = 40

TOOL_NAME = "get_weather"
TOOL: JsonObject = {
    "type": "function",
    "function": {
        "name": TOOL_NAME,
        "description": "Tell the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASKED = Conversation.from_turns([("user", "How is the weather in Oslo?")]).messages

Rendered = Callable[[Sequence[Message], Sequence[JsonObject]], str | None]
"""A server's rendering, None when it shows none.

Raises:
    DataError: if the server refuses tools for the model.
"""


class Prompt(Protocol):
    """The prompt of training."""

    def __call__(self, messages: Sequence[Message], tools: Sequence[JsonObject] = ()) -> str:
        """Return the prompt of messages, generation prompt included.

        Raises:
            DataError: if the template refuses the order of roles, or tools.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsFinding:
    """How the model stands with tools, and the sentence that says it."""

    standing: Standing
    sentence: str

    @property
    def is_fine(self) -> bool:
        """Whether the model may be served so."""
        return self.standing in FINE

    @property
    def cause(self) -> Cause:
        """What is wrong, "" for nothing."""
        return CAUSES.get(self.standing, "")


def check_tools(
    prompt: Prompt, served: Rendered, base: Rendered | None, *, is_trained: bool
) -> ToolsFinding:
    """Compare the served model's prompt with a tool to training's, and where allowed to its base's.

    Args:
        prompt: Training's prompt.
        served: The served model's rendering.
        base: Its base's on the same server, asked only when it decides; None when it has none.
        is_trained: Whether conversations with tools were trained on.

    Raises:
        FineTuningError: as the server's answers raise.
    """
    try:
        expected = prompt(ASKED, [TOOL])
    except DataError:
        expected = ""
    if TOOL_NAME not in expected:
        return ToolsFinding(standing="no tools", sentence="the model's template has no tools")
    rendered = _told(served)
    if rendered is None:
        sentence = "tools could not be checked: the server shows no prompts"
        return ToolsFinding(standing="not shown", sentence=sentence)
    if rendered == expected:
        sentence = "with tools they are those trained on, too"
        return ToolsFinding(standing="as trained", sentence=sentence)
    if is_trained:
        sentence = (
            f"conversations with tools were trained on, and {_difference(rendered, expected)}"
        )
        return ToolsFinding(standing=_bad(rendered), sentence=sentence)
    return _beside_base(rendered, expected, base)


def _beside_base(found: str | DataError, expected: str, base: Rendered | None) -> ToolsFinding:
    """Check what is not training's, and need not be."""
    of_base = None if base is None else _told(base)
    if isinstance(found, DataError) and (of_base is None or isinstance(of_base, DataError)):
        whose = "as for its base" if base else "and does not have its base"
        said = f"the server takes no tools for this model, {whose}; none were trained on"
        return ToolsFinding(standing="refused as the base", sentence=said)
    if found == of_base:
        said = "with tools they are the base's own on this server; none were trained on"
        return ToolsFinding(standing="as the base", sentence=said)
    beside = "its base's is another" if base else "the server does not have its base to compare"
    said = f"{_difference(found, expected)}, and {beside}"
    return ToolsFinding(standing=_bad(found), sentence=said)


def _told(rendered: Rendered) -> str | DataError | None:
    try:
        return rendered(ASKED, [TOOL])
    except DataError as refusal:
        return refusal


def _bad(found: str | DataError) -> Standing:
    return "refused" if isinstance(found, DataError) else "other"


def _difference(found: str | DataError, expected: str) -> str:
    if isinstance(found, DataError):
        return found.message
    return differs("the server's prompt with a tool", found, expected)


def differs(what: str, found: str, expected: str) -> str:
    """Say where a prompt leaves the one trained on."""
    at = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        min(len(found), len(expected)),
    )
    shown, wanted = (text[at : at + SHOWN_CHARACTERS] for text in (found, expected))
    return f"{what} differs at character {at}: {shown!r}, trained on {wanted!r}"
