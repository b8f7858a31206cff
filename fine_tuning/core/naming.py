"""Names made from content: equal content, equal name, on every machine and in every version.

A name is ``b2:`` and 32 hexadecimal digits of BLAKE2b over canonical JSON; the prefix versions
the recipe, so that a better one can live beside it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CHUNK_BYTES = 1 << 20
DIGEST_BYTES = 16


def canonical_json(value: object) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN, text left readable."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def content_name(value: object) -> str:
    """Name a JSON-serialisable value by its content.

    Raises:
        TypeError: if the value holds something JSON cannot express.
        ValueError: if a number in it is NaN or infinite.
    """
    digest = hashlib.blake2b(canonical_json(value).encode("utf-8", "surrogatepass"))
    return f"b2:{digest.hexdigest()[: 2 * DIGEST_BYTES]}"


def file_sha256(path: Path) -> str:
    """Return ``sha256:<64 hex>`` of a file, the form in which Ollama names blobs."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def unit_interval(name: str, *, salt: str = "") -> float:
    """Map a name to a fixed number in [0, 1): the draw that decides its split.

    The number depends on nothing but the name and the salt, so adding data never moves an item.
    """
    digest = hashlib.blake2b(f"{salt}\x00{name}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") / 2**64
