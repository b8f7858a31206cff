"""OpenAI's route /v1/responses (OpenAI API reference: responses; as Ollama speaks it since 0.13.3).

Nothing is stored: a request brings its whole conversation.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, JsonValue
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
from fine_tuning.runtimes.serving.requests import ResponsesRequest, read_request
from fine_tuning.runtimes.serving.work import ReplyOutcome, reply

NO_IMAGES = "the request holds an image or a file, and the embedded runtime reads only text"
_TEXTS = frozenset({"input_text", "output_text", "text"})


class ResponsesApi:
    """The route over a pool of models.

    Args:
        pool: Where models are loaded; its catalog knows their names.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def routes(self) -> list[Route]:
        """Return all routes."""
        return [Route("/v1/responses", self.respond, methods=["POST"])]

    async def respond(self, request: Request) -> Response:
        """Answer a conversation."""
        asked = read_request(ResponsesRequest, await body_of(request))
        work = Work(
            model=await asyncio.to_thread(self._pool.catalog.find, asked.model),
            messages=_messages(asked),
            options=_options(asked),
            fields=_fields(asked),
        )
        outcome = ReplyOutcome()
        pieces = reply(self._pool, work, outcome)
        told = _Told(asked)
        if not asked.stream:
            whole = await while_connected(request, gathered(pieces))
            return answer(told.response(told.items(whole), outcome))
        return await streamed(request, told.events(pieces, outcome), event_line, SSE)


def _messages(asked: ResponsesRequest) -> list[dict[str, object]]:
    """Return the conversation in the form of chat completions.

    Raises:
        DataError: if an item is of a kind that is not known, or holds an image.
    """
    turns: list[dict[str, object]] = []
    if asked.instructions:
        turns.append({"role": "system", "content": asked.instructions})
    if isinstance(asked.input, str):
        return [*turns, {"role": "user", "content": asked.input}]
    for item in asked.input or ():
        kind = item.get("type") or ("message" if "role" in item else "")
        if kind == "message":
            role = str(item.get("role") or "user").lower()
            turns.append({"role": role, "content": _text(item.get("content"))})
        elif kind == "function_call":
            _add_call(turns, item)
        elif kind == "function_call_output":
            called = str(item.get("call_id") or "")
            text = _text(item.get("output"))
            turns.append({"role": "tool", "tool_call_id": called, "content": text})
        elif kind not in {"reasoning", "web_search_call", "item_reference"}:
            raise DataError(f"an input item is of type {kind!r}, which is not known here")
    return turns


def _add_call(turns: list[dict[str, object]], item: JsonObject) -> None:
    """Add a call to the assistant's last message, or as one of its own."""
    call = {
        "id": item.get("call_id") or "",
        "type": "function",
        "function": {"name": item.get("name"), "arguments": item.get("arguments") or "{}"},
    }
    last = turns[-1] if turns else {}
    if last.get("role") == "assistant":
        before = last.get("tool_calls")
        last["tool_calls"] = [*(before if isinstance(before, list) else ()), call]
        return
    turns.append({"role": "assistant", "content": "", "tool_calls": [call]})


def _text(content: JsonValue) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, Mapping) or part.get("type") not in _TEXTS:
            raise DataError(NO_IMAGES)
        texts.append(str(part.get("text") or ""))
    return "".join(texts)


def _options(asked: ResponsesRequest) -> dict[str, JsonValue]:
    limit = asked.max_output_tokens
    return {
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        **({} if asked.top_p is None else {"top_p": asked.top_p}),
        **({} if limit is None else {"num_predict": limit}),
    }


def _fields(asked: ResponsesRequest) -> dict[str, object]:
    fields: dict[str, object] = {}
    tools = [tool for tool in asked.tools or () if tool.get("type") == "function"]
    if tools:
        fields["tools"] = [
            {
                "type": "function",
                "function": {key: tool[key] for key in ("name", "description", "parameters")
                             if tool.get(key) is not None},
            }
            for tool in tools
        ]  # fmt: skip
    form = (asked.text or {}).get("format")
    if isinstance(form, Mapping) and form.get("type") == "json_schema" and form.get("schema"):
        schema = {"name": form.get("name") or "reply", "schema": form["schema"]}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    effort = (asked.reasoning or {}).get("effort")
    if effort:
        fields["chat_template_kwargs"] = {"enable_thinking": effort != "none"}
    return fields


class _Told:
    """The answer to one request, whole or as events."""

    def __init__(self, asked: ResponsesRequest) -> None:
        self._asked = asked
        self._id = f"resp_{secrets.token_hex(12)}"
        self._created = int(time.time())
        self._number = 0

    def items(self, whole: ReplyPiece) -> list[JsonValue]:
        """Return what a reply consists of: thoughts, then calls or a message."""
        items: list[JsonValue] = []
        if whole.thinking:
            items.append(self._thoughts(whole.thinking))
        calls = whole_calls(whole.tool_calls)
        for place, call in enumerate(calls):
            items.append({
                "id": f"fc_{self._id}_{place}", "type": "function_call", "status": "completed",
                "call_id": call["id"], "name": call["function"]["name"],
                "arguments": call["function"]["arguments"],
            })  # fmt: skip
        if whole.text or not calls:
            items.append(self._message(whole.text, "completed"))
        return items

    def response(
        self, items: list[JsonValue], outcome: ReplyOutcome | None, status: str = "completed"
    ) -> dict[str, JsonValue]:
        """Return the answer's object; without an outcome it has only begun."""
        asked = self._asked
        usage: JsonValue = None
        if outcome is not None:
            usage = {
                "input_tokens": outcome.prompt_tokens,
                "output_tokens": outcome.reply_tokens,
                "total_tokens": outcome.prompt_tokens + outcome.reply_tokens,
                "input_tokens_details": {"cached_tokens": outcome.cached_tokens},
                "output_tokens_details": {"reasoning_tokens": 0},
            }
        return {
            "id": self._id, "object": "response", "created_at": self._created,
            "completed_at": int(time.time()) if outcome is not None else None,
            "status": status, "incomplete_details": None, "model": asked.model,
            "previous_response_id": None, "instructions": asked.instructions, "output": items,
            "error": None, "tools": list(asked.tools or ()), "tool_choice": "auto",
            "truncation": asked.truncation or "disabled", "parallel_tool_calls": True,
            "text": {"format": (asked.text or {}).get("format") or {"type": "text"}},
            "top_p": 1.0 if asked.top_p is None else asked.top_p,
            "presence_penalty": 0, "frequency_penalty": 0, "top_logprobs": 0,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "reasoning": asked.reasoning or None, "usage": usage,
            "max_output_tokens": asked.max_output_tokens, "max_tool_calls": None, "store": False,
            "background": False, "service_tier": "default", "metadata": {},
            "safety_identifier": None, "prompt_cache_key": None,
        }  # fmt: skip

    async def events(
        self, pieces: AsyncIterator[ReplyPiece], outcome: ReplyOutcome
    ) -> AsyncIterator[dict[str, JsonValue]]:
        """Yield the events of a reply as its pieces come."""
        begun = self.response([], None, "in_progress")
        yield self._event("response.created", response=begun)
        yield self._event("response.in_progress", response=begun)
        blocks = Blocks(pieces)
        async for change in blocks.changes():
            for event in self._block(change):
                yield event
        items = self.items(blocks.merged)
        calls = [item for item in items if _is_call(item)]
        for place, item in enumerate(calls):
            for event in self._call(item, blocks.count + place):  # type: ignore[arg-type]
                yield event
        yield self._event("response.completed", response=self.response(items, outcome))

    def _event(self, kind: str, **fields: JsonValue) -> dict[str, JsonValue]:
        self._number += 1
        return {"type": kind, "sequence_number": self._number - 1, **fields}

    def _block(self, change: BlockChange) -> list[dict[str, JsonValue]]:
        kind = "message" if change.kind == "text" else "reasoning"
        if change.change == "opens":
            return self._opening(kind, change.index)
        if change.change == "grows":
            return [self._delta(kind, change.index, change.text)]
        return self._closing(kind, change.index, change.text)

    def _opening(self, kind: str, index: int) -> list[dict[str, JsonValue]]:
        item = self._message("", "in_progress") if kind == "message" else self._thoughts("")
        events = [self._event("response.output_item.added", output_index=index, item=item)]
        if kind == "message":
            events.append(
                self._event(
                    "response.content_part.added", item_id=item["id"], output_index=index,
                    content_index=0, part=_part(""),
                )
            )  # fmt: skip
        return events

    def _delta(self, kind: str, index: int, text: str) -> dict[str, JsonValue]:
        if kind == "message":
            return self._event(
                "response.output_text.delta", item_id=self._item_id(kind), output_index=index,
                content_index=0, delta=text, logprobs=[],
            )  # fmt: skip
        return self._event(
            "response.reasoning_summary_text.delta", item_id=self._item_id(kind),
            output_index=index, summary_index=0, delta=text,
        )  # fmt: skip

    def _closing(self, kind: str, index: int, text: str) -> list[dict[str, JsonValue]]:
        name = self._item_id(kind)
        if kind == "message":
            item = self._message(text, "completed")
            done = [
                self._event(
                    "response.output_text.done", item_id=name, output_index=index,
                    content_index=0, text=text, logprobs=[],
                ),
                self._event(
                    "response.content_part.done", item_id=name, output_index=index,
                    content_index=0, part=_part(text),
                ),
            ]  # fmt: skip
        else:
            item = self._thoughts(text)
            done = [
                self._event(
                    "response.reasoning_summary_text.done", item_id=name, output_index=index,
                    summary_index=0, text=text,
                )
            ]  # fmt: skip
        return [*done, self._event("response.output_item.done", output_index=index, item=item)]

    def _call(self, item: JsonObject, index: int) -> list[dict[str, JsonValue]]:
        begun = {**item, "status": "in_progress", "arguments": ""}
        told: dict[str, JsonValue] = {"item_id": item["id"], "output_index": index}
        arguments = item["arguments"]
        return [
            self._event("response.output_item.added", output_index=index, item=begun),
            self._event("response.function_call_arguments.delta", **told, delta=arguments),
            self._event("response.function_call_arguments.done", **told, arguments=arguments),
            self._event("response.output_item.done", output_index=index, item=dict(item)),
        ]

    def _item_id(self, kind: str) -> str:
        return f"{'msg' if kind == 'message' else 'rs'}_{self._id}"

    def _message(self, text: str, status: str) -> dict[str, JsonValue]:
        content: list[JsonValue] = [] if status == "in_progress" else [_part(text)]
        return {
            "id": self._item_id("message"), "type": "message", "status": status,
            "role": "assistant", "content": content,
        }  # fmt: skip

    def _thoughts(self, text: str) -> dict[str, JsonValue]:
        summary: list[JsonValue] = [{"type": "summary_text", "text": text}] if text else []
        return {
            "id": self._item_id("reasoning"), "type": "reasoning", "summary": summary,
            "encrypted_content": text,
        }  # fmt: skip


def _part(text: str) -> dict[str, JsonValue]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _is_call(item: JsonValue) -> bool:
    return isinstance(item, Mapping) and item["type"] == "function_call"
