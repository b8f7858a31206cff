"""Pairs of a better and a worse reply, and single replies that were rated.

    {"input": {"messages"}, "preferred_output", "non_preferred_output"}   OpenAI
    {"prompt", "chosen", "rejected"}                                      TRL: texts or messages
    {"chosen", "rejected"} with the prompt in both                        HH, UltraFeedback
    {"prompt", "completion", "label"}                                     TRL, for KTO

A pair becomes two replies to one question and a choice; a label becomes a thumb.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fine_tuning.core.conversation import Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.core.naming import content_name
from fine_tuning.core.reading import read_conversation
from fine_tuning.data_collection.importers.fields import mapping, objects, text
from fine_tuning.data_collection.importers.importer import importer_of_records
from fine_tuning.data_collection.importers.items import Draft, Imported
from fine_tuning.data_collection.importers.openai_chat import openai_message

SOURCE = "import:preference"
_QUESTIONS = ("prompt", "question", "instruction", "input")
_SPEAKERS = re.compile(r"\n\n(Human|Assistant): ?")

Turns = list[dict[str, JsonValue]]


def _accepts(record: JsonObject) -> bool:
    keys = record.keys()
    return (
        {"preferred_output", "non_preferred_output"} <= keys
        or {"chosen", "rejected"} <= keys
        or {"prompt", "completion", "label"} <= keys
    )


def _convert(record: JsonObject) -> Iterator[Imported]:
    if "label" in record and "completion" in record:
        yield _labelled(record)
        return
    prompt, chosen, rejected = _sides(record)
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    if not prompt:
        prompt, chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    elif chosen[: len(prompt)] == prompt and rejected[: len(prompt)] == prompt:
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
    if not chosen or not rejected or chosen == rejected:
        raise DataError("the better and the worse reply are the same, or one of them is missing")
    yield _pair(record, prompt, chosen, rejected)


def _pair(record: JsonObject, prompt: Turns, chosen: Turns, rejected: Turns) -> Imported:
    draft = Draft(SOURCE, content_name([prompt, chosen, rejected]))
    asked = _messages(draft.id, prompt)
    end = asked[-1].id if asked else None
    better = _messages(f"{draft.id}/chosen", chosen, end)
    worse = _messages(f"{draft.id}/rejected", rejected, end)
    if better[0].role != "assistant" or worse[0].role != "assistant":
        raise DataError("a reply to compare is not the assistant's")
    draft.add_feedback(better[0].id, "choice", rejected_id=worse[0].id)
    conversation = draft.conversation(
        (*asked, *better, *worse),
        leaf_id=better[-1].id,
        metadata={"tools": tools} if (tools := _tools(record)) else {},
    )
    return draft.imported(conversation)


def _labelled(record: JsonObject) -> Imported:
    prompt, reply, label = _turns(record["prompt"]), record["completion"], record["label"]
    if label not in {1, 0, -1}:  # true and false are 1 and 0
        raise DataError(f"'label' is {label!r}, expected true or false")
    draft = Draft(SOURCE, content_name([prompt, reply, bool(label == 1)]))
    messages = _messages(draft.id, prompt)
    end = messages[-1].id if messages else None
    replies = _messages(f"{draft.id}/reply", _turns(reply, "assistant"), end)
    draft.add_feedback(replies[-1].id, "thumb", value=1 if label == 1 else -1)
    return draft.imported(draft.conversation((*messages, *replies)))


def _sides(record: JsonObject) -> tuple[Turns, Turns, Turns]:
    """Return the question, the better and the worse reply, whatever their shape."""
    if "preferred_output" in record:
        asked = [openai_message(item) for item in objects(mapping(record, "input"), "messages")]
        return asked, _turns(record["preferred_output"]), _turns(record["non_preferred_output"])
    prompt: Turns = []
    key = next((key for key in _QUESTIONS if record.get(key)), None)
    if key is not None:
        prompt = _turns(record[key])
    system = text(record, "system", "system_prompt")
    if system and prompt and prompt[0]["role"] != "system":
        prompt = [{"role": "system", "content": system}, *prompt]
    return prompt, _turns(record["chosen"], "assistant"), _turns(record["rejected"], "assistant")


def _turns(value: object, role: str = "user") -> Turns:
    """Return messages given as a list, a dialogue of ``Human:`` and ``Assistant:``, or one text.

    Raises:
        DataError: if the value is neither.
    """
    if isinstance(value, str):
        pieces = _SPEAKERS.split(value)
        if len(pieces) > 1 and not pieces[0].strip():
            roles = {"Human": "user", "Assistant": "assistant"}
            spoken = zip(pieces[1::2], pieces[2::2], strict=True)
            return [{"role": roles[who], "content": said.strip()} for who, said in spoken]
        return [{"role": role, "content": value}]
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, Sequence) and all(isinstance(item, Mapping) for item in value):
        return [openai_message(item) for item in value]
    raise DataError(f"a prompt or reply is {type(value).__name__}, expected text or messages")


def _messages(name: str, turns: Turns, parent: str | None = None) -> tuple[Message, ...]:
    given = [{**turn, "id": f"{name}/{index}"} for index, turn in enumerate(turns)]
    read = read_conversation({"id": name, "messages": given}).messages
    return tuple(
        replace(message, parent_id=message.parent_id if index else parent)
        for index, message in enumerate(read)
    )


def _tools(record: JsonObject) -> JsonValue:
    return record.get("tools") or mapping(record, "input").get("tools")


PREFERENCE = importer_of_records("preference", "preference pairs", _accepts, _convert)
