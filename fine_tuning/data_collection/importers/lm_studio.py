"""LM Studio's chats: a ``*.conversation.json`` each.

A message has versions, of which ``currentlySelected`` is the one in use; the others were generated
before or after it. An assistant's version is made of steps: blocks of text and thoughts, calls of
tools with their results, and notes for debugging, which say nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from fine_tuning.core.conversation import Message, Part, Role, Status, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    mapping,
    name_of,
    objects,
    parts,
    text,
    tool_call,
)
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Draft, Imported, add_choices

SOURCE = "import:lm-studio"
_ROLES: dict[str, Role] = {
    "user": "user", "assistant": "assistant", "system": "system", "tool": "tool",
}  # fmt: skip
_CUT = {"userStopped", "failed", "maxPredictedTokensReached", "contextLengthReached"}
_ENDS = (".", "!", "?", ":", "`", "\u3002", "\uff01", "\uff1f", "|", "*", ")")


def _accepts(record: JsonObject) -> bool:
    messages = record.get("messages")
    return isinstance(messages, list) and any(
        isinstance(item, Mapping) and isinstance(item.get("versions"), list) for item in messages
    )


def _convert(record: JsonObject) -> Iterator[Imported]:
    items = objects(record, "messages")
    ref = content_name([record.get("createdAt"), record.get("name"), items[:1]])
    draft = Draft(SOURCE, ref)
    found: list[Message] = []
    end: str | None = None
    if system := text(record, "systemPrompt").strip():
        end = f"{draft.id}/system"
        found.append(Message(id=end, role="system", content=parts(system)))
    for index, item in enumerate(items):
        versions = objects(item, "versions")
        chosen = item.get("currentlySelected")
        kept = chosen if isinstance(chosen, int) and 0 <= chosen < len(versions) else 0
        start = end
        for number, version in enumerate(versions):
            own = _Version(f"{draft.id}/{index}.{number}", version).messages(start)
            found += own
            if number == kept and own:
                end = own[-1].id
    if not found:
        raise DataError("the conversation holds no message")
    conversation = draft.conversation(
        found,
        leaf_id=end,
        title=text(record, "name"),
        created_at=iso_time(record.get("createdAt")),
    )
    add_choices(draft, conversation)
    yield draft.imported(conversation)


@dataclass(slots=True)
class _Version:
    """One version of a message, cut into messages at the calls of tools."""

    key: str
    raw: JsonObject
    done: list[Message] = field(default_factory=list)
    said: str = ""
    thoughts: list[str] = field(default_factory=list)
    others: list[Part] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    model: str = ""
    status: Status = "complete"

    def messages(self, parent: str | None) -> list[Message]:
        """Return the messages, the first of which follows ``parent``.

        Raises:
            DataError: if the role is unknown or a block is not of the shape expected.
        """
        role = _ROLES.get(str(self.raw.get("role")))
        if role is None:
            raise DataError(f"a message has the role {self.raw.get('role')!r}")
        self.model = text(mapping(self.raw, "senderInfo"), "senderName")
        if isinstance(self.raw.get("steps"), list):
            for step in objects(self.raw, "steps"):
                if step.get("type") == "contentBlock":
                    self._step(step)
        else:
            self._blocks(self.raw, is_thought=False)
        self._close(role)
        for index, message in enumerate(self.done):
            self.done[index] = replace(message, parent_id=parent)
            parent = message.id
        return self.done

    def _step(self, step: JsonObject) -> None:
        facts = mapping(step, "genInfo")
        self.model = text(facts, "indexedModelIdentifier", "identifier") or self.model
        if reason := text(mapping(facts, "stats"), "stopReason"):
            self.status = "aborted" if reason in _CUT else "complete"
        self._blocks(step, is_thought=mapping(step, "style").get("type") == "thinking")

    def _blocks(self, step: JsonObject, *, is_thought: bool) -> None:
        if isinstance(step.get("content"), str):
            self._say(text(step, "content"), is_thought=is_thought)
            return
        pieces = ""
        for block in objects(step, "content"):
            kind = block.get("type")
            if kind == "text":
                pieces += text(block, "text")
            elif kind == "toolCallRequest":
                name, given = block.get("name"), block.get("parameters", block.get("arguments"))
                call_id = name_of(block, "callId", "toolCallRequestId")
                self.calls.append(tool_call(call_id, name, given))
            elif kind == "toolCallResult":
                self._result(block)
            elif kind == "file":
                self.others.append(_file(block))
        self._say(pieces, is_thought=is_thought)

    def _say(self, pieces: str, *, is_thought: bool) -> None:
        if not pieces.strip():
            return
        if is_thought:
            self.thoughts.append(pieces.strip())
            return
        if self.calls:
            self._close("assistant")
        is_ended = self.said.rstrip().endswith(_ENDS)
        self.said += f"\n\n{pieces}" if self.said and is_ended else pieces

    def _result(self, block: JsonObject) -> None:
        self._close("assistant")
        given: JsonValue = block.get("content")
        self._add(
            "tool",
            content=parts(given if isinstance(given, str) else str(given or "")),
            tool_call_id=name_of(block, "callId", "toolCallRequestId"),
        )

    def _close(self, role: Role) -> None:
        thoughts = "\n\n".join(self.thoughts)
        if self.said.strip() or thoughts or self.calls or self.others:
            is_reply = role == "assistant"
            self._add(
                role,
                content=(*parts(self.said), *self.others),
                reasoning=thoughts,
                tool_calls=tuple(self.calls),
                model=self.model if is_reply else "",
                status=self.status if is_reply else "complete",
            )
        self.said, self.thoughts, self.others, self.calls = "", [], [], []

    def _add(self, role: Role, **fields: object) -> None:
        key = f"{self.key}#{len(self.done)}" if self.done else self.key
        self.done.append(Message(id=key, role=role, **fields))  # type: ignore[arg-type]


def _file(block: JsonObject) -> Part:
    name = text(block, "fileIdentifier", "name")
    if block.get("fileType") == "image":
        return Part(type="image_url", data={"url": name})
    return Part(type="file", data={"name": name})


LM_STUDIO = importer_of_records("lm-studio", "LM Studio chat", _accepts, _convert)
