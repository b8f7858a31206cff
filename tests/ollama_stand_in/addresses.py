"""Where a server listens, and whom it answers (Ollama: envconfig/config.go, server/routes.go)."""

from __future__ import annotations

from fnmatch import fnmatch
from ipaddress import ip_address

LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]")  # noqa: S104 - as text
LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
APPS = ("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*")


def url_of(host: str, port: int) -> str:
    """Return the address a client on this machine reaches it at."""
    if ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_allowed_host(listens_at: str, told: str) -> bool:
    """Tell whether a request's Host is answered: any, where others may reach the server."""
    if not ip_address(listens_at).is_loopback:
        return True
    name = told.rpartition(":")[0] if not told.endswith("]") and ":" in told else told
    return name in LOCAL_HOSTS or name.lower().endswith(LOCAL_SUFFIXES)


def is_allowed_origin(origin: str) -> bool:
    """Tell whether a page may ask: none, one of this machine, or one of an app's."""
    if not origin or any(fnmatch(origin, app) for app in APPS):
        return True
    scheme, _, host = origin.partition("://")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return scheme in ("http", "https") and name in LOCAL_HOSTS
