"""llama-server's endpoints without threads: dropping a request drops its work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx

from fine_tuning.core.errors import DataError, RuntimeFailedError, RuntimeUnavailableError
from fine_tuning.runtimes.embedded import ServerAccess
from fine_tuning.runtimes.llama_answers import event_of, failure_of
from fine_tuning.runtimes.llama_api import StreamEvent
from fine_tuning.runtimes.llama_client import CONNECT_TIMEOUT_S

JSON = {"Content-Type": "application/json"}


class LlamaStream:
    """One client of a llama-server, for one event loop.

    Args:
        access: Where the server listens.
    """

    def __init__(self, access: ServerAccess) -> None:
        self._http = httpx.AsyncClient(
            base_url=access.address,
            headers={"Authorization": f"Bearer {access.key}"},
            timeout=httpx.Timeout(CONNECT_TIMEOUT_S, read=None, pool=None),
            # llama-server closes idle connections; a fresh one on loopback costs nothing.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    async def post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
        """Return the JSON answer of a POST.

        Raises:
            DataError: if a text is not valid Unicode.
            RuntimeUnavailableError: if the server was closed.
            RuntimeFailedError: if it answers with an error.
        """
        try:
            response = await self._http.post(path, content=_content(body), headers=JSON)
        except httpx.TransportError as error:
            raise RuntimeUnavailableError(f"the model server does not answer: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise failure_of(response)
        return response.json()

    async def events(self, path: str, body: Mapping[str, object]) -> AsyncIterator[StreamEvent]:
        """Yield the server-sent events of a POST; raises as :meth:`post` does, or half-way."""
        content = _content({**body, "stream": True})
        try:
            async with self._http.stream("POST", path, content=content, headers=JSON) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    raise failure_of(response)
                async for line in response.aiter_lines():
                    if (event := event_of(line)) is not None:
                        yield event
        except httpx.ConnectError as error:
            raise RuntimeUnavailableError(f"the model server does not answer: {error}") from error
        except httpx.TransportError as error:
            raise RuntimeFailedError(f"the model server stopped half-way: {error}") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


def _content(body: Mapping[str, object]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError("a text holds half of a surrogate pair, expected valid Unicode") from error
