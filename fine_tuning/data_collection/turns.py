"""Turns as a chat template reads them: one message for what one side says in a row.

Real chats hold two questions before a reply, a reply in two parts, and messages without a word.
What stands in a row is joined, what says nothing leaves the branch; side branches stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from fine_tuning.core.conversation import LEFT_OUT, Conversation, Message, Part

_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\x00"))
_SENTENCE_END = re.compile(
    r"[.!?:;\u2026\u3002\uff01\uff1f\uff61\u0589\u061f\u0964\u0965]"
    r"[)\]}\"'\u201d\u2019\u00bb\u300d\u300f*_`]*\s*\Z"
)
_ENDINGS = ("finish_reason", "done_reason")
_CUT = frozenset({"length", "max_tokens", "model_length", "max_output_tokens"})
_NO_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def join_turns(conversation: Conversation, path: Sequence[Message]) -> Conversation:
    """Return the conversation with one message for each turn of its branch.

    A joined message has the id of its last part, so that what follows and what was said about it
    still fit. What the assistant says before the first user is context and gets weight 0.

    Args:
        conversation: Whose branch it is.
        path: The branch last shown, oldest message first.

    Returns:
        The very same conversation, if its turns are in order.
    """
    if _is_in_order(path):
        return conversation
    kept: list[Message] = []
    for message in _without_empty(path):
        if kept and _is_one_turn(kept[-1], message):
            kept[-1] = _joined(kept[-1], message)
        else:
            kept.append(message)
    has_asked = False
    for position, message in enumerate(kept):
        has_asked = has_asked or message.role == "user"
        if message.role == "assistant" and message.weight and not has_asked:
            notes = {**message.metadata, LEFT_OUT: "greeting"}
            kept[position] = replace(message, weight=0, metadata=notes)
    is_same = len(kept) == len(path) and all(a is b for a, b in zip(kept, path, strict=True))
    return conversation if is_same or not kept else _with_branch(conversation, path, kept)


def _is_in_order(path: Sequence[Message]) -> bool:
    """Tell quickly whether nothing is to do, which is so of nearly every conversation."""
    before, has_asked = "", False
    for message in path:
        role = message.role
        has_asked = has_asked or role == "user"
        is_repeated = role == before and role != "tool"
        if is_repeated or (role == "assistant" and not has_asked) or is_empty(message):
            return False
        before = role
    return True


def is_empty(message: Message) -> bool:
    """Tell whether a message has no words, no picture or file, and calls nothing."""
    if message.tool_calls or message.role == "tool":
        return False
    return all(part.type == "text" and _is_blank(part.text) for part in message.content)


def _is_blank(text: str) -> bool:
    if not text.isascii():
        text = text.translate(_INVISIBLE)
    return not text or text.isspace() or not text.replace("\0", "").strip()


def _without_empty(path: Sequence[Message]) -> list[Message]:
    """Return the messages that say something; a thought stays if its reply is the next message."""
    kept: list[Message] = []
    for message in reversed(path):
        is_thought = bool(message.reasoning and kept and kept[-1].role == message.role)
        if is_thought or not is_empty(message):
            kept.append(message)
    return kept[::-1]


def _is_one_turn(one: Message, other: Message) -> bool:
    if one.role != other.role or one.role == "tool":
        return False
    return not one.tool_calls or bool(other.tool_calls)


def _joined(one: Message, other: Message) -> Message:
    if one.role == "user" and one.content == other.content:
        return other  # sent twice
    calm = {key: value for key, value in one.metadata.items() if key not in _ENDINGS}
    return replace(
        other,
        content=_joined_content(one, other),
        parent_id=one.parent_id,
        name=one.name if one.name == other.name else "",
        tool_calls=(*one.tool_calls, *other.tool_calls),
        reasoning="\n\n".join(thought for thought in (one.reasoning, other.reasoning) if thought),
        model=other.model or one.model,
        weight=min(one.weight, other.weight),
        created_at=one.created_at or other.created_at,
        metadata={**calm, **other.metadata},
    )


def _joined_content(one: Message, other: Message) -> tuple[Part, ...]:
    if not (one.content and other.content):
        return one.content or other.content
    *before, last = one.content
    first, *after = other.content
    if last.type != "text" or first.type != "text":
        return (*one.content, *other.content)
    text = last.text + _between(one, last.text, first.text) + first.text
    return (*before, Part(text=text), *after)


def _between(one: Message, before: str, after: str) -> str:
    """Return what joins two texts: nothing inside a sentence that goes on, else a blank line."""
    if one.role != "assistant" or not before or not after:
        return "\n\n"
    is_in_code = before.count("```") % 2 == 1
    if _SENTENCE_END.search(before) and not is_in_code:
        return "\n\n"
    reason = str(one.metadata.get("finish_reason") or one.metadata.get("done_reason") or "")
    was_cut = is_in_code or one.status != "complete" or reason.lower() in _CUT
    if was_cut or before[-1].isspace() or after[0].isspace() or _NO_SPACES.match(after):
        return ""
    return " " if after[0].islower() else "\n\n"


def _with_branch(
    conversation: Conversation, path: Sequence[Message], kept: Sequence[Message]
) -> Conversation:
    """Return the conversation with a branch of fewer messages; others lead where they led."""
    chained = {
        message.id: message if message.parent_id == parent else replace(message, parent_id=parent)
        for message, parent in zip(kept, (None, *(m.id for m in kept)), strict=False)
    }
    on_path = {message.id for message in path}
    needed: set[str] = set()
    by_id = {message.id: message for message in conversation.messages}
    for message in conversation.messages:
        parent = message.parent_id if message.id not in on_path else None
        while parent is not None and parent not in needed:
            needed.add(parent)
            parent = by_id[parent].parent_id
    messages = tuple(
        chained.get(message.id, message)
        for message in conversation.messages
        if message.id not in on_path or message.id in chained or message.id in needed
    )
    is_last = messages[-1].id == kept[-1].id and conversation.leaf_id is None
    leaf_id = None if is_last else kept[-1].id
    return replace(conversation, messages=messages, leaf_id=leaf_id)
