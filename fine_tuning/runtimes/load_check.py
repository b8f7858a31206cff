"""Looks at files before llama.cpp gets them, and finds out why it refused them.

llama.cpp says little through its API when a load fails, and aborts the whole process on some
adapters; a child process can say more, and may die.
"""

from __future__ import annotations

import mmap
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from fine_tuning.core.errors import (
    FineTuningError,
    GgufError,
    ModelNotFoundError,
    RuntimeFailedError,
    StorageError,
    UnsupportedModelError,
)
from fine_tuning.core.naming import file_sha256

MAGIC = b"GGUF"
_LOG_PREFIX = re.compile(r"^[\d.]+ E (\S+\s+)?[\w ]*?: ")
_TRIAL = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], 256, 1, 0
params.warmup, params.verbosity, params.fit_params = False, 1, False
if len(sys.argv) > 2:
    info = xllamacpp.CommonAdapterLoraInfo()
    info.path, info.scale = sys.argv[2], 1.0
    params.lora_adapters = [info]
xllamacpp.Server(params)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What must be known about a model before it is loaded."""

    has_chat_template: bool


def check_files(model: Path, adapter: Path | None) -> ModelFacts:
    """Check that a model and its adapter can be handed to llama.cpp.

    Raises:
        ModelNotFoundError: if a file is missing.
        StorageError: if a file may not be read.
        GgufError: if a file is not GGUF.
        UnsupportedModelError: if the adapter does not fit the model.
    """
    check_magic(model)
    if adapter is not None:
        check_magic(adapter)
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return ModelFacts(has_chat_template=data.find(b"tokenizer.chat_template") >= 0)


def check_magic(path: Path) -> None:
    """Check that a file is there, may be read, and starts like GGUF.

    Raises:
        ModelNotFoundError: if there is no such file.
        StorageError: if it may not be read.
        GgufError: if its first four bytes are not ``GGUF``.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ModelNotFoundError(f"there is no model file {path}") from error
    except OSError as error:
        raise StorageError(f"{path} could not be read: {error.strerror}") from error
    if magic != MAGIC:
        raise GgufError(f"{path} starts with {magic!r}, expected {MAGIC!r}: it is not a GGUF file")


def vocabulary_fingerprint(model: Path) -> str:
    """Return the content name of a model's vocabulary and tokenizer rules."""
    return file_sha256(model)


def explain_failure(model: Path, adapter: Path | None) -> FineTuningError:
    """Say why llama.cpp refused a model, by loading it once more where it may speak and die."""
    files = f"{model.name} with adapter {adapter.name}" if adapter else model.name
    reason = trial_load(model, adapter)
    if not reason:
        return RuntimeFailedError(f"{files} could not be loaded, and a second try succeeded")
    if re.search(r"arch|unknown|shape|unsupported|lora", reason, re.IGNORECASE):
        return UnsupportedModelError(f"llama.cpp cannot load {files}: {reason}")
    return RuntimeFailedError(f"llama.cpp could not load {files}: {reason}")


def trial_load(model: Path, adapter: Path | None) -> str:
    """Load a model in a child process.

    Returns:
        "" if that works, else llama.cpp's own words for why not.
    """
    command = [sys.executable, "-c", _TRIAL, str(model), *([str(adapter)] if adapter else [])]
    child = subprocess.run(  # noqa: S603 - our own interpreter and script
        command, capture_output=True, text=True, errors="replace", check=False
    )
    if child.returncode == 0:
        return ""
    lines = [line for line in child.stderr.splitlines() if _LOG_PREFIX.match(line)]
    if lines:
        return _LOG_PREFIX.sub("", lines[0])
    return f"the loader ended with status {child.returncode}"
