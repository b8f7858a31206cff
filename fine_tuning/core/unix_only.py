"""What it runs on: Linux and macOS; Windows has no ``flock`` and lends no file to a child."""

from __future__ import annotations

import os

SENTENCE = (
    "fine-tuning runs on Linux and macOS; on Windows, use WSL "
    "(https://learn.microsoft.com/windows/wsl/install): wsl --install"
)


def require_unix(system: str = os.name) -> None:
    """Do nothing where files can be locked as the stores and the queue of jobs need it.

    Raises:
        ImportError: on Windows.
    """
    if system == "nt":
        raise ImportError(SENTENCE)
