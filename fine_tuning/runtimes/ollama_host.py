"""Where Ollama listens, in all the forms its own programs take (Ollama: envconfig/config.go, Host).

``OLLAMA_HOST`` may be a bare address or port, a URL, or an address to listen on; several spellings
of it are one server.
"""

from __future__ import annotations

import ipaddress
import os
import re
from urllib.parse import urlsplit

from fine_tuning.core.errors import ConfigError

VARIABLE = "OLLAMA_HOST"
DEFAULT_URL = "http://localhost:11434"
DEFAULT_PORT = 11434
_SCHEME_PORTS = {"http": 80, "https": 443}
_LOOPBACK = "localhost"
_MAX_PORT = 65535
_HOST = re.compile(r"[\w.\-~%]+(?:@[\w.\-]+)?")


def ollama_url(text: str) -> str:
    """Return the URL to connect to for a value of ``OLLAMA_HOST``.

    Without a scheme the port is 11434 by default, with one that of the scheme; an address that
    means "all of this machine" becomes the loopback; quotes and blanks around it are dropped.

    Args:
        text: Such as "0.0.0.0", ":1234", "box.local:8080", "https://example.com/ollama", "::1".

    Returns:
        A URL without a slash at its end; that of Ollama's default for "".

    Raises:
        ConfigError: if it names no host, or a scheme other than http and https.
    """
    given = text.strip().strip("\"'").strip()
    scheme, found, rest = given.partition("://")
    if not found:
        scheme, rest = "http", given
        if rest == "ollama.com":
            scheme, rest = "https", "ollama.com:443"
    scheme = scheme.lower()
    if scheme not in _SCHEME_PORTS:
        raise ConfigError(
            f"{VARIABLE} is {text!r}, expected a host, host:port, or an http or https URL"
        )
    default_port = _SCHEME_PORTS[scheme] if found else DEFAULT_PORT
    netloc, _, path = rest.partition("/")
    host, port = _host_and_port(netloc, default_port)
    if not host:
        raise ConfigError(f"{VARIABLE} is {text!r}, which names no host")
    path = path.rstrip("/")
    return f"{scheme}://{host}:{port}" + (f"/{path}" if path else "")


def server_address(setting: str = DEFAULT_URL) -> str:
    """Return where the server is that a setting names.

    Args:
        setting: ``deployment.ollama_base_url``; at its default, or empty, ``OLLAMA_HOST`` decides.

    Returns:
        The URL to connect to.

    Raises:
        ConfigError: as :func:`ollama_url`.
    """
    is_default = not setting or same_server(setting, DEFAULT_URL)
    named = os.environ.get(VARIABLE, "").strip() if is_default else ""
    return ollama_url(named or setting)


def address_source(setting: str = DEFAULT_URL) -> str:
    """Return what says where the server is: a variable, a setting, or Ollama's default.

    Args:
        setting: ``deployment.ollama_base_url``.
    """
    if setting and not same_server(setting, DEFAULT_URL):
        return "deployment.ollama_base_url"
    return VARIABLE if os.environ.get(VARIABLE, "").strip() else "Ollama's default"


def same_server(one: str, other: str) -> bool:
    """Tell whether two addresses are one server.

    Args:
        one: A URL, or any other form of ``OLLAMA_HOST``.
        other: Another.
    """
    return server_identity(one) == server_identity(other)


def server_identity(address: str) -> str:
    """Return the one spelling of a server's address: its loopback is ``localhost``.

    Args:
        address: Any form of ``OLLAMA_HOST``.

    Raises:
        ConfigError: as :func:`ollama_url`.
    """
    url = urlsplit(ollama_url(address))
    host = (url.hostname or "").rstrip(".")
    if host != _LOOPBACK and _is_loopback(host):
        host = _LOOPBACK
    shown = f"[{host}]" if ":" in host else host
    return f"{url.scheme}://{shown}:{url.port}{url.path}"


def _host_and_port(netloc: str, default_port: int) -> tuple[str, int]:
    """Split a host from its port; a port that is none is the default one."""
    bare = netloc.strip("[]")
    if _address(bare) is not None:  # an address alone, which may hold colons
        return _connectable(bare), default_port
    host, colon, port = netloc.rpartition(":")
    if not colon:
        host, port = netloc, ""
    number = int(port) if port.isdecimal() and int(port) <= _MAX_PORT else default_port
    host = host.strip("[]")
    if not host:
        return _LOOPBACK, number
    if _address(host) is not None:
        return _connectable(host), number
    return (host if _HOST.fullmatch(host) else ""), number


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _connectable(host: str) -> str:
    """Return an address one can connect to, as a URL writes it."""
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")  # noqa: PLR2004 - IPv4
    return str(address) if isinstance(address, ipaddress.IPv4Address) else f"[{address}]"


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback
