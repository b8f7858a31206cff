"""ChatGPT's data export: ``conversations.json``, or the ZIP archive it comes in.

The format is undocumented and drifts: unknown kinds of content are kept as parts of their name, and
nodes that were never shown are passed over, their children following their parents. A sibling of a
reply on the branch last shown is one the person generated again. Nodes of one reply are joined in
``chatgpt_turns``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from fine_tuning.core.conversation import Conversation, Message, Part, Role, Status, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.chatgpt_turns import joined_turns
from fine_tuning.data_collection.importers.fields import (
    arguments,
    iso_time,
    mapping,
    name_of,
    text,
    tool_call,
    words,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import Draft, Imported, ImportedItem
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import Node, arrange

SOURCE = "import:chatgpt"
FEEDBACK_MEMBERS = "message_feedback*.json"
_ROLES: dict[str, Role] = {
    "user": "user", "assistant": "assistant", "system": "system", "tool": "tool", "critic": "tool",
}  # fmt: skip
_HIDDEN = (
    "user_editable_context", "model_editable_context", "app_pairing_content", "reasoning_recap",
)  # fmt: skip
_NOTICE = "Original custom instructions no longer available"
"""What the export writes where it does not tell a person's instructions."""
_TOOL_NAMES = {"t2uay3k.sj1i4kz": "image_gen.text2im"}
"""Tools that the export names in code."""
_CUT_SHORT = {"interrupted", "max_tokens"}
_SOUNDS = {"audio_asset_pointer", "real_time_user_audio_video_asset_pointer"}

Thumbs = dict[str, tuple[int, str]]
"""What ``message_feedback.json`` says: thumb and comment by message."""


def _knows(sample: Sample) -> bool:
    return any(isinstance(record.get("mapping"), Mapping) for record in sample.records)


def _read(source: Source) -> Iterator[ImportedItem]:
    thumbs = _thumbs(source)
    for record in source.records():
        yield from converted(record, lambda value: _convert(value, thumbs))


def _thumbs(source: Source) -> Thumbs:
    found: Thumbs = {}
    for record in source.member_records(FEEDBACK_MEMBERS):
        if not isinstance(record.value, Mapping):
            continue
        rating = text(record.value, "rating")
        message_id = text(record.value, "id", "message_id")
        if rating in {"thumbs_up", "thumbs_down"} and message_id:
            found[message_id] = (1 if rating == "thumbs_up" else -1, text(record.value, "content"))
    return found


def _convert(record: JsonObject, thumbs: Thumbs) -> Iterator[Imported]:
    given = record.get("mapping")
    if not isinstance(given, Mapping):
        raise DataError("the record has no 'mapping' of messages")
    nodes = {
        str(key): Node(text(node, "parent") or None, _messages(str(key), node.get("message")))
        for key, node in given.items()
        if isinstance(node, Mapping)
    }
    messages, leaf_id = arrange(nodes, text(record, "current_node") or None)
    messages, leaf_id = joined_turns(messages, leaf_id)
    ref = name_of(record, "conversation_id", "id") or content_name([m.to_dict() for m in messages])
    draft = Draft(SOURCE, ref)
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(record, "title"),
        created_at=iso_time(record.get("create_time")),
    )
    _add_rating(draft, conversation, thumbs)
    yield draft.imported(conversation)


def _add_rating(draft: Draft, conversation: Conversation, thumbs: Thumbs) -> None:
    """Take over thumbs, and a choice for each reply that was generated again and not kept."""
    for message in conversation.messages:
        value, comment = thumbs.get(message.id, (0, ""))
        if value:
            draft.add_feedback(message.id, "thumb", value=value, comment=comment)
    replies: dict[str, list[str]] = {}
    for message in conversation.messages:
        if message.role == "assistant" and message.parent_id is not None and message.text.strip():
            replies.setdefault(message.parent_id, []).append(message.id)
    for kept in conversation.path() if replies else ():
        siblings = replies.get(kept.parent_id or "", [])
        for other in siblings if kept.id in siblings else ():
            if other != kept.id:
                draft.add_feedback(kept.id, "choice", rejected_id=other)


def _messages(key: str, raw: object) -> tuple[Message, ...]:
    """Return the message of a node, or nothing for one that was never part of the conversation.

    Raises:
        DataError: if its role is unknown.
    """
    if not isinstance(raw, Mapping):
        return ()
    notes, content = mapping(raw, "metadata"), mapping(raw, "content")
    kind = text(content, "content_type")
    if notes.get("is_visually_hidden_from_conversation") or kind in _HIDDEN:
        return ()
    if notes.get("is_user_system_message") and _NOTICE in str(content.get("parts")):
        return ()
    speaker = mapping(raw, "author")
    role = _ROLES.get(str(speaker.get("role")))
    if role is None:
        raise DataError(f"a message has the author {speaker.get('role')!r}")
    message = Message(
        id=text(raw, "id") or key,
        role=role,
        name=_tool_name(text(speaker, "name")) if role == "tool" else "",
        model=text(notes, "model_slug"),
        status=_status(raw),
        weight=0 if raw.get("weight") == 0 else 1,
        created_at=iso_time(raw.get("create_time")),
    )
    message = _with_words(message, raw, content, kind)
    is_empty = not (message.content or message.tool_calls or message.reasoning)
    return () if is_empty and role in {"system", "tool"} else (message,)


def _status(raw: JsonObject) -> Status:
    is_cut = raw.get("end_turn") is False and not raw.get("weight")
    ended = text(mapping(mapping(raw, "metadata"), "finish_details"), "type")
    partial = raw.get("status") in {"in_progress", "finished_partial_completion"}
    return "aborted" if is_cut or partial or ended in _CUT_SHORT else "complete"


def _with_words(message: Message, raw: JsonObject, content: JsonObject, kind: str) -> Message:
    """Return a message with what it says: thoughts, the call of a tool, or parts."""
    if kind == "thoughts":
        return replace(message, reasoning=_thoughts(content))
    recipient = raw.get("recipient")
    if message.role == "assistant" and isinstance(recipient, str) and recipient not in {"", "all"}:
        given = text(content, "text") or "\n".join(p.text for p in _parts(content, kind))
        call = _call(str(raw.get("id") or ""), _tool_name(recipient), given)
        return replace(message, tool_calls=(call,))
    return replace(message, content=_parts(content, kind))


def _tool_name(name: str) -> str:
    return _TOOL_NAMES.get(name, name)


def _call(call_id: str, name: str, given: str) -> ToolCall:
    """Return the call of a tool; what is not JSON, such as Python code, is its ``input``."""
    try:
        return tool_call(call_id, name, dict(arguments(given)))
    except DataError:
        return tool_call(call_id, name, {"input": given})


def _thoughts(content: JsonObject) -> str:
    thoughts = content.get("thoughts")
    if isinstance(thoughts, list):
        said = [text(one, "content", "summary") for one in thoughts if isinstance(one, Mapping)]
        return "\n\n".join(filter(None, said))
    return text(content, "content", "text")


def _parts(content: JsonObject, kind: str) -> tuple[Part, ...]:
    if kind in {"code", "execution_output", "tether_quote", "system_error"}:
        said = words(content, "text")
        return (Part(text=said),) if said else ()
    if kind == "tether_browsing_display":
        said = text(content, "result", "summary")
        return (Part(text=said),) if said else ()
    pieces = content.get("parts")
    if pieces is None:
        said = text(content, "text")
        return (Part(text=said),) if said else ()
    if not isinstance(pieces, list):
        raise DataError(f"a message's parts are {type(pieces).__name__}, expected a list")
    found = [part for part in map(_part, pieces) if part is not None]
    if any(part.type == "text" for part in found):  # the words of what was spoken
        found = [part for part in found if part.type not in _SOUNDS]
    return tuple(found)


def _part(piece: object) -> Part | None:
    if piece is None or piece == "":
        return None
    if isinstance(piece, str):
        return Part(text=piece)
    if not isinstance(piece, Mapping):
        raise DataError(
            f"a part of a message is {type(piece).__name__}, expected text or an object"
        )
    kind = text(piece, "content_type")
    if kind == "audio_transcription":
        return Part(text=words(piece, "text"))
    if kind == "image_asset_pointer":
        return Part(type="image_url", data={"url": text(piece, "asset_pointer")})
    return Part(type=kind or "file", data=json.loads(json.dumps(dict(piece))))


CHATGPT = Importer(name="chatgpt", title="ChatGPT export", knows=_knows, read=_read)
