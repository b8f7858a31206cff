"""Finds the tokenizer of a hub model: in the local Hugging Face cache, else on the hub itself.

The hub is asked only for a name of the form ``owner/model`` the user wrote, only for tokenizer
files, and never when ``HF_HUB_OFFLINE`` says so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from fine_tuning.core.errors import ModelNotFoundError
from fine_tuning.data_preparation.hf_tokenizer import TOKENIZER_FILES, has_tokenizer

_REPO = re.compile(r"(?:[\w][\w.-]*/)?[\w][\w.-]*", re.ASCII)
_FALSE = {"", "0", "false", "no", "off"}


def is_repo_name(name: str) -> bool:
    """Tell whether a name has the form of a hub model: ``owner/model``, or ``model``."""
    return bool(_REPO.fullmatch(name)) and "--" not in name and ".." not in name


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the hub's cache, as ``huggingface_hub`` finds it, read anew at every call."""
    if explicit := environment.get("HF_HUB_CACHE"):
        return Path(explicit).expanduser()
    caches = environment.get("XDG_CACHE_HOME") or "~/.cache"
    home = environment.get("HF_HOME") or f"{caches}/huggingface"
    return Path(home).expanduser() / "hub"


def cached_folder(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """Return the folder of a model's newest cached tokenizer, or None."""
    if not is_repo_name(name):
        return None
    repo = cache_folder(environment) / f"models--{name.replace('/', '--')}"
    try:
        commit = (repo / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    folder = repo / "snapshots" / commit
    return folder if has_tokenizer(folder) else None


def download_folder(name: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Fetch a model's tokenizer files from the hub into the cache and return their folder.

    Raises:
        ModelNotFoundError: if the hub may not be asked, cannot be reached or has no such model.
    """
    cache = cache_folder(environment)
    where = f"tokenizer {name!r} is not in the Hugging Face cache {cache}"
    if environment.get("HF_HUB_OFFLINE", "").lower() not in _FALSE:
        raise ModelNotFoundError(
            f"{where}, and HF_HUB_OFFLINE forbids asking the hub for it",
            next_command=f"unset HF_HUB_OFFLINE, or run 'hf download {name}' while online",
        )
    import huggingface_hub  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        folder = huggingface_hub.snapshot_download(
            name, cache_dir=cache, allow_patterns=list(TOKENIZER_FILES)
        )
    except Exception as error:  # its HTTP layers each raise their own
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelNotFoundError(
            f"{where}, and the hub did not give it: {reason}",
            next_command="check the name and the network, or name a local folder or GGUF file",
        ) from error
    return Path(str(folder))
