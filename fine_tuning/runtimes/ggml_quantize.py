"""llama.cpp's own quantisers, for the K types: called in the library the embedded runtime loads.

xllamacpp has no Python function for them, but its shared library exports ``ggml_quantize_chunk``
(ggml/include/ggml.h). Where a build hides it, the error says so.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

import numpy as np

from fine_tuning.core.errors import GgufError, MissingDependencyError
from fine_tuning.gguf.quantize import QUANTIZABLE, quantize
from fine_tuning.gguf.types import Bytes, Floats, TensorType, tensor_num_bytes

K_TYPES: Final = (
    TensorType.Q2_K,
    TensorType.Q3_K,
    TensorType.Q4_K,
    TensorType.Q5_K,
    TensorType.Q6_K,
    TensorType.IQ4_NL,
    TensorType.IQ4_XS,
)


def pack(values: Floats, tensor_type: TensorType) -> Bytes:
    """Pack weights: the simple types by our own code, the K types by llama.cpp's.

    Args:
        values: Float32 weights (…, n_in), finite; n_in is a multiple of the type's block.
        tensor_type: One of ``QUANTIZABLE`` or ``K_TYPES``.

    Returns:
        The packed bytes, one-dimensional.

    Raises:
        GgufError: if the type cannot be packed or does not fit the shape, or a weight is not
            finite.
        MissingDependencyError: if the installed xllamacpp does not export the function.
    """
    if tensor_type in QUANTIZABLE or tensor_type not in K_TYPES:
        return quantize(values, tensor_type)
    if not np.isfinite(values).all():
        raise GgufError("a weight is NaN or infinite, finite weights were expected")
    rows = np.ascontiguousarray(values, np.float32).reshape(-1, values.shape[-1])
    out = np.empty(tensor_num_bytes(tensor_type, rows.shape), np.uint8)
    written = _quantize_chunk()(
        int(tensor_type), rows.ctypes.data, out.ctypes.data, 0, rows.shape[0], rows.shape[1], None
    )
    if written != out.nbytes:
        raise GgufError(
            f"llama.cpp wrote {written} bytes of {tensor_type.name}, {out.nbytes} were expected"
        )
    return out


@cache
def _quantize_chunk() -> Any:  # noqa: ANN401  # a C function
    import xllamacpp.xllamacpp as extension  # heavy

    try:
        function = ctypes.CDLL(extension.__file__).ggml_quantize_chunk
    except (OSError, AttributeError) as error:
        raise MissingDependencyError(
            "the installed xllamacpp does not export ggml_quantize_chunk, which packs K types",
            next_command="choose one of F16, Q8_0, Q5_1, Q5_0, Q4_1, Q4_0, which need no llama.cpp",
        ) from error
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]
    return function
