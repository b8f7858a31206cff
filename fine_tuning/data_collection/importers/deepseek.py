"""DeepSeek's data export: ``conversations.json``, or the ZIP archive it comes in.

A tree like ChatGPT's, whose messages have no author: the kinds of their fragments tell who speaks
(``REQUEST``, ``THINK``, ``SEARCH``, ``RESPONSE``). Older exports have the text in the message
itself, question and reply in turns. The branch in use is not recorded: it is the newest one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fine_tuning.core.conversation import Message, Part, Role, Status
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject
from fine_tuning.core.naming import content_name
from fine_tuning.data_collection.importers.fields import (
    iso_time,
    list_of,
    mapping,
    name_of,
    objects,
    parts,
    text,
    words,
)
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Draft, Imported, add_choices
from fine_tuning.data_collection.importers.trees import Node, arrange

SOURCE = "import:deepseek"
_ASKED = {"REQUEST", "FILE"}
_SAID = {"RESPONSE", "TEMPLATE_RESPONSE"}
_UNFINISHED = {"WIP", "INCOMPLETE", "CANCELLED", "ABORTED"}


def _accepts(record: JsonObject) -> bool:
    tree = mapping(record, "mapping")
    given = [mapping(node, "message") for node in tree.values() if isinstance(node, Mapping)]
    return any(_is_ours(message) for message in given if message)


def _is_ours(message: JsonObject) -> bool:
    is_older = "author" not in message and isinstance(message.get("content"), str)
    return isinstance(message.get("fragments"), list) or is_older


def _convert(record: JsonObject) -> Iterator[Imported]:
    given = record.get("mapping")
    if not isinstance(given, Mapping):
        raise DataError("the record has no 'mapping' of messages")
    tree = {str(key): node for key, node in given.items() if isinstance(node, Mapping)}
    ref = name_of(record, "id") or content_name(tree)
    draft = Draft(SOURCE, ref)
    roles: dict[str, Role] = {}
    nodes: dict[str, Node] = {}
    for key, node in tree.items():
        parent = name_of(node, "parent")
        message = mapping(node, "message")
        roles[key] = _role(message, roles.get(parent))
        own = (_message(f"{draft.id}/{key}", roles[key], message),) if message else ()
        nodes[key] = Node(parent or None, own)
    messages, leaf_id = arrange(nodes, _newest(tree))
    conversation = draft.conversation(
        messages,
        leaf_id=leaf_id,
        title=text(record, "title"),
        created_at=iso_time(record.get("inserted_at")),
    )
    add_choices(draft, conversation)
    yield draft.imported(conversation)


def _role(message: JsonObject, before: Role | None) -> Role:
    kinds = {str(fragment.get("type")) for fragment in objects(message, "fragments")}
    if kinds & _ASKED and not kinds & _SAID:
        return "user"
    if kinds or text(message, "reasoning_content"):
        return "assistant"
    stated = text(message, "role").lower()
    if stated in {"user", "assistant"}:
        return "user" if stated == "user" else "assistant"
    return "assistant" if before == "user" else "user" if message else "assistant"


def _newest(tree: Mapping[str, JsonObject]) -> str | None:
    """Return the last node that nothing follows: the end of the branch used last."""
    parents = {name_of(node, "parent") for node in tree.values()}
    ends = [key for key in tree if key not in parents and tree[key].get("message")]
    times = {key: iso_time(mapping(tree[key], "message").get("inserted_at")) for key in ends}
    order = {key: index for index, key in enumerate(tree)}
    return max(ends, key=lambda key: (times[key], order[key]), default=None)


def _message(key: str, role: Role, message: JsonObject) -> Message:
    said: list[str] = []
    thoughts: list[str] = []
    if isinstance(message.get("fragments"), list):
        for fragment in objects(message, "fragments"):
            kind = fragment.get("type")
            if kind == "THINK":
                thoughts.append(words(fragment, "content"))
            elif kind in _SAID or kind == "REQUEST":
                said.append(words(fragment, "content"))
    else:
        said.append(words(message, "content"))
        thoughts.append(text(message, "reasoning_content"))
    whole = "\n\n".join(filter(None, said))
    thought = "\n\n".join(filter(None, thoughts)).strip()
    is_cut = text(message, "status").upper() in _UNFINISHED
    status: Status = "aborted" if is_cut else "complete"
    return Message(
        id=key,
        role=role,
        content=(*parts(whole), *_files(message)),
        reasoning=thought,
        model=text(message, "model") if role == "assistant" else "",
        status=status,
        created_at=iso_time(message.get("inserted_at")),
    )


def _files(message: JsonObject) -> tuple[Part, ...]:
    found = [file for file in list_of(message.get("files")) if isinstance(file, Mapping)]
    return tuple(
        Part(type="file", data={"name": name})
        for file in found
        if (name := text(file, "file_name", "name"))
    )


DEEPSEEK = importer_of_records("deepseek", "DeepSeek export", _accepts, _convert)
