"""Who may open the pages from elsewhere: one password, kept as a salted hash.

Knows nothing of pages and browsers.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

import orjson

from fine_tuning.core.errors import ConfigError, StorageError
from fine_tuning.runtimes.serving.listening import is_loopback
from fine_tuning.storage.atomic import storage_errors, write_file

PASSWORD_FILE = "app_password.json"  # noqa: S105 - a file's name
MIN_PASSWORD_CHARACTERS = 8
SALT_BYTES = 16
# RFC 7914, section 2; 64 MiB and about 0.2 s a try (OWASP's password storage cheat sheet).
SCRYPT = {"n": 1 << 16, "r": 8, "p": 1}
MAX_MEMORY_BYTES = 1 << 27
OWNER_ONLY = 0o600


class Access:
    """What a user does to let others in, and nobody else.

    Args:
        home: The workspace's folder.
    """

    def __init__(self, home: Path) -> None:
        self._home = home

    @property
    def has_password(self) -> bool:
        """Whether the pages ask for a password."""
        return self._password_file.exists()

    def set_password(self, password: str) -> Path:
        """Ask for this password from now on; return the file that holds its hash.

        Raises:
            ConfigError: if it is shorter than eight characters.
            StorageError: if it cannot be written.
        """
        if len(password) < MIN_PASSWORD_CHARACTERS:
            raise ConfigError(
                f"the password has {len(password)} characters, "
                f"expected at least {MIN_PASSWORD_CHARACTERS}",
                next_command="fine-tuning app --set-password",
            )
        salt = secrets.token_bytes(SALT_BYTES)
        kept = {**SCRYPT, "salt": salt.hex(), "hash": _hash(password, salt, SCRYPT).hex()}
        write_file(self._password_file, orjson.dumps(kept))
        with storage_errors(self._password_file):
            self._password_file.chmod(OWNER_ONLY)
        return self._password_file

    def check_password(self, password: str) -> bool:
        """Tell whether this is the password, in the same time whatever differs.

        Raises:
            StorageError: if none is set, or what is kept of it cannot be read.
        """
        with storage_errors(self._password_file):
            data = self._password_file.read_bytes()
        try:
            kept = orjson.loads(data)
            salt, expected = bytes.fromhex(kept["salt"]), bytes.fromhex(kept["hash"])
            given = _hash(password, salt, kept)
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{self._password_file} does not hold a password's hash",
                next_command="fine-tuning app --set-password",
            ) from error
        return hmac.compare_digest(given, expected)

    def require_password(self, host: str) -> None:
        """Do nothing if the pages may be open at an address, or to a visitor from it.

        Raises:
            ConfigError: if others can reach it and no password is set.
        """
        if not is_loopback(host) and not self.has_password:
            raise ConfigError(
                f"the pages are open to this computer only while no password is set, and {host} is "
                "not this computer",
                next_command="fine-tuning app --set-password",
            )

    @property
    def _password_file(self) -> Path:
        return self._home / PASSWORD_FILE


def _hash(password: str, salt: bytes, cost: dict[str, int]) -> bytes:
    n, r, p = (cost[name] for name in ("n", "r", "p"))
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=MAX_MEMORY_BYTES
    )
