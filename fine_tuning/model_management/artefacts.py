"""The files a version can be served from, each loaded by llama.cpp before it is called done.

    merged        the adapter folded in by the most faithful types; same size if it is mergeable
    merged-f16    all matrices in one type: f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0, or a K type
    requantised   folded in, each tensor in the base's own type; for comparison only

Knows files; not registries, servers or who asked. The adapter's own files are written in training.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fine_tuning.core.errors import ConfigError
from fine_tuning.core.ports import Progress
from fine_tuning.gguf.adapter import BLOCK_SUM_KEY
from fine_tuning.gguf.encode import Writable
from fine_tuning.gguf.merge import MergeReport, MergeTypes, merge_adapter
from fine_tuning.gguf.quantize import QUANTIZABLE
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.types import TensorType
from fine_tuning.runtimes.ggml_quantize import K_TYPES, pack
from fine_tuning.runtimes.load_check import TEMPLATE_KEY, check_adapter, check_model
from fine_tuning.runtimes.ollama_modelfile import Modelfile, served_by
from fine_tuning.runtimes.trial_load import explain_failure, trial_load
from fine_tuning.storage.atomic import storage_errors, sync_folder, write_file

MERGED: Final = "merged"
REQUANTISED: Final = "requantised"
_ONE_TYPE: Final[Mapping[str, TensorType]] = {
    f"{MERGED}-{kind.name.lower()}": kind
    for kind in (*QUANTIZABLE, *K_TYPES)
    if kind is not TensorType.F32
}
MERGED_KINDS: Final = (MERGED, REQUANTISED, *_ONE_TYPE)
"""Kinds :func:`write_merged` makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedArtefact:
    """A merged model that llama.cpp has loaded; ``report`` says what each tensor kept."""

    kind: str
    path: Path
    report: MergeReport

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self.report.num_bytes


def write_merged(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    kind: str = MERGED,
    chat_template: str = "",
    progress: Progress | None = None,
) -> MergedArtefact:
    """Merge an adapter into its base, let llama.cpp load the result, and put it in its place.

    Args:
        base: A GGUF model.
        adapter: A GGUF LoRA adapter of it.
        out: Where; a file there is replaced when the new one was checked.
        kind: One of ``MERGED_KINDS``.
        chat_template: A Jinja template to write into the model; "" keeps the base's.
        progress: Told after each tensor.

    Raises:
        ConfigError: if there is no such kind.
        ModelNotFoundError: if a file is missing.
        StorageError: if a file cannot be read or written.
        GgufError: if a file is not sound, or a weight does not fit its type.
        UnsupportedModelError: if the adapter is not of this base, or llama.cpp refuses the result.
        RuntimeFailedError: if llama.cpp fails for another reason.
        MissingDependencyError: if a K type was asked for and llama.cpp's library offers none.
            In every case what stood at ``out`` still stands.
    """
    types = merge_types(kind)
    metadata: dict[str, Writable] = {TEMPLATE_KEY: chat_template} if chat_template else {}
    with storage_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as beside:
            draft = Path(beside) / out.name
            report = merge_adapter(
                base, adapter, draft, types=types, metadata=metadata, progress=progress
            )
            check_served(draft)
            draft.replace(out)
            sync_folder(out.parent)
    return MergedArtefact(kind=kind, path=out, report=report)


def merge_types(kind: str) -> MergeTypes:
    """Return what a kind of merged file is made of.

    Raises:
        ConfigError: if there is no such kind.
    """
    if kind not in MERGED_KINDS:
        raise ConfigError(
            f"{kind!r} is no merged file, expected one of {', '.join(MERGED_KINDS)}",
            next_command=f"fine-tuning models export with --as {MERGED}",
        )
    if kind in _ONE_TYPE:
        return MergeTypes(adapted=_ONE_TYPE[kind], others=_ONE_TYPE[kind], pack=pack)
    return MergeTypes(adapted="stored" if kind == REQUANTISED else None, pack=pack)


def check_served(model: Path, adapter: Path | None = None, chat_template: str = "") -> None:
    """Have llama.cpp load a model, with an adapter if there is one, and write a token.

    Raises:
        FineTuningError: if a file is not sound, does not fit, or llama.cpp refuses it; the
            sentence holds llama.cpp's own words.
    """
    check_model(model)
    if adapter is not None:
        check_adapter(adapter, model)
    if trial_load(model, adapter, chat_template):
        raise explain_failure(model, adapter, chat_template)


def is_mergeable(adapter: Path) -> bool:
    """Tell whether an adapter was trained to be folded into 4- and 5-bit weights.

    Raises:
        FineTuningError: if it is not a GGUF file that can be read.
    """
    with GgufFile.open(adapter) as file:
        return BLOCK_SUM_KEY in file.metadata


def write_modelfile(
    path: Path, model: Path, settings: Modelfile, adapter: Path | None = None
) -> str:
    """Write the Modelfile that makes Ollama serve a version from files; return its text.

    Args:
        path: Where; files beneath its folder are named from there, so that the folder can be moved,
            others by their full path.
        model: The base, or a merged model.
        settings: Template, system prompt, parameters and the rest of the base's Modelfile; its
            ``base`` and ``adapters`` are replaced.
        adapter: The adapter, unless it is merged.

    Raises:
        StorageError: if it cannot be written.
        DataError: if a text cannot be written in a Modelfile.
    """
    base, *adapters = (_named(file, path.parent) for file in (model, adapter) if file)
    whole = replace(settings, base=base, adapters=tuple(adapters))
    remarks = "".join(f"# {sentence}\n" for sentence in served_by(whole))
    text = remarks + whole.to_text()
    write_file(path, text.encode("utf-8"))
    return text


def _named(file: Path, folder: Path) -> str:
    """Return a file's name in a Modelfile (ollama: parser/parser.go, expandPath)."""
    whole = file.absolute()
    beneath = folder.absolute()
    return f"./{whole.relative_to(beneath)}" if whole.is_relative_to(beneath) else str(whole)
