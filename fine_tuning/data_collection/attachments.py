"""Pictures and sounds that a conversation carries as text, put into files of their own."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import replace

from fine_tuning.core.conversation import Conversation, Message, Part
from fine_tuning.core.json_value import JsonValue
from fine_tuning.storage.blobs import REFERENCE, BlobFolder

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*;base64,(.*)", flags=re.DOTALL)
UNKNOWN_MIME = "application/octet-stream"

NoteUse = Callable[[str, str, int], None]
"""Called with SHA-256, mime type and size in bytes of each attachment found."""


def set_apart(conversation: Conversation, blobs: BlobFolder, note: NoteUse) -> Conversation:
    """Return a conversation whose ``data:`` URLs became references ``blob:sha256:<64 hex>``.

    What is no sound base64 stays as it is.

    Raises:
        StorageError: if an attachment cannot be written.
    """
    if all(part.type == "text" for m in conversation.messages for part in m.content):
        return conversation
    messages = tuple(_message(message, blobs, note) for message in conversation.messages)
    return replace(conversation, messages=messages)


def _message(message: Message, blobs: BlobFolder, note: NoteUse) -> Message:
    return replace(message, content=tuple(_part(part, blobs, note) for part in message.content))


def _part(part: Part, blobs: BlobFolder, note: NoteUse) -> Part:
    if part.type == "text":
        return part
    found: dict[str, JsonValue] = dict(part.data)
    for key, value in part.data.items():
        url = _DATA_URL.fullmatch(value) if isinstance(value, str) else None
        if url is None:
            continue
        try:
            data = base64.b64decode(url[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        mime = url[1] or UNKNOWN_MIME
        name = blobs.put(data)
        note(name, mime, len(data))
        found[key] = REFERENCE + name
        found["mime"] = mime
    return replace(part, data=found)
