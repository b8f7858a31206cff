"""What every route needs of HTTP: bodies within bounds, clean errors, streams one can drop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse

from fine_tuning.core.errors import (
    DataError,
    DeploymentError,
    FineTuningError,
    ModelNotFoundError,
    RuntimeUnavailableError,
)
from fine_tuning.core.json_value import JsonValue
from fine_tuning.runtimes.llama_answers import RequestRefusedError

MAX_BODY_BYTES = 8 << 20
# A body beyond the limit is read and dropped up to here, so that its sender hears the answer.
MAX_DROPPED_BYTES = 64 << 20
BODY_TIMEOUT_S = 60.0
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
STATUS: tuple[tuple[type[FineTuningError], int], ...] = (
    (ModelNotFoundError, 404),
    (DataError, 400),
    (DeploymentError, 400),
    (RequestRefusedError, 400),
    (RuntimeUnavailableError, 503),
)
OPENAI_PREFIX = "/v1/"

Value = TypeVar("Value")


class HttpError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


def answer(value: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(orjson.dumps(value), status, media_type="application/json")


def status_of(error: FineTuningError) -> int:
    """Return the HTTP status of an error."""
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def error_value(path: str, status: int, sentence: str) -> dict[str, JsonValue]:
    """Return an error in the words of the interface that was asked."""
    if not path.startswith(OPENAI_PREFIX):
        return {"error": sentence}
    kind = {404: "not_found_error", 401: "authentication_error"}.get(
        status,
        "invalid_request_error" if status < 500 else "server_error",  # noqa: PLR2004
    )
    return {"error": {"message": sentence, "type": kind, "param": None, "code": None}}


def error_answer(path: str, status: int, sentence: str) -> Response:
    """Return an error as an answer."""
    response = answer(error_value(path, status, sentence), status)
    if status == 401:  # noqa: PLR2004 - unauthorized
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


async def body_of(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        HttpError: 413 if it is too large, 408 if it comes too slowly.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    chunks.clear()
                    if size > MAX_DROPPED_BYTES:
                        break
                else:
                    chunks.append(chunk)
    except TimeoutError as error:
        raise HttpError(408, f"the body did not arrive within {BODY_TIMEOUT_S:.0f} s") from error
    if size > MAX_BODY_BYTES:
        raise HttpError(413, f"the body has more than {MAX_BODY_BYTES} bytes, expected fewer")
    return b"".join(chunks)


async def while_connected(request: Request, work: Awaitable[Value]) -> Value:
    """Do work for a client; drop it when the client goes.

    Raises:
        ClientDisconnect: if the client went.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        for one in (task, gone):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def streamed(
    request: Request,
    values: AsyncIterator[Value],
    line: Callable[[Value], bytes],
    media_type: str,
    last_line: bytes = b"",
) -> Response:
    """Return a streamed answer, whose status is right up to its first value.

    Args:
        request: Whose path decides the form of an error half-way.
        values: What is streamed; its first is awaited before the status is sent.
        line: Makes a value's bytes.
        media_type: NDJSON or SSE.
        last_line: Sent after the last value.
    """

    async def first() -> Value | None:
        return await anext(values, None)

    begin = await while_connected(request, first())

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(values):  # type: ignore[type-var]
            if begin is not None:
                yield line(begin)
            try:
                async for value in values:
                    yield line(value)
            except FineTuningError as error:
                told = error_value(request.url.path, status_of(error), error.message)
                yield orjson.dumps(told) + b"\n" if media_type == NDJSON else sse(told)
                return
        if last_line:
            yield last_line

    return StreamingResponse(lines(), media_type=media_type)


def ndjson(value: object) -> bytes:
    """Return a line of Ollama's streams."""
    return orjson.dumps(value) + b"\n"


def sse(value: object) -> bytes:
    """Return a server-sent event."""
    return b"data: " + orjson.dumps(value) + b"\n\n"
