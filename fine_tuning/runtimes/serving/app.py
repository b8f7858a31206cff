"""The ASGI application: routes, who may ask, and every error as JSON."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fine_tuning.core.errors import FineTuningError
from fine_tuning.runtimes.loadable import ModelCatalog
from fine_tuning.runtimes.serving.creation import Creation
from fine_tuning.runtimes.serving.http import HttpError, error_answer, status_of
from fine_tuning.runtimes.serving.messages_api import MessagesApi
from fine_tuning.runtimes.serving.ollama_api import OllamaApi
from fine_tuning.runtimes.serving.openai_api import OpenAiApi
from fine_tuning.runtimes.serving.origins import CrossOrigin, Visitors
from fine_tuning.runtimes.serving.pool import Pool, PoolLimits
from fine_tuning.runtimes.serving.requests import OptionTypeError
from fine_tuning.runtimes.serving.responses_api import ResponsesApi

logger = logging.getLogger(__name__)

CLIENT_LEFT = 499


class RequestGuard:
    """Lets in who may ask.

    With a token, whoever brings it. Without one, programs of this machine and the pages of
    :class:`Visitors`.

    Args:
        app: What is guarded.
        token: The token, "" for none.
        visitors: Origins and hosts that may ask without one.
    """

    def __init__(self, app: ASGIApp, token: str, visitors: Visitors) -> None:
        self._app = app
        self._visitors = visitors
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refusal = self._refusal(Request(scope)) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await refusal(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        path = request.url.path
        if self._token:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), self._token)
            if scheme.lower() == "bearer" and same:
                return None
            return error_answer(path, 401, "expected the header 'Authorization: Bearer <token>'")
        host = request.headers.get("host", "")
        if not self._visitors.takes_host(host):
            return _forbidden(path, f"host {host!r} is not this machine; serving.hosts names more")
        origin = request.headers.get("origin", "")
        if origin and not self._visitors.takes_origin(origin):
            return _forbidden(path, f"origin {origin!r} may not ask; serving.origins names more")
        return None


def _forbidden(path: str, sentence: str) -> Response:
    """Return a refusal; the page it is for may not read why, the log says it."""
    logger.warning("refused a request to %s: %s", path, sentence)
    return Response(
        status_code=403, headers={"X-Reason": sentence.encode("ascii", "replace").decode()}
    )


def make_app(
    catalog: ModelCatalog,
    limits: PoolLimits | None = None,
    *,
    token: str = "",
    visitors: Visitors | None = None,
) -> Starlette:
    """Return the application.

    Args:
        catalog: The models it offers.
        limits: What loaded models may use.
        token: What every request must bring; "" lets in only this machine's programs.
        visitors: Origins and hosts that are let in besides Ollama's defaults.
    """
    visitors = visitors or Visitors()
    pool = Pool(catalog, limits or PoolLimits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await pool.close()

    app = Starlette(
        routes=[
            route
            for api in (OllamaApi, Creation, OpenAiApi, ResponsesApi, MessagesApi)
            for route in api(pool).routes()
        ],
        lifespan=lifespan,
        middleware=[
            Middleware(CrossOrigin, visitors=visitors, is_open=bool(token)),
            Middleware(RequestGuard, token=token, visitors=visitors),
        ],
        exception_handlers={
            FineTuningError: _tell,
            HttpError: _tell,
            OptionTypeError: _tell,
            HTTPException: _tell,
            ClientDisconnect: _tell,
            Exception: _tell,
        },
    )
    app.router.redirect_slashes = False
    app.state.pool = pool
    return app


async def _tell(request: Request, error: Exception) -> Response:
    """Turn any error into an answer."""
    path = request.url.path
    if isinstance(error, FineTuningError):
        return error_answer(path, status_of(error), error.message)
    if isinstance(error, HttpError):
        return error_answer(path, error.status, error.sentence)
    if isinstance(error, OptionTypeError | ClientDisconnect):
        is_option = isinstance(error, OptionTypeError)
        status, sentence = (500, str(error)) if is_option else (CLIENT_LEFT, "the client left")
        return error_answer(path, status, sentence)
    if isinstance(error, HTTPException):
        known = {404: f"there is no {path}", 405: f"{path} does not take {request.method}"}
        sentence = known.get(error.status_code, str(error.detail))
        return error_answer(path, error.status_code, sentence)
    logger.error("a request to %s failed", path, exc_info=error)
    return error_answer(path, 500, "the server failed on this request; its log says why")
