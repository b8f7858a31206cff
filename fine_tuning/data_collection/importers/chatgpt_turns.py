"""ChatGPT's nodes joined to turns: one reply may be thoughts, text, a call and a continuation.

A node that only thinks belongs to the reply behind it, text before a call to the call, and the rest
of a reply that was continued to its beginning. A call whose result the export leaves out, as it
does for its search, is removed: what followed it is the reply.
"""

from __future__ import annotations

from dataclasses import replace

from fine_tuning.core.conversation import Message

Tree = dict[str | None, list[Message]]


def joined_turns(
    messages: tuple[Message, ...], leaf_id: str | None
) -> tuple[tuple[Message, ...], str | None]:
    """Return messages with the nodes of a reply joined, and the leaf's id as it is then.

    Args:
        messages: Parents before children.
        leaf_id: The last message shown.
    """
    children: Tree = {}
    for message in messages:
        children.setdefault(message.parent_id, []).append(message)
    gone: dict[str, str | None] = {}
    passed: dict[str, Message] = {}
    done: list[Message] = []
    for message in messages:
        before = passed.get(message.parent_id or "")
        parent = gone.get(message.parent_id or "", message.parent_id)
        current = replace(message, parent_id=parent)
        if before is not None:
            current = _joined(before, current)
        current = _answered(current, children.get(message.id, []))
        after = children.get(message.id, [])
        if after and _is_nothing(current):
            gone[message.id] = parent
        elif _goes_on(message, current, after):
            passed[message.id] = current
            gone[message.id] = parent
        else:
            done.append(current)
    while leaf_id in gone:
        leaf_id = gone[leaf_id]
    return tuple(done), leaf_id if any(m.id == leaf_id for m in done) else None


def _joined(first: Message, second: Message) -> Message:
    """Return the second message with what the first said in front of it."""
    content = second.content
    if first.content and content and first.status == "aborted" and not second.tool_calls:
        content = (
            *first.content[:-1],
            replace(content[0], text=first.content[-1].text + content[0].text),
            *content[1:],
        )
    elif first.content:
        content = (*first.content, *content)
    thoughts = "\n\n".join(filter(None, [first.reasoning, second.reasoning]))
    return replace(second, content=content, reasoning=thoughts)


def _answered(message: Message, after: list[Message]) -> Message:
    """Return a message without its calls where no result follows but something else does."""
    if not message.tool_calls or not after or any(one.role == "tool" for one in after):
        return message
    return replace(message, tool_calls=())


def _is_nothing(message: Message) -> bool:
    said = message.content or message.tool_calls or message.reasoning
    return message.role == "assistant" and not said


def _goes_on(message: Message, current: Message, after: list[Message]) -> bool:
    """Tell whether a message is the beginning of the one message that follows it."""
    if message.role != "assistant" or [one.role for one in after] != ["assistant"]:
        return False
    if current.tool_calls:
        return False
    if not message.content:  # thoughts, or a call that was removed
        return True
    (follower,) = after
    are_texts = all(part.type == "text" for one in (current, follower) for part in one.content)
    is_continued = message.status == "aborted" and bool(follower.content) and are_texts
    return is_continued or (bool(follower.tool_calls) and message.status == "complete")
