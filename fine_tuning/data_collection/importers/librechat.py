"""LibreChat's export of a conversation: JSON, flat or recursive, and CSV, with feedback.

Messages name their parents; the first ones name an id of zeros. Content is a text, or parts with
thoughts and calls of tools, whose results stand in the calls themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fine_tuning.core.conversation import Message, Part, Role, Status, ToolCall
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    mapping,
    named_pictures,
    parts,
    text,
    tool_call,
    words,
)
from fine_tuning.data_collection.importers.importer import Importer, Sample, converted
from fine_tuning.data_collection.importers.items import (
    Draft,
    Imported,
    ImportedItem,
    Quarantined,
    excerpt,
)
from fine_tuning.data_collection.importers.json_records import ParsedRecord
from fine_tuning.data_collection.importers.source import Source
from fine_tuning.data_collection.importers.trees import Node, arrange

SOURCE = "import:librechat"
MAX_CSV_ROWS = 100_000
_COLUMNS = {"sender", "text", "iscreatedbyuser"}


def _knows(sample: Sample) -> bool:
    return sample.columns >= _COLUMNS or any(_accepts(record) for record in sample.records)


def _accepts(record: JsonObject) -> bool:
    return "conversationId" in record and (
        isinstance(record.get("messages"), list | Mapping)
        or isinstance(record.get("messagesTree"), list)
    )


def _read(source: Source) -> Iterator[ImportedItem]:
    if source.is_json:
        for record in source.records():
            yield from converted(record, _convert)
        return
    names = {"iscreatedbyuser": "isCreatedByUser", "messageid": "messageId"}
    names |= {"parentmessageid": "parentMessageId", "createdat": "createdAt"}
    rows: list[dict[str, JsonValue]] = []
    for line, cells, reason in source.rows(_COLUMNS):
        if cells is None:
            yield Quarantined(line=line, reason=reason)
        elif len(rows) == MAX_CSV_ROWS:
            too_many = f"the file has more than {MAX_CSV_ROWS} messages, expected one conversation"
            yield Quarantined(line=line, reason=too_many, excerpt=excerpt(cells))
            return
        elif any(cells.values()):
            row: dict[str, JsonValue] = {names.get(key, key): cell for key, cell in cells.items()}
            for key in ("isCreatedByUser", "error", "unfinished"):
                row[key] = str(row.get(key)).lower() == "true"
            rows.append(row)
    yield from converted(ParsedRecord(line=1, value={"messages": rows}), _convert)


def _convert(record: JsonObject) -> Iterator[Imported]:
    top = record.get("messagesTree") or record.get("messages")
    items = _flat([top] if isinstance(top, Mapping) else top)
    if not items:
        raise DataError("the conversation holds no message")
    options = mapping(record, "options")
    ref = text(record, "conversationId") or content_name([_key(item, "") for item in items])
    draft = Draft(SOURCE, ref)
    nodes: dict[str, Node] = {}
    system = text(options, "promptPrefix", "system", "instructions")
    before: str | None = None
    if system:
        before = f"{draft.id}/system"
        top_message = Message(id=before, role="system", content=parts(system))
        nodes[before] = Node(None, (top_message,))
    top_name, known = before, {_key(item, "") for item in items}
    for index, item in enumerate(items):
        key = _key(item, f"{draft.id}/{index}")
        parent = text(item, "parentMessageId")
        if not parent:
            parent = before or ""
        nodes[key] = Node(parent if parent in known | {before} else top_name, _messages(key, item))
        _add_rating(draft, nodes[key].messages, item)
        before = key
    messages, leaf_id = arrange(nodes, _latest(items, nodes) or before)
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(record, "title"),
        created_at=next(filter(None, (m.created_at for m in messages)), ""),
        metadata={"endpoint": text(record, "endpoint")} if record.get("endpoint") else {},
    )
    yield draft.imported(conversation)


def _flat(items: object) -> list[JsonObject]:
    """Return messages with their children behind them, each naming its parent.

    Raises:
        DataError: if something in the tree is no message.
    """
    found: list[JsonObject] = []
    waiting: list[tuple[object, str]] = [(items, "")]
    while waiting:
        group, parent = waiting.pop()
        if not isinstance(group, list) or not all(isinstance(item, Mapping) for item in group):
            raise DataError("the messages are expected to be a list of objects")
        for item in group:
            own = {**item, "parentMessageId": parent} if parent else item
            found.append(own)
            if item.get("children"):
                waiting.append((item["children"], _key(item, "")))
    return found


def _key(item: JsonObject, default: str) -> str:
    return text(item, "messageId", "id") or default


def _latest(items: list[JsonObject], nodes: Mapping[str, Node]) -> str:
    """Return the end of the branch written last, which LibreChat shows; "" without times."""
    parents = {node.parent for node in nodes.values()}
    ends = [(iso_time(item.get("createdAt")), _key(item, "")) for item in items]
    dated = [(at, place, key) for place, (at, key) in enumerate(ends) if at and key in nodes]
    leaves = [one for one in dated if one[2] not in parents]
    return max(leaves)[2] if len(dated) == len(items) and leaves else ""


def _messages(key: str, item: JsonObject) -> tuple[Message, ...]:
    role: Role = "user" if item.get("isCreatedByUser") else "assistant"
    status: Status = "aborted" if item.get("unfinished") else "complete"
    content = item.get("content")
    pieces = (
        [one for one in content if isinstance(one, Mapping)] if isinstance(content, list) else []
    )
    if item.get("error") or any(one.get("type") == "error" for one in pieces):
        status = "error"
    turn = _PartedTurn(key, role, status, item)
    for piece in pieces:
        turn.take(piece)
    if not turn.has_said:
        turn.say(words(item, "text") if not isinstance(content, str) else content)
    first, *others = turn.finished()
    pictures = named_pictures(item.get("files")) if role == "user" else ()
    return (replace(first, content=(*first.content, *pictures)), *others)


class _PartedTurn:
    """Cuts the parts of a message into messages: words before calls, calls, results, the rest."""

    def __init__(self, key: str, role: Role, status: Status, item: JsonObject) -> None:
        self._key = key
        self._base = Message(
            id=key,
            role=role,
            model=text(item, "model"),
            status=status,
            created_at=iso_time(item.get("createdAt")),
        )
        self._said: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self._results: list[Message] = []
        self._done: list[Message] = []
        self._num_calls = self._num_results = 0
        self.has_said = False

    def take(self, piece: JsonObject) -> None:
        """Add a part."""
        kind = piece.get("type")
        inner = piece.get(str(kind))
        if kind == "think":
            self._thoughts.append(_value(inner))
        elif kind == "tool_call" and isinstance(inner, Mapping):
            self._call(inner)
        elif kind in {"text", "error"}:
            self.say(_value(piece.get("text", inner)))

    def say(self, said: str) -> None:
        """Add words."""
        if said:
            if self._calls:
                self._close()
            self._said.append(said)
            self.has_said = True

    def _call(self, inner: JsonObject) -> None:
        function = mapping(inner, "function") or inner
        call_id = text(inner, "id") or f"{self._key}#{self._num_calls}"
        given = function.get("args", function.get("arguments"))
        self._calls.append(tool_call(call_id, function.get("name"), given))
        self._num_calls += 1
        if output := text(inner, "output") or text(function, "output"):
            name = f"{self._key}#tool{self._num_results}"
            content = (Part(text=output),)
            self._num_results += 1
            self._results.append(
                Message(id=name, role="tool", content=content, tool_call_id=call_id)
            )

    def _close(self) -> None:
        number = sum(message.role != "tool" for message in self._done)
        suffix = ("", "#reply")[number] if number < 2 else f"#{number}"  # noqa: PLR2004
        self._done.append(
            replace(
                self._base,
                id=f"{self._key}{suffix}",
                content=parts("\n".join(self._said)),
                reasoning="\n".join(filter(None, self._thoughts)),
                tool_calls=tuple(self._calls),
            )
        )
        self._done += self._results
        self._said, self._thoughts, self._calls, self._results = [], [], [], []

    def finished(self) -> tuple[Message, ...]:
        """Return the messages; one of nothing when no part said anything."""
        if self._said or self._thoughts or self._calls or not self._done:
            self._close()
        return tuple(self._done)


def _value(given: object) -> str:
    if isinstance(given, Mapping):
        given = given.get("value")
    return given if isinstance(given, str) else ""


def _add_rating(draft: Draft, messages: tuple[Message, ...], item: JsonObject) -> None:
    rated = mapping(item, "feedback")
    thumb = {"thumbsUp": 1, "thumbsDown": -1}.get(text(rated, "rating"))
    if thumb:
        reason = text(rated, "tag") or text(mapping(rated, "tag"), "key")
        draft.add_feedback(
            messages[-1].id, "thumb", value=thumb, reason=reason, comment=text(rated, "text")
        )


LIBRECHAT = Importer(name="librechat", title="LibreChat export", knows=_knows, read=_read)
