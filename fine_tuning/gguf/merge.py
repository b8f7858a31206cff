"""Fold a LoRA adapter into a model file, one tensor in memory at a time.

A block-sum adapter goes into the minima of 4- and 5-bit blocks: only fp16 rounding is lost, and the
file keeps its size. Any other update needs a finer type, whose loss is measured. Tensors that are
not adapted are copied byte for byte, and with them all metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeVar

from fine_tuning.core.errors import GgufError, UnsupportedModelError
from fine_tuning.core.ports import Progress
from fine_tuning.gguf.adapter import AdapterFile, Factors
from fine_tuning.gguf.dequantize import DEQUANTIZABLE
from fine_tuning.gguf.encode import Writable
from fine_tuning.gguf.folding import (
    Packer,
    UpdateLoss,
    Weight,
    can_fold,
    fold,
    repack,
    repack_rows,
)
from fine_tuning.gguf.quantize import quantize
from fine_tuning.gguf.reader import GgufFile
from fine_tuning.gguf.requantize_exact import BLOCK, EXACT_TYPES
from fine_tuning.gguf.types import Bytes, TensorInfo, TensorType, ValueType, block_format
from fine_tuning.gguf.values import quote
from fine_tuning.gguf.writer import TensorSource, write_gguf

Result = TypeVar("Result")

MIN_KEPT: Final = 0.98
"""Share of an update that 8 bits must keep; with less, 16 bits are taken."""
EMBEDDING: Final = "token_embd.weight"
OUTPUT: Final = "output.weight"
FILE_TYPE_KEY: Final = "general.file_type"
QUANTIZATION_KEY: Final = "general.quantization_version"
QUANTIZATION_VERSION: Final = 2
_WHOLE: Final = (TensorType.F32, TensorType.F16, TensorType.BF16)
# What llama.cpp takes where a row is no multiple of 256 (src/llama-quant.cpp).
_NARROW: Final[Mapping[TensorType, TensorType]] = MappingProxyType(
    {
        TensorType.Q2_K: TensorType.Q4_0,
        TensorType.Q3_K: TensorType.Q4_0,
        TensorType.Q4_K: TensorType.Q5_0,
        TensorType.Q5_K: TensorType.Q5_1,
        TensorType.Q6_K: TensorType.Q8_0,
    }
)
# enum llama_ftype of include/llama.h: what most of a file's weights are.
_FILE_TYPES: Final[Mapping[TensorType, int]] = MappingProxyType(
    {
        TensorType.F32: 0,
        TensorType.F16: 1,
        TensorType.Q4_0: 2,
        TensorType.Q4_1: 3,
        TensorType.Q8_0: 7,
        TensorType.Q5_0: 8,
        TensorType.Q5_1: 9,
        TensorType.Q2_K: 10,
        TensorType.Q3_K: 12,
        TensorType.Q4_K: 15,
        TensorType.Q5_K: 17,
        TensorType.Q6_K: 18,
        TensorType.IQ4_NL: 25,
        TensorType.IQ4_XS: 30,
        TensorType.BF16: 32,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedTensor:
    """What became of one adapted tensor.

    Attributes:
        name: Its name.
        before: Type in the base.
        after: Type in the merged file.
        is_exact: Whether the update went into block minima, so that only fp16 rounding was lost.
        kept: Share of the update that is in the file, 1 for all of it.
        noise: Length of what was changed besides, relative to the length of the update.
    """

    name: str
    before: TensorType
    after: TensorType
    is_exact: bool
    kept: float
    noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """What a merge did; ``tensors`` are the adapted ones, sizes are of the two files."""

    tensors: tuple[MergedTensor, ...]
    base_bytes: int
    num_bytes: int

    @property
    def is_exact(self) -> bool:
        """Whether every update went into block minima."""
        return all(tensor.is_exact for tensor in self.tensors)

    @property
    def kept(self) -> float:
        """Share kept of the update that fared worst; 1 when nothing was merged."""
        return min((tensor.kept for tensor in self.tensors), default=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeTypes:
    """Which types the merged file uses.

    Attributes:
        adapted: Type of the adapted matrices. None takes the most faithful, tensor by tensor: the
            block's minimum where the update is a block sum; the same for F32 and F16; F16 for
            BF16; else Q8_0, or F16 where 8 bits keep less than 98 % of the update. "stored" keeps
            each tensor's own type, which erases much of an update in few bits.
        others: Type of all other matrices; None copies them as they are. Of types below 8 bits the
            embedding and the output are spared: they become Q6_K beside K types, else Q8_0.
        pack: Packs types; the default writes F32, F16, BF16, Q4_0 to Q5_1 and Q8_0.
    """

    adapted: TensorType | Literal["stored"] | None = None
    others: TensorType | None = None
    pack: Packer = quantize


def merge_adapter(
    base: Path,
    adapter: Path,
    out: Path,
    *,
    types: MergeTypes | None = None,
    metadata: Mapping[str, Writable] | None = None,
    progress: Progress | None = None,
) -> MergeReport:
    """Write the model an adapter makes of a base, whole or not at all.

    Args:
        base: A GGUF model; it must not change meanwhile.
        adapter: A LoRA adapter of it, in GGUF.
        out: Where; a file there is replaced, unless it is the base itself.
        types: Which types the file uses; None takes the most faithful.
        metadata: Keys to add or replace, such as a chat template.
        progress: Told after each tensor.

    Raises:
        ModelNotFoundError: if a file is missing.
        StorageError: if a file cannot be read or written; nothing is left behind.
        GgufError: if a file is not sound, or weights do not fit a type.
        UnsupportedModelError: if the base is no whole model, or the adapter is not of it.
    """
    with GgufFile.open(base) as model, AdapterFile.open(adapter) as factors:
        _check_model(model)
        _check_fit(model, factors)
        merge = _Merge(model, types or MergeTypes(), progress, factors)
        return merge.write(out, metadata or {})


def convert_model(
    source: Path, out: Path, *, types: MergeTypes, progress: Progress | None = None
) -> MergeReport:
    """Write a model's matrices in another type (``types.others``), whole or not at all.

    Raises:
        FineTuningError: as :func:`merge_adapter` raises.
    """
    with GgufFile.open(source) as model:
        _check_model(model)
        return _Merge(model, types, progress).write(out, {})


def fitting_type(wanted: TensorType, n_in: int) -> TensorType:
    """Return a type, or what llama.cpp takes in its place for rows that its blocks do not fit."""
    if n_in % block_format(wanted).block_elements:
        wanted = _NARROW.get(wanted, TensorType.F16)
    return TensorType.F16 if n_in % block_format(wanted).block_elements else wanted


def _spared(name: str, wanted: TensorType | None) -> TensorType | None:
    """Return the type of a matrix; what all tokens pass through gets no fewer than six bits."""
    if name not in (EMBEDDING, OUTPUT) or wanted in (*_WHOLE, TensorType.Q8_0, None):
        return wanted
    return TensorType.Q6_K if wanted in _NARROW else TensorType.Q8_0


def _check_model(model: GgufFile) -> None:
    if model.get("general.type", str, "model") != "model":
        raise UnsupportedModelError(f"{model.path} is no model, expected a whole model")
    if model.get("split.count", int, 1) > 1:
        raise UnsupportedModelError(
            f"{model.path} is one of several parts of a model, expected a model in one file",
            next_command="join the parts with llama.cpp's llama-gguf-split --merge",
        )


def _check_fit(model: GgufFile, adapter: AdapterFile) -> None:
    found = model.get("general.architecture", str)
    if adapter.architecture != found:
        raise UnsupportedModelError(
            f"{adapter.path} adapts a model of architecture {quote(adapter.architecture)}, and "
            f"{model.path} is of {quote(found)}"
        )
    for name, shape in adapter.shapes.items():
        info = model.tensors.get(name)
        if info is None or info.shape != shape:
            there = "not there" if info is None else str(list(info.shape))
            raise UnsupportedModelError(
                f"{adapter.path} adapts {quote(name)} as {list(shape)}, and in {model.path} it is "
                f"{there}"
            )
        if info.type not in DEQUANTIZABLE:
            raise UnsupportedModelError(
                f"{model.path}: {quote(name)} is of type {info.type.name}, which nothing can be "
                "merged into"
            )


@dataclass(slots=True)
class _Merge:
    """One merge under way."""

    model: GgufFile
    types: MergeTypes
    progress: Progress | None
    adapter: AdapterFile | None = None
    merged: list[MergedTensor] = field(default_factory=list)
    num_done: int = 0

    def write(self, out: Path, metadata: Mapping[str, Writable]) -> MergeReport:
        if out.exists() and out.samefile(self.model.path):
            raise GgufError(f"{out} is the base itself, another place was expected")
        infos = self.model.tensors
        kinds = {name: self._named(info, self._type) for name, info in infos.items()}
        sources = [
            TensorSource(name, info.shape, kinds[name], partial(self._tell, info, kinds[name]))
            for name, info in infos.items()
        ]
        write_gguf(out, self._metadata(kinds) | dict(metadata), sources)
        base_bytes, num_bytes = (path.stat().st_size for path in (self.model.path, out))
        return MergeReport(tensors=tuple(self.merged), base_bytes=base_bytes, num_bytes=num_bytes)

    def _metadata(self, kinds: Mapping[str, TensorType]) -> dict[str, Writable]:
        """Return the base's keys, which say of the types what is true of the new file."""
        keys: dict[str, Writable] = dict(self.model.typed_metadata)
        if all(kind is self.model.tensors[name].type for name, kind in kinds.items()):
            return keys
        weights: dict[TensorType, int] = {}
        for name, kind in kinds.items():
            weights[kind] = weights.get(kind, 0) + self.model.tensors[name].num_elements
        most = max(weights, key=lambda kind: weights[kind])
        if most in _FILE_TYPES:
            keys[FILE_TYPE_KEY] = (_FILE_TYPES[most], ValueType.UINT32)
        if not set(kinds.values()) <= set(_WHOLE):
            keys.setdefault(QUANTIZATION_KEY, (QUANTIZATION_VERSION, ValueType.UINT32))
        return keys

    def _type(self, info: TensorInfo) -> TensorType:
        """Choose a tensor's type, before the head of the file is written."""
        factors, adapted = self._factors(info), self.types.adapted
        if factors is None:
            is_matrix = len(info.shape) > 1 and info.name.endswith(".weight")
            wanted = _spared(info.name, self.types.others) if is_matrix else None
        elif adapted == "stored":
            return info.type
        else:
            wanted = adapted or self._faithful(info, factors)
        return info.type if wanted is None else fitting_type(wanted, info.shape[-1])

    def _faithful(self, info: TensorInfo, factors: Factors) -> TensorType:
        if can_fold(info.type, factors):
            return EXACT_TYPES[info.type]
        if info.type in (TensorType.F32, TensorType.F16):
            return info.type
        if info.type is TensorType.BF16 or info.shape[-1] % BLOCK:
            return TensorType.F16
        # A first run of rows tells; the report measures all of them.
        weight, loss = self._weight(info), UpdateLoss()
        first = next(weight.row_slices())
        repack_rows(weight, factors, TensorType.Q8_0, first, (quantize, loss))
        return TensorType.Q8_0 if loss.kept >= MIN_KEPT else TensorType.F16

    def _factors(self, info: TensorInfo) -> Factors | None:
        adapter = self.adapter
        return adapter.factors(info.name) if adapter and info.name in adapter.shapes else None

    def _weight(self, info: TensorInfo) -> Weight:
        return Weight(self.model.raw(info.name), info.type, info.shape)

    def _named(self, info: TensorInfo, work: Callable[[TensorInfo], Result]) -> Result:
        """Do some work on a tensor, whose name an error gets."""
        try:
            return work(info)
        except GgufError as error:
            raise GgufError(f"{self.model.path}: {quote(info.name)}: {error.message}") from None

    def _tell(self, info: TensorInfo, kind: TensorType) -> Bytes:
        packed = self._named(info, lambda tensor: self._bytes(tensor, kind))
        self.num_done += 1
        if self.progress:
            self.progress("merging", self.num_done, len(self.model.tensors))
        return packed

    def _bytes(self, info: TensorInfo, kind: TensorType) -> Bytes:
        weight, factors = self._weight(info), self._factors(info)
        if factors is None:
            same = kind is info.type
            return weight.raw if same else repack(weight, None, kind, self.types.pack)[0]
        is_exact = can_fold(info.type, factors) and kind is EXACT_TYPES[info.type]
        packed, loss = (
            fold(weight, factors) if is_exact else repack(weight, factors, kind, self.types.pack)
        )
        self.merged.append(
            MergedTensor(
                name=info.name,
                before=info.type,
                after=kind,
                is_exact=is_exact,
                kept=loss.kept,
                noise=loss.noise,
            )
        )
        return packed
