"""Conversations without other programs' markup: thoughts set apart, tools as messages of theirs.

A reply that called tools becomes the call, its results and the rest, which keeps the reply's id, so
that what follows it and the feedback on it stay as they are. An empty system message is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.data_collection.markup import Parted, ToolStep, may_hold_markup, part_markup


def without_markup(conversation: Conversation) -> Conversation:
    """Return a conversation parted from markup; the same object when it holds none."""
    messages = without_empty_system(conversation.messages)
    taken = {message.id for message in messages}
    parents: dict[str, str] = {}
    done: list[Message] = []
    for message in messages:
        own = _parted(message, taken)
        if own[-1].id != message.id:
            parents[message.id] = own[-1].id
        done += own
    done = [_below(message, parents) for message in done] if parents else done
    given = conversation.messages
    if len(done) == len(given) and all(a is b for a, b in zip(done, given, strict=True)):
        return conversation
    leaf_id = conversation.leaf_id
    if leaf_id is not None:
        leaf_id = parents.get(leaf_id, leaf_id)
        if all(message.id != leaf_id for message in done):  # it was an empty system message
            leaf_id = None
    return replace(conversation, messages=tuple(done), leaf_id=leaf_id)


def without_empty_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return messages without empty system messages; what followed one follows its parent."""
    gone = {
        message.id: message.parent_id
        for message in messages
        if message.role in {"system", "developer"}
        and not message.text.strip()
        and all(part.type == "text" for part in message.content)
    }
    if not gone or len(gone) == len(messages):
        return messages
    kept = []
    for message in messages:
        parent = message.parent_id
        while parent in gone:
            parent = gone[parent]
        if message.id not in gone:
            kept.append(
                message if parent == message.parent_id else replace(message, parent_id=parent)
            )
    return tuple(kept)


def _below(message: Message, parents: dict[str, str]) -> Message:
    """Return a message under the last part of its parent."""
    parent = parents.get(message.parent_id or "")
    return message if parent is None or parent == message.id else replace(message, parent_id=parent)


def _parted(message: Message, taken: set[str]) -> list[Message]:
    """Return the messages that a message is made of; itself when it holds no markup."""
    texts = [part.text for part in message.content if part.type == "text"]
    if not any(map(may_hold_markup, texts)):
        return [message]
    found = [part_markup(text, role=message.role) for text in texts]
    is_same = all(
        one.text is text and not one.steps for one, text in zip(found, texts, strict=True)
    )
    if is_same:
        return [message]
    last = _without(message, found)
    can_call = len(found) == 1 and not message.tool_calls
    return _with_steps(last, found[0].steps, taken) if can_call and found[0].steps else [last]


def _without(message: Message, found: list[Parted]) -> Message:
    """Return a message with its texts replaced and its thoughts set apart."""
    remaining = iter(found)
    content = []
    for part in message.content:
        if part.type != "text":
            content.append(part)
        elif (text := next(remaining).text) or part.text == text:
            content.append(replace(part, text=text))
    thoughts = [message.reasoning]
    thoughts += [one.reasoning for one in found if one.reasoning not in message.reasoning]
    is_cut = message.status == "complete" and any(one.is_cut for one in found)
    return replace(
        message,
        content=tuple(content),
        reasoning="\n\n".join(filter(None, thoughts)),
        status="aborted" if is_cut else message.status,
    )


def _with_steps(last: Message, steps: tuple[ToolStep, ...], taken: set[str]) -> list[Message]:
    """Return calls, results and the rest of a reply, each under the one before.

    The last message of the assistant keeps the id: the rest, or the last call when there is none.
    """
    names = _names(last.id, taken)
    done: list[Message] = []
    parent = last.parent_id
    for number, step in enumerate(steps):
        is_last = number == len(steps) - 1 and not last.content
        thoughts = [step.reasoning, *([last.reasoning] if is_last else [])]
        calls = step.calls
        if step.results:  # a result names its call; one in a message behind is told by its place
            calls = tuple(call if call.id else replace(call, id=next(names)) for call in calls)
        done.append(
            replace(
                last,
                id=last.id if is_last else next(names),
                parent_id=parent,
                content=(Part(text=step.text),) if step.text else (),
                reasoning="\n\n".join(filter(None, thoughts)),
                tool_calls=calls,
                metadata=last.metadata if is_last else {},
            )
        )
        for call, result in zip(calls, step.results, strict=False):
            content = (Part(text=result),) if result else ()
            done.append(
                Message(
                    id=next(names),
                    role="tool",
                    content=content,
                    parent_id=done[-1].id,
                    name=call.name,
                    tool_call_id=call.id,
                    created_at=last.created_at,
                )
            )
        parent = done[-1].id
    return [*done, replace(last, parent_id=parent)] if last.content else done


def _names(message_id: str, taken: set[str]) -> Iterator[str]:
    """Yield ids that no message has yet, each made from the one of a message."""
    number = 0
    while True:
        number += 1
        name = f"{message_id}#{number}"
        if name not in taken:
            taken.add(name)
            yield name
