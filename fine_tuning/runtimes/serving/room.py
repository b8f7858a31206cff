"""Conversations that outgrow a model's room: the oldest turns leave, as with Ollama.

Source: Ollama, server/prompt.go, chatPrompt: system messages and the last message stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from fine_tuning.core.errors import DataError, RuntimeFailedError
from fine_tuning.runtimes.llama_answers import RequestRefusedError
from fine_tuning.runtimes.llama_api import RenderedPrompt, TokenList
from fine_tuning.runtimes.llama_client import SYSTEM_ROLES
from fine_tuning.runtimes.serving.asked import Work, continues
from fine_tuning.runtimes.serving.go_replies import go_prompt
from fine_tuning.runtimes.serving.pool import Lease

Turns = Sequence[Mapping[str, object]]
SETTING = "serving.context_tokens"
_LEAST_REPLY_TOKENS = 1


async def within_room(lease: Lease, work: Work, body: Mapping[str, object]) -> dict[str, object]:
    """Return what of llama-server's request changes so that prompt and reply fit the room.

    Args:
        lease: The loaded model.
        work: What is asked.
        body: The request so far.

    Raises:
        RequestRefusedError: if the prompt does not fit and must not be cut, or cannot be.
    """
    room = lease.engine.server.context_tokens
    if work.wanted_room:
        room = min(room, work.wanted_room)
    if _cannot_outgrow(work, body, room):
        return {}
    if work.prompt is not None:
        return await _text_within(lease, work, body, room)
    turns = list(work.with_system)
    fits, count = await _largest_fitting(lease, work, turns, room)
    if fits is None:
        fits, count = await _last_cut(lease, work, turns, room)
    changed: dict[str, object] = {} if fits == turns else {"messages": fits}
    return changed | _reply_limit(body, "max_tokens", room - count)


async def rendered_prompt(lease: Lease, work: Work, turns: Turns) -> str:
    """Return the prompt of some turns, by the model's template.

    Args:
        lease: The loaded model.
        work: What is asked; its tools are shown.
        turns: The conversation, in OpenAI's form.

    Raises:
        DataError: if the template refuses it.
    """
    if work.model.go_template:
        return await asyncio.to_thread(go_prompt, work, turns)
    goes_on = continues(turns)
    body: dict[str, object] = {
        "messages": list(turns), "add_generation_prompt": not goes_on,
        **({"continue_final_message": True} if goes_on else {}),
    }  # fmt: skip
    for key in ("tools", "chat_template_kwargs"):
        if given := work.fields.get(key):
            body[key] = given
    try:
        answer: RenderedPrompt = await lease.engine.stream.post("/apply-template", body)
    except RuntimeFailedError as error:
        raise DataError(f"the chat template refuses the messages: {error.message}") from error
    return str(answer["prompt"])


async def tokens_of(lease: Lease, text: str, *, add_special: bool = True) -> list[int]:
    """Return a text's tokens.

    Args:
        lease: The loaded model.
        text: Any text; special tokens in it are read.
        add_special: Whether what stands at the beginning of every prompt is added.
    """
    asked = {"content": text, "add_special": add_special, "parse_special": True}
    answer: TokenList = await lease.engine.stream.post("/tokenize", asked)
    return list(answer["tokens"])


async def text_of(lease: Lease, tokens: Sequence[int]) -> str:
    """Return the text of tokens.

    Args:
        lease: The loaded model.
        tokens: Their ids.
    """
    answer = await lease.engine.stream.post("/detokenize", {"tokens": list(tokens)})
    return str(answer["content"])


def _cannot_outgrow(work: Work, body: Mapping[str, object], room: int) -> bool:
    """Tell whether a prompt fits for certain: a token has a byte or more."""
    said = work.prompt if work.prompt is not None else repr([work.with_system, work.fields])
    limit = body.get("max_tokens", body.get("n_predict"))
    reply = int(limit) if isinstance(limit, int | float) else _LEAST_REPLY_TOKENS
    return 2 * len(said.encode("utf-8", "replace")) + reply < room


async def _largest_fitting(
    lease: Lease, work: Work, turns: list[Mapping[str, object]], room: int
) -> tuple[list[Mapping[str, object]] | None, int]:
    """Return the most recent turns that fit, with all system messages, and their tokens."""
    whole = await _count(lease, work, turns)
    if whole < room:
        return turns, whole
    if not work.truncates:
        raise _too_long(whole, room)
    low, high = 1, len(turns) - 1  # the first turn that stays lies between them
    best: tuple[list[Mapping[str, object]] | None, int] = (None, whole)
    while low <= high:
        middle = (low + high) // 2
        kept = _from(turns, middle)
        count = await _count(lease, work, kept)
        if count < room:
            best, high = (kept, count), middle - 1
        else:
            low = middle + 1
    return best


def _from(turns: list[Mapping[str, object]], start: int) -> list[Mapping[str, object]]:
    """Return the turns from one on, behind the system messages before it."""
    return [*(turn for turn in turns[:start] if turn.get("role") in SYSTEM_ROLES), *turns[start:]]


async def _last_cut(
    lease: Lease, work: Work, turns: list[Mapping[str, object]], room: int
) -> tuple[list[Mapping[str, object]], int]:
    """Return the last turn alone, without its beginning, when even that does not fit."""
    kept = _from(turns, len(turns) - 1)
    last = kept[-1]
    empty = [*kept[:-1], {**last, "content": ""}]
    free = room - await _count(lease, work, empty) - _LEAST_REPLY_TOKENS
    if free <= 0 or not isinstance(last.get("content"), str):
        raise _too_long(await _count(lease, work, kept), room)
    tokens = await tokens_of(lease, str(last["content"]), add_special=False)
    while free > 0:
        text = await text_of(lease, tokens[-free:])
        cut = [*kept[:-1], {**last, "content": text}]
        count = await _count(lease, work, cut)
        if count < room:  # cutting may change how the beginning is read
            return cut, count
        free -= max(1, count - room + 1)
    raise _too_long(len(tokens), room)


async def _count(lease: Lease, work: Work, turns: Turns) -> int:
    return len(await tokens_of(lease, await rendered_prompt(lease, work, turns)))


async def _text_within(
    lease: Lease, work: Work, body: Mapping[str, object], room: int
) -> dict[str, object]:
    tokens = await tokens_of(lease, work.prompt or "")
    if len(tokens) < room:
        return _reply_limit(body, "n_predict", room - len(tokens))
    if not work.truncates:
        raise _too_long(len(tokens), room)
    kept = tokens[-(room - _LEAST_REPLY_TOKENS) :]
    return {"prompt": kept} | _reply_limit(body, "n_predict", room - len(kept))


def _reply_limit(body: Mapping[str, object], key: str, free: int) -> dict[str, object]:
    limit = body.get(key)
    return {key: min(int(limit), free) if isinstance(limit, int | float) else free}


def _too_long(count: int, room: int) -> RequestRefusedError:
    return RequestRefusedError(
        f"the input length exceeds the context length: the prompt has {count} tokens, and there "
        f"is room for {room} with the reply; num_ctx or {SETTING} gives more"
    )
