"""The record of what writes a base's prompts: templates as texts, and what stands before a chat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from fine_tuning.core.conversation import Message
from fine_tuning.core.json_value import JsonObject, JsonValue

Write = Callable[[Sequence[Message], Sequence[JsonObject]], str]
"""Returns the prompt for the next reply to some messages, with some tools.

Raises:
    DataError: if there is none.
"""

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""llama.cpp's own (common/chat.cpp, CHATML_TEMPLATE_SRC)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BasePrompts:
    """How a base's prompts are written.

    ``go`` is Ollama's TEMPLATE, ``jinja`` a Jinja template in place of the file's own, ``asked``
    the tag whose server writes the prompts; at most one is not "", and with none of them the
    file's own Jinja template writes. ``system`` and ``messages`` stand before conversations,
    ``stop`` are texts that end a reply. ``remark`` tells the user what was decided; ``write`` asks
    the server.
    """

    go: str = ""
    jinja: str = ""
    asked: str = ""
    system: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    stop: tuple[str, ...] = ()
    remark: str = field(default="", compare=False)
    write: Write | None = field(default=None, compare=False, repr=False)

    @property
    def is_own(self) -> bool:
        """Whether the file's own template writes, and nothing but the system prompt is added."""
        return not (self.go or self.jinja or self.asked or self.messages)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return what decides the prompts as JSON; what says nothing is left out."""
        raw: dict[str, JsonValue] = {
            "go": self.go,
            "jinja": self.jinja,
            "asked": self.asked,
            "system": self.system,
            "messages": [list(pair) for pair in self.messages],
            "stop": list(self.stop),
        }
        return {key: value for key, value in raw.items() if value}

    @classmethod
    def from_dict(cls, raw: JsonObject) -> Self:
        """Read the form :meth:`to_dict` writes."""
        return cls(
            go=str(raw.get("go") or ""),
            jinja=str(raw.get("jinja") or ""),
            asked=str(raw.get("asked") or ""),
            system=str(raw.get("system") or ""),
            messages=_pairs(raw.get("messages")),
            stop=texts_of(raw.get("stop")),
        )


def texts_of(value: JsonValue) -> tuple[str, ...]:
    """Return the texts of a parameter that is one text or several, such as ``stop``."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(text) for text in value) if isinstance(value, (list, tuple)) else ()


def _pairs(value: JsonValue) -> tuple[tuple[str, str], ...]:
    rows = value if isinstance(value, (list, tuple)) else ()
    return tuple((str(row[0]), str(row[1])) for row in rows if isinstance(row, (list, tuple)))
