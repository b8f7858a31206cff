"""The file the embedded llama.cpp is given for a model: its own, or a translated copy.

llama.cpp maps a file and takes no other header for it, so that a model in Ollama's dialect needs a
copy with its keys renamed and without the tensors of pictures. It is written once, into the user's
cache, and goes when its source is gone.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from fine_tuning.core.errors import FineTuningError
from fine_tuning.core.naming import content_name
from fine_tuning.gguf.ollama_dialect import translation_of
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.writer import tensor_from_file, write_gguf

SOURCE_KEY: Final = "fine_tuning.translated_from"
GIB: Final = 1 << 30
NAME_DIGITS: Final = 32

logger = logging.getLogger(__name__)


def translations_folder() -> Path:
    """Return where translated copies lie: ``fine-tuning/translated`` in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME", "").strip() or "~/.cache"
    return Path(cache).expanduser() / "fine-tuning" / "translated"


def llama_cpp_file(path: Path, *, folder: Path | None = None) -> Path:
    """Return a file that llama.cpp loads as the model at a path.

    Args:
        path: A GGUF model.
        folder: Where copies are kept; None takes that of the user's cache.

    Returns:
        The path itself, where llama.cpp reads it as it is; else that of its translated copy.

    Raises:
        ModelNotFoundError: if there is no such file.
        GgufError: if it is not sound GGUF.
        UnsupportedModelError: if it cannot be put into llama.cpp's terms.
        StorageError: if the copy cannot be written.
    """
    with GgufFile.open(path) as file:
        translation = translation_of(file)
        if not translation.is_needed:
            return path
        place = (folder or translations_folder()) / _copy_name(path)
        if place.is_file():
            return place
        _drop_stale(place.parent)
        kept = [name for name in file.tensors if name not in translation.left_out]
        size_gib = sum(file.tensors[name].num_bytes for name in kept) / GIB
        logger.warning(
            "%s is in Ollama's dialect of GGUF: llama.cpp gets a translated copy of %.2f GiB, %s",
            path,
            size_gib,
            place,
        )
        source = str(path.resolve())
        write_gguf(
            place,
            {**translation.typed, SOURCE_KEY: source},
            [tensor_from_file(file, name) for name in kept],
        )
    return place


def _copy_name(path: Path) -> str:
    """Return a copy's name, another one when the file changes."""
    status = path.stat()
    facts = [str(path.resolve()), status.st_size, status.st_mtime_ns]
    digits = content_name(facts).partition(":")[2][:NAME_DIGITS]
    return f"{digits}.gguf"


def _drop_stale(folder: Path) -> None:
    """Remove copies whose source is gone or was changed."""
    for copy in _copies(folder):
        with suppress(FineTuningError, OSError):
            with GgufFile.open(copy) as file:
                source = Path(file.get(SOURCE_KEY, str, ""))
            if not source.is_file() or _copy_name(source) != copy.name:
                copy.unlink()


def _copies(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(folder.glob("[!.]*.gguf"))
