"""The ASGI application: routes, who may ask, and every error as JSON."""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fine_tuning.core.errors import FineTuningError
from fine_tuning.runtimes.loadable import ModelCatalog
from fine_tuning.runtimes.serving.creation import Creation
from fine_tuning.runtimes.serving.http import HttpError, error_answer, status_of
from fine_tuning.runtimes.serving.ollama_api import OllamaApi
from fine_tuning.runtimes.serving.openai_api import OpenAiApi
from fine_tuning.runtimes.serving.pool import Pool, PoolLimits
from fine_tuning.runtimes.serving.requests import OptionTypeError

logger = logging.getLogger(__name__)

LOCAL_ORIGIN = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "")
CLIENT_LEFT = 499


class RequestGuard:
    """Lets in who may ask.

    With a token, whoever brings it. Without one, only programs of this machine: a page from
    elsewhere, open in a browser here, gives itself away by its origin, or, when it let its name
    point here, by the host it asks for.

    Args:
        app: What is guarded.
        token: The token, "" for none.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
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
        if _hostname(host) not in LOCAL_HOSTS:
            return error_answer(path, 403, f"host {host!r} is not this machine")
        origin = request.headers.get("origin", "")
        if origin and not re.fullmatch(LOCAL_ORIGIN, origin):
            return error_answer(path, 403, f"origin {origin!r} may not ask this server")
        return None


def _hostname(host: str) -> str | None:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return None


def make_app(
    catalog: ModelCatalog, limits: PoolLimits | None = None, *, token: str = ""
) -> Starlette:
    """Return the application.

    Args:
        catalog: The models it offers.
        limits: What loaded models may use.
        token: What every request must bring; "" lets in only this machine's programs.
    """
    pool = Pool(catalog, limits or PoolLimits())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await pool.close()

    app = Starlette(
        routes=[*OllamaApi(pool).routes(), *Creation(pool).routes(), *OpenAiApi(pool).routes()],
        lifespan=lifespan,
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origin_regex=LOCAL_ORIGIN,
                allow_methods=["GET", "POST", "DELETE", "HEAD"],
                allow_headers=["*"],
            ),
            Middleware(RequestGuard, token=token),
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
