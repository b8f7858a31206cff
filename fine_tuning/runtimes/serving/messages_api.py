"""Anthropic's route /v1/messages (Anthropic API reference: messages; as Ollama speaks it)."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
from fine_tuning.runtimes.openai_answers import WholeCall
from fine_tuning.runtimes.serving.asked import Work
from fine_tuning.runtimes.serving.http import SSE, answer, body_of, streamed, while_connected
from fine_tuning.runtimes.serving.pieces import ReplyPiece
from fine_tuning.runtimes.serving.pool import Pool
from fine_tuning.runtimes.serving.replies import (
    BlockChange,
    Blocks,
    event_line,
    gathered,
    whole_calls,
)
from fine_tuning.runtimes.serving.requests import MessagesRequest, read_request
from fine_tuning.runtimes.serving.work import ReplyOutcome, reply

NO_IMAGES = "the request holds an image or a document, and the embedded runtime reads only text"
Event = dict[str, JsonValue]


class MessagesApi:
    """The route over a pool of models.

    Args:
        pool: Where models are loaded; its catalog knows their names.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [Route("/v1/messages", self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = read_request(MessagesRequest, await body_of(request))
        if not asked.messages:
            raise DataError("the request holds no messages, expected one or more")
        work = Work(
            model=await asyncio.to_thread(self._pool.catalog.find, asked.model),
            messages=_turns(asked),
            options=_options(asked),
            fields=_fields(asked),
        )
        outcome = ReplyOutcome()
        pieces = reply(self._pool, work, outcome)
        name = f"msg_{secrets.token_hex(12)}"
        if asked.stream:
            return await streamed(request, _events(name, asked, pieces, outcome), event_line, SSE)
        whole = await while_connected(request, gathered(pieces))
        calls = whole_calls(whole.tool_calls)
        return answer({
            **_head(name, asked), "content": _blocks(whole, calls),
            "stop_reason": _stop_reason(outcome, has_calls=bool(calls)),
            "usage": {"input_tokens": outcome.prompt_tokens, "output_tokens": outcome.reply_tokens},
        })  # fmt: skip


def _turns(asked: MessagesRequest) -> list[dict[str, object]]:
    """Return the conversation in the form of chat completions.

    Raises:
        DataError: if a block is an image.
    """
    turns: list[dict[str, object]] = []
    if asked.system:
        turns.append({"role": "system", "content": _text(asked.system)})
    for message in asked.messages or ():
        turns += _of_message(message)
    return turns


def _of_message(message: JsonObject) -> list[dict[str, object]]:
    """Return the turns of one message: results of tools, then what is said with its calls."""
    role, content = str(message.get("role") or "user").lower(), message.get("content")
    if content is None or isinstance(content, str):
        return [{"role": role, "content": content or ""}]
    results: list[dict[str, object]] = []
    calls: list[dict[str, object]] = []
    said: list[str] = []
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, Mapping):
            raise DataError("a message's content holds what is no block")
        _take_block(block, said, calls, results)
    turn: dict[str, object] = {"role": role, "content": "".join(said)}
    if calls:
        turn["tool_calls"] = calls
    return [*results, turn] if said or calls or not results else results


def _take_block(
    block: JsonObject,
    said: list[str],
    calls: list[dict[str, object]],
    results: list[dict[str, object]],
) -> None:
    kind = block.get("type")
    if kind == "text":
        said.append(str(block.get("text") or ""))
    elif kind == "tool_use":
        called = {"name": block.get("name"), "arguments": json.dumps(block.get("input") or {})}
        calls.append({"id": block.get("id") or "", "type": "function", "function": called})
    elif kind == "tool_result":
        text, call_id = _text(block.get("content")), str(block.get("tool_use_id") or "")
        results.append({"role": "tool", "tool_call_id": call_id, "content": text})
    elif kind not in {"thinking", "redacted_thinking"}:
        raise DataError(NO_IMAGES)


def _text(content: JsonValue) -> str:
    """Return the text of a content: a text, or blocks of text."""
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, Mapping) or block.get("type") != "text":
            raise DataError(NO_IMAGES)
        texts.append(str(block.get("text") or ""))
    return "".join(texts)


def _options(asked: MessagesRequest) -> dict[str, JsonValue]:
    given: dict[str, JsonValue] = {
        "temperature": asked.temperature,
        "top_p": asked.top_p,
        "top_k": asked.top_k,
        "num_predict": asked.max_tokens,
        "stop": list(asked.stop_sequences) if asked.stop_sequences else None,
    }
    return {key: value for key, value in given.items() if value is not None}


def _fields(asked: MessagesRequest) -> dict[str, object]:
    fields: dict[str, object] = {}
    choice = (asked.tool_choice or {}).get("type")
    own = [tool for tool in asked.tools or () if "input_schema" in tool]
    if own and choice != "none":
        fields["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.get("name"),
                    "description": tool.get("description") or "",
                    "parameters": tool["input_schema"],
                },
            }
            for tool in own
        ]
        if choice == "any":
            fields["tool_choice"] = "required"
    if asked.thinking:
        wanted = asked.thinking.get("type") in {"enabled", "adaptive"}
        fields["chat_template_kwargs"] = {"enable_thinking": wanted}
    return fields


def _head(name: str, asked: MessagesRequest) -> Event:
    return {"id": name, "type": "message", "role": "assistant", "model": asked.model}


def _blocks(whole: ReplyPiece, calls: list[WholeCall]) -> list[JsonValue]:
    blocks: list[JsonValue] = []
    if whole.thinking:
        blocks.append({"type": "thinking", "thinking": whole.thinking})
    if whole.text or not calls:
        blocks.append({"type": "text", "text": whole.text})
    return blocks + [
        {
            "type": "tool_use",
            "id": call["id"],
            "name": call["function"]["name"],
            "input": _input(call["function"]["arguments"]),
        }
        for call in calls
    ]


def _input(arguments: str) -> JsonValue:
    try:
        value: JsonValue = json.loads(arguments or "{}")
    except ValueError:
        return {"arguments": arguments}
    return value


def _stop_reason(outcome: ReplyOutcome, *, has_calls: bool) -> str:
    if has_calls:
        return "tool_use"
    return "max_tokens" if outcome.reason == "length" else "end_turn"


async def _events(
    name: str, asked: MessagesRequest, pieces: AsyncIterator[ReplyPiece], outcome: ReplyOutcome
) -> AsyncIterator[Event]:
    """Yield the events of a reply as its pieces come."""
    usage: JsonValue = {"input_tokens": 0, "output_tokens": 0}
    begun: JsonValue = {**_head(name, asked), "content": [], "usage": usage}
    yield {"type": "message_start", "message": begun}
    blocks = Blocks(pieces)
    async for change in blocks.changes():
        yield _block_event(change)
    whole = whole_calls(blocks.merged.tool_calls)
    for place, call in enumerate(whole):
        for event in _call_events(call, blocks.count + place):
            yield event
    reason = _stop_reason(outcome, has_calls=bool(whole))
    told: JsonValue = {
        "input_tokens": outcome.prompt_tokens,
        "output_tokens": outcome.reply_tokens,
    }
    yield {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": told}
    yield {"type": "message_stop"}


def _block_event(change: BlockChange) -> Event:
    if change.change == "opens":
        block: JsonValue = {"type": change.kind, change.kind: ""}
        return {"type": "content_block_start", "index": change.index, "content_block": block}
    if change.change == "closes":
        return {"type": "content_block_stop", "index": change.index}
    delta: JsonValue = {"type": f"{change.kind}_delta", change.kind: change.text}
    return {"type": "content_block_delta", "index": change.index, "delta": delta}


def _call_events(call: WholeCall, index: int) -> list[Event]:
    arguments = call["function"]["arguments"] or "{}"
    block: JsonValue = {
        "type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {},
    }  # fmt: skip
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        {
            "type": "content_block_delta",
            "index": index,
            "delta": {"type": "input_json_delta", "partial_json": arguments},
        },
        {"type": "content_block_stop", "index": index},
    ]
