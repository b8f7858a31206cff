"""Shapes other trainers and services read, written only: OpenAI's, ShareGPT's, and TRL's three.

    openai    {"messages": [...]}, tool arguments as JSON text, weight 0 where a turn is not learnt
    sharegpt  {"conversations": [{"from", "value"}, ...]}
    trl_sft   {"messages": [...]}
    trl_dpo   {"prompt": [...], "chosen": [...], "rejected": [...]}
    trl_kto   {"prompt": [...], "completion": [...], "label": true}

Content is always text, so that every column has one type in every row. A conversation that a shape
cannot express is refused, never bent. Source: TRL, docs/source/dataset_formats.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fine_tuning.core.conversation import Conversation, Message
from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonValue
from fine_tuning.core.naming import canonical_json
from fine_tuning.core.preference import LabelledReply, PreferencePair

DPO, KTO = "trl_dpo", "trl_kto"
_SPEAKERS = {"system": "system", "developer": "system", "user": "human", "tool": "observation"}


def to_openai(conversation: Conversation) -> dict[str, JsonValue]:
    """Return the branch as OpenAI's fine-tuning service reads it.

    Raises:
        DataError: if it is empty or holds more than text.
    """
    return {"messages": [_openai_message(message) for message in _texts_only(conversation)]}


def _openai_message(message: Message) -> dict[str, JsonValue]:
    raw: dict[str, JsonValue] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        raw["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": canonical_json(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id:
        raw["tool_call_id"] = message.tool_call_id
    if message.role == "assistant" and not message.weight:
        raw["weight"] = 0
    return raw


def to_sharegpt(conversation: Conversation) -> dict[str, JsonValue]:
    """Return the branch in ShareGPT's shape; a tool call is a turn of its own.

    Raises:
        DataError: if it is empty, holds more than text, or a turn that must not be learnt.
    """
    turns: list[dict[str, str]] = []
    for message in _learnt_only(conversation):
        speaker = _SPEAKERS.get(message.role, "gpt")
        if message.text or not message.tool_calls:
            turns.append({"from": speaker, "value": message.text})
        for call in message.tool_calls:
            said = canonical_json({"name": call.name, "arguments": call.arguments})
            turns.append({"from": "function_call", "value": said})
    return {"conversations": turns}


def to_trl_sft(conversation: Conversation) -> dict[str, JsonValue]:
    """Return the branch as TRL's SFTTrainer reads it.

    Raises:
        DataError: if it is empty, holds more than text, or a turn that must not be learnt.
    """
    return {"messages": [_plain(message) for message in _learnt_only(conversation)]}


def to_trl_dpo(pair: PreferencePair) -> dict[str, JsonValue]:
    """Return a pair as TRL's DPOTrainer reads it."""
    return {
        "prompt": [_plain(message) for message in pair.prompt],
        "chosen": [_plain(pair.chosen)],
        "rejected": [_plain(pair.rejected)],
    }


def to_trl_kto(labelled: LabelledReply) -> dict[str, JsonValue]:
    """Return a rated reply as TRL's KTOTrainer reads it."""
    return {
        "prompt": [_plain(message) for message in labelled.prompt],
        "completion": [_plain(labelled.reply)],
        "label": labelled.is_wanted,
    }


WRITTEN: dict[str, Callable[[Conversation], dict[str, JsonValue]]] = {
    "openai": to_openai,
    "sharegpt": to_sharegpt,
    "trl_sft": to_trl_sft,
}
"""The shapes that are written of conversations; each gives one record."""


def _plain(message: Message) -> dict[str, JsonValue]:
    raw: dict[str, JsonValue] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        raw["tool_calls"] = [call.to_dict() for call in message.tool_calls]
    return raw


def _texts_only(conversation: Conversation) -> Sequence[Message]:
    path = conversation.path()
    if not path:
        raise DataError(f"conversation {conversation.id} has no messages")
    if any(part.type != "text" for message in path for part in message.content):
        raise DataError(
            f"conversation {conversation.id} has a turn with attachments; only chatml carries that"
        )
    if not any(m.role == "assistant" and (m.text.strip() or m.tool_calls) for m in path):
        raise DataError(f"conversation {conversation.id} has no reply, so nothing to learn")
    return path


def _learnt_only(conversation: Conversation) -> Sequence[Message]:
    path = _texts_only(conversation)
    if any(message.role == "assistant" and not message.weight for message in path):
        raise DataError(
            f"conversation {conversation.id} has a turn with weight 0; only chatml and openai "
            "carry that"
        )
    return path
