"""Where a server listens; knows nothing of HTTP."""

from __future__ import annotations

import errno
import ipaddress
import socket

from fine_tuning.core.errors import RuntimeUnavailableError

BACKLOG = 512


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        RuntimeUnavailableError: if the address is taken, not this machine's, or not permitted.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        server = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # a name may be one that cannot even be asked for
        reason = error.strerror if isinstance(error, OSError) else error
        raise RuntimeUnavailableError(
            f"{host!r} is no address: {reason}",
            next_command="fine-tuning serve --host 127.0.0.1",
        ) from error
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(address)
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        taken = error.errno == errno.EADDRINUSE
        other = {errno.EADDRINUSE: f"--port {port + 1}", errno.EACCES: "--port 11434"}
        ask = other.get(error.errno or 0, "--host 127.0.0.1")
        raise RuntimeUnavailableError(
            f"port {port} of {host} cannot be listened on: "
            + ("another server, perhaps Ollama, has it" if taken else str(error.strerror)),
            next_command=f"fine-tuning serve {ask}",
        ) from error
    server.setblocking(False)
    return server


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
