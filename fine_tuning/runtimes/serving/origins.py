"""Who may ask a server: which pages of a browser, and by which names of this machine.

The defaults are Ollama's (envconfig/config.go, AllowedOrigins; server/routes.go, allowedHost):
pages of this machine, and of desktop programs. A page from elsewhere, open in a browser here,
gives itself away by its origin, or, when it let its name point here, by the host it asks for.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

VARIABLE = "OLLAMA_ORIGINS"
PREFLIGHT_S = "600"
_LOCAL = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")  # noqa: S104 - names in an origin
_PROGRAMS = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_ENDINGS = (".localhost", ".local", ".internal")
_METHODS = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"


@dataclass(frozen=True, slots=True)
class Visitors:
    """Origins and hosts that are let in besides Ollama's defaults.

    Args:
        origins: Such as "https://chat.example.com"; "*" stands for any characters.
        hosts: Names of this machine, such as "box.example.com"; "*" lets in every one.
    """

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def takes_origin(self, origin: str) -> bool:
        """Tell whether a page of an origin may ask.

        Args:
            origin: The header ``Origin``.
        """
        scheme = origin.partition("://")[0].lower()
        if scheme in _PROGRAMS and "://" in origin:
            return True
        local = "|".join(map(re.escape, _LOCAL))
        if re.fullmatch(rf"https?://(?:{local})(?::\d+)?", origin, re.IGNORECASE):
            return True
        named = (*self.origins, *_of_environment())
        return any(_fits(pattern, origin) for pattern in named)

    def takes_host(self, host: str) -> bool:
        """Tell whether a host that is asked for is this machine.

        Args:
            host: The header ``Host``, with or without a port.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower().rstrip(".")
        except ValueError:
            return False
        if not name or name == "localhost" or name.endswith(_LOCAL_ENDINGS):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            own = socket.gethostname().lower()
            return name == own or any(_fits(pattern, name) for pattern in self.hosts)
        # A name that was let point here is no address; whoever asks for an address means it.
        return True


def _of_environment() -> tuple[str, ...]:
    given = os.environ.get(VARIABLE, "").strip().strip("\"'")
    return tuple(part.strip() for part in given.split(",") if part.strip())


def _fits(pattern: str, text: str) -> bool:
    parts = map(re.escape, pattern.rstrip("/").split("*"))
    return bool(re.fullmatch(".*".join(parts), text, re.IGNORECASE))


class CrossOrigin:
    """Answers the questions browsers ask before requests, and tells them who may read answers.

    Args:
        app: What answers everything else.
        visitors: Whose pages may ask.
        is_open: Whether pages of every origin may, because a token is asked for.
    """

    def __init__(self, app: ASGIApp, visitors: Visitors, *, is_open: bool = False) -> None:
        self._app = app
        self._visitors = visitors
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight, or pass a request on."""
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        origin = headers.get("origin", "")
        if not origin or not (self._is_open or self._visitors.takes_origin(origin)):
            await self._app(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            asked = headers.get("access-control-request-headers", "*")
            await Response(status_code=204, headers=_preflight(origin, asked))(scope, receive, send)
            return

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told["Access-Control-Allow-Origin"] = origin
                told.add_vary_header("Origin")
            await send(message)

        await self._app(scope, receive, tell)


def _preflight(origin: str, asked: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": _METHODS,
        "Access-Control-Allow-Headers": asked,
        "Access-Control-Max-Age": PREFLIGHT_S,
        "Vary": "Origin",
    }
