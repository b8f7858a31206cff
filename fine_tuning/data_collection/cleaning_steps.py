"""The steps of cleaning, one table: edits, which change texts, then filters, which drop.

Each step looks at one conversation; only the duplicate filter remembers earlier ones. To add a
step, write a function and put it into :func:`steps`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import ftfy
import xxhash

from fine_tuning.core.conversation import Conversation, Message, Part, ToolCall
from fine_tuning.data_collection.redaction import Redactor
from fine_tuning.data_collection.wording import loop, swear_word

Reason = Literal[
    "empty",
    "no_reply",
    "role_order",
    "too_short",
    "too_long",
    "repetitive",
    "inappropriate",
    "duplicate",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a conversation can be dropped, in the order in which it is asked."""

Edit = Callable[[Conversation], Conversation]
Filter = Callable[[Conversation], str | None]
"""Returns what was found that drops the conversation, or None to keep it."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step: an edit, or a filter whose name is the reason it drops for."""

    name: str
    edit: Edit | None = None
    drop: Filter | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of the filters; lengths are characters of one exchange, question and reply."""

    min_length: int
    max_length: int
    phone_regions: Sequence[str]


def steps(limits: Limits) -> tuple[Step, ...]:
    """Return all steps in order, with no memory of earlier conversations."""

    def redact(conversation: Conversation) -> Conversation:
        return redact_conversation(conversation, limits.phone_regions)

    return (
        Step("unicode", edit=lambda c: edit_texts(c, repair_unicode)),
        Step("whitespace", edit=lambda c: edit_texts(c, normalize_whitespace)),
        Step("redaction", edit=redact),
        Step("unfinished", edit=leave_out_unfinished),
        Step("empty", drop=_empty),
        Step("no_reply", drop=_no_reply),
        Step("role_order", drop=_role_order),
        Step("too_short", drop=lambda c: _too_short(c, limits.min_length)),
        Step("too_long", drop=lambda c: _too_long(c, limits.max_length)),
        Step("repetitive", drop=_repetitive),
        Step("inappropriate", drop=_inappropriate),
        Step("duplicate", drop=_Duplicates()),
    )


STEP_NAMES: tuple[str, ...] = (
    *("unicode", "whitespace", "redaction", "unfinished"),
    *REASONS,
)

_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)
_SPACES = re.compile(r"(?<=\S)[^\S\n]+")
_BLANK_LINES = re.compile(r"\n{3,}")
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_FENCED = re.compile(r"(^[ \t]*```.*?(?:^[ \t]*```[^\n]*$|\Z))", re.DOTALL | re.MULTILINE)
_FTFY = ftfy.TextFixerConfig(
    unescape_html=False,
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
)


def repair_unicode(text: str) -> str:
    """Mend text that was decoded wrongly, compose accents, and drop invisible controls."""
    if not text.isascii():
        text = ftfy.fix_text(text, _FTFY)
    return _INVISIBLE.sub("", text)


def normalize_whitespace(text: str) -> str:
    """Make line ends and spaces uniform; indentation and fenced code blocks stay as they are."""
    pieces = _FENCED.split(_LINE_ENDS.sub("\n", text))
    for index in range(0, len(pieces), 2):  # odd ones are code
        lines = (_SPACES.sub(" ", line).rstrip() for line in pieces[index].split("\n"))
        pieces[index] = _BLANK_LINES.sub("\n\n", "\n".join(lines))
    joined = "".join(pieces)
    return joined.strip() if len(pieces) == 1 else joined.strip("\n")


def edit_texts(conversation: Conversation, edit: Callable[[str], str]) -> Conversation:
    """Return the conversation with every text people or models wrote edited.

    Messages' texts and reasoning, arguments of tool calls, and the title; what nothing changed in
    is the very same object.
    """
    messages = tuple(_edit_message(message, edit) for message in conversation.messages)
    title = edit(conversation.title)
    is_same = all(a is b for a, b in zip(messages, conversation.messages, strict=True))
    if is_same and title == conversation.title:
        return conversation
    return replace(conversation, messages=messages, title=title)


def _edit_message(message: Message, edit: Callable[[str], str]) -> Message:
    content = tuple(_edit_part(part, edit) for part in message.content)
    content = tuple(part for part in content if part.type != "text" or part.text)
    edited = replace(
        message,
        content=content,
        reasoning=edit(message.reasoning),
        tool_calls=tuple(
            ToolCall(id=call.id, name=call.name, arguments=_edit_value(call.arguments, edit))
            for call in message.tool_calls
        ),
    )
    return message if edited == message else edited


def _edit_part(part: Part, edit: Callable[[str], str]) -> Part:
    return replace(part, text=edit(part.text)) if part.type == "text" else part


def _edit_value(value: Any, edit: Callable[[str], str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return edit(value)
    if isinstance(value, Mapping):
        return {key: _edit_value(item, edit) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_edit_value(item, edit) for item in value]
    return value


def redact_conversation(conversation: Conversation, regions: Sequence[str]) -> Conversation:
    """Put placeholders for URLs, e-mail addresses and phone numbers, stable in the conversation."""
    redactor = Redactor(regions)
    for message in conversation.messages:
        redactor.reserve(message.text)
    return edit_texts(conversation, redactor.redact)


def leave_out_unfinished(conversation: Conversation) -> Conversation:
    """Keep unfinished words from being learnt; they stay in the tree.

    A reply that was stopped or failed gets weight 0, and a branch that ends with a question ends
    at the reply before it.
    """
    messages = tuple(
        replace(message, weight=0)
        if message.role == "assistant" and message.status != "complete" and message.weight
        else message
        for message in conversation.messages
    )
    path = conversation.path()
    while path and path[-1].role not in {"assistant", "tool"}:
        path = path[:-1]
    leaf_id = conversation.leaf_id
    if path and path[-1].id != conversation.path()[-1].id:
        leaf_id = path[-1].id
    if leaf_id == conversation.leaf_id and messages == conversation.messages:
        return conversation
    return replace(conversation, messages=messages, leaf_id=leaf_id)


def exchange_lengths(conversation: Conversation) -> list[int]:
    """Return the characters of each exchange: a user's message with the replies to it."""
    lengths: list[int] = []
    for message in conversation.path():
        if message.role == "user":
            lengths.append(len(message.text))
        elif message.role == "assistant" and lengths:
            lengths[-1] += len(message.text)
    return lengths


def _empty(conversation: Conversation) -> str | None:
    said = any(message.content or message.tool_calls for message in conversation.path())
    return None if said else "nothing is said in it"


def _no_reply(conversation: Conversation) -> str | None:
    replies = (m for m in conversation.path() if m.role == "assistant" and m.weight)
    if any(m.text.strip() or m.tool_calls for m in replies):
        return None
    return "no finished reply with a text is in it"


_MAY_FOLLOW: dict[str, set[str]] = {
    "": {"system", "developer", "user"},
    "system": {"user"},
    "developer": {"user"},
    "user": {"assistant"},
    "assistant": {"user"},
    "tool": {"tool", "assistant"},
}


def _role_order(conversation: Conversation) -> str | None:
    before = ""
    for number, message in enumerate(conversation.path(), 1):
        allowed = _MAY_FOLLOW[before]
        if message.role not in allowed:
            expected = " or ".join(sorted(allowed))
            return f"message {number} is by {message.role}, expected {expected}"
        is_calling = message.role == "assistant" and message.tool_calls
        before = "tool" if is_calling else message.role
    return None


def _too_short(conversation: Conversation, min_length: int) -> str | None:
    longest = max(exchange_lengths(conversation), default=0)
    if longest >= min_length:
        return None
    return f"the longest exchange has {longest} characters, expected {min_length} or more"


def _too_long(conversation: Conversation, max_length: int) -> str | None:
    longest = max(exchange_lengths(conversation), default=0)
    if longest <= max_length:
        return None
    return f"an exchange has {longest} characters, expected {max_length} or fewer"


def _repetitive(conversation: Conversation) -> str | None:
    for message in conversation.path():
        if message.role == "assistant" and (found := loop(message.text)):
            return f"a reply repeats {found}"
    return None


def _inappropriate(conversation: Conversation) -> str | None:
    for message in conversation.path():
        if found := swear_word(message.text):
            return f"the {message.role} says {found!r}"
    return None


class _Duplicates:
    """Remembers conversations by their words, in any case and spacing; 16 bytes for each."""

    def __init__(self) -> None:
        self._first: dict[bytes, str] = {}

    def __call__(self, conversation: Conversation) -> str | None:
        digest = xxhash.xxh3_128()
        for message in conversation.path():
            words = " ".join(message.text.casefold().split())
            others = [part.to_dict() for part in message.content if part.type != "text"]
            calls = [call.to_dict() for call in message.tool_calls]
            said = repr((message.role, words, others, calls))
            digest.update(said.encode("utf-8", "surrogatepass"))
        key = digest.digest()
        if key in self._first:
            return f"it says the same as conversation {self._first[key]}"
        self._first[key] = conversation.id
        return None
