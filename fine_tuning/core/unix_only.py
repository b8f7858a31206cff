"""File locks of Linux and macOS; Windows has none, and importing this says what to use instead."""

from __future__ import annotations

SENTENCE = (
    "fine-tuning runs on Linux and macOS; on Windows, use WSL "
    "(https://learn.microsoft.com/windows/wsl/install): wsl --install"
)

try:
    import fcntl as fcntl  # noqa: PLC0414 - handed on
except ImportError as error:
    raise ImportError(SENTENCE) from error
