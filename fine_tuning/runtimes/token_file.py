"""The token that opens a server to others, in a file only its owner may read."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from fine_tuning.core.errors import ConfigError
from fine_tuning.storage.atomic import storage_errors

TOKEN_BYTES = 32
MIN_TOKEN_CHARACTERS = 16


def read_token(path: Path) -> str:
    """Read a token, or make one when the file is not there; only its owner may read it.

    Raises:
        StorageError: if it can be neither read nor written.
        ConfigError: if others may read it, or it is too short to keep anyone out.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(file, "w", encoding="ascii") as new:
                new.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
        mode = path.stat().st_mode
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigError(
                f"{path} can be read by others (mode {stat.S_IMODE(mode):o}), expected 600",
                next_command=f"chmod 600 {path}",
            )
        token = path.read_text(encoding="utf-8").strip()
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii() or " " in token:
        raise ConfigError(
            f"{path} holds no token of {MIN_TOKEN_CHARACTERS} or more characters",
            next_command=f"remove {path}, and a new one is made",
        )
    return token
