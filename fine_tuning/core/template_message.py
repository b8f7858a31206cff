"""A message as chat templates read it, by llama.cpp as by Transformers."""

from __future__ import annotations

from fine_tuning.core.conversation import Message
from fine_tuning.core.json_value import JsonValue


def template_message(message: Message, content: JsonValue) -> dict[str, JsonValue]:
    """Return a message with its tool calls and thoughts; what it does not have is left out.

    Thoughts stand under both names in use: ``reasoning_content`` (Qwen) and ``thinking`` (gpt-oss).

    Args:
        message: The message.
        content: Its content in the form the template takes: text, or parts.
    """
    raw: dict[str, JsonValue] = {"role": message.role, "content": content}
    if message.tool_calls:
        raw["tool_calls"] = [call.to_dict() for call in message.tool_calls]
    optional = {
        "name": message.name,
        "tool_call_id": message.tool_call_id,
        "reasoning_content": message.reasoning,
        "thinking": message.reasoning,
    }
    return raw | {key: value for key, value in optional.items() if value}
