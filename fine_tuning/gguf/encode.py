"""Choose the type of a metadata value, and write it as a GGUF file holds it.

Knows values and their bytes; the order of a file is ``writer``'s. Reading is in ``header``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from fine_tuning.core.errors import GgufError
from fine_tuning.gguf.types import ARRAY_DTYPES, SCALAR_CODES, ValueType
from fine_tuning.gguf.values import MetadataValue, StringArray, TypedValue, encode_text, quote

Writable = MetadataValue | TypedValue | tuple[Any, ValueType] | Sequence[Any] | np.generic

_VALUE_TYPES: Final = {dtype: kind for kind, dtype in ARRAY_DTYPES.items()}
_LIST_DTYPES: Final = {bool: np.dtype(np.bool_), float: np.dtype(np.float32)}
_INTEGERS: Final = tuple(
    (kind, -(1 << bits) if signed else 0, (1 << bits) - 1)
    for kind, bits, signed in (
        (ValueType.UINT32, 32, False),
        (ValueType.INT32, 31, True),
        (ValueType.INT64, 63, True),
        (ValueType.UINT64, 64, False),
    )
)
_FLOATS: Final = (ValueType.FLOAT32, ValueType.FLOAT64)
_WHAT: Final = "a number, text, numpy array or a list of one kind"


def typed_value(key: str, value: Writable) -> TypedValue:
    """Attach a type to a value: the one given with it, or the one that fits.

    Raises:
        GgufError: if the value is of a kind the format does not know.
    """
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], ValueType):  # noqa: PLR2004  # value, type
        plain, kind = value
        if kind is ValueType.ARRAY:
            return TypedValue(_as_array(key, plain), kind)
        return TypedValue(plain.item() if isinstance(plain, np.generic) else plain, kind)
    if isinstance(value, np.generic):
        return TypedValue(value.item(), _value_type(key, value.dtype))
    if isinstance(value, bool | int | float | str):
        return TypedValue(value, _scalar_type(key, value))
    return TypedValue(_as_array(key, value), ValueType.ARRAY)


def write_value(file: BinaryIO, key: str, typed: TypedValue) -> None:
    """Write a value; its type number stands before it already.

    Raises:
        GgufError: if the value does not fit its type.
        OSError: if the file cannot be written.
    """
    value, kind = typed
    if kind is ValueType.ARRAY and isinstance(value, StringArray):
        file.write(struct.pack("<IQ", ValueType.STRING, len(value)))
        file.write(value.block)
    elif kind is ValueType.ARRAY and isinstance(value, np.ndarray):
        file.write(struct.pack("<IQ", _value_type(key, value.dtype), len(value)))
        file.write(np.ascontiguousarray(value).view(np.uint8).data)
    elif kind is ValueType.STRING and isinstance(value, str):
        file.write(encode_text(value))
    else:
        file.write(_scalar_bytes(key, value, kind))


def _scalar_type(key: str, value: bool | float | str) -> ValueType:
    if isinstance(value, bool):
        return ValueType.BOOL
    if isinstance(value, str):
        return ValueType.STRING
    return ValueType.FLOAT32 if isinstance(value, float) else _integer_type(key, [value])


def _integer_type(key: str, values: Iterable[int], *, skip: int = 0) -> ValueType:
    """Return the first of u32, i32, i64, u64 that holds all values."""
    numbers = list(values)
    for kind, low, high in _INTEGERS[skip:]:
        if low <= min(numbers) and max(numbers) <= high:
            return kind
    raise GgufError(
        f"the metadata value {quote(key)} is {quote(repr(numbers))}, 64-bit integers were expected"
    )


def _value_type(key: str, dtype: np.dtype[Any]) -> ValueType:
    kind = _VALUE_TYPES.get(dtype)
    if kind is None:
        raise GgufError(
            f"the metadata value {quote(key)} is of numpy type {dtype}, little-endian integers, "
            "float32, float64 or bool were expected"
        )
    return kind


def _as_array(key: str, value: object) -> NDArray[Any] | StringArray:
    """Return an array the format can hold."""
    if isinstance(value, np.ndarray):
        _value_type(key, value.dtype)
        if value.ndim != 1:
            raise GgufError(
                f"the metadata value {quote(key)} has {value.ndim} dimensions, 1 was expected"
            )
        return value
    if isinstance(value, list | tuple):
        return _list_as_array(key, value)
    if isinstance(value, StringArray):
        return value
    raise GgufError(
        f"the metadata value {quote(key)} is {quote(repr(value))}, {_WHAT} was expected"
    )


def _list_as_array(key: str, values: Sequence[Any]) -> NDArray[Any] | StringArray:
    """Make an array of a list of strings, booleans, integers (i32 or wider) or floats (f32)."""
    kinds = {type(item) for item in values}
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is str:
        return StringArray.encode(values)
    if kind is int:  # llama.cpp reads lists of numbers (token types) as i32, hence not u32
        return np.array(values, ARRAY_DTYPES[_integer_type(key, values, skip=1)])
    if kind in _LIST_DTYPES:
        return np.array(values, _LIST_DTYPES[kind])
    raise GgufError(
        f"the metadata value {quote(key)} is {quote(repr(values))}, {_WHAT} was expected; an empty "
        "list needs a numpy array or StringArray, which know their type"
    )


def _scalar_bytes(key: str, value: object, kind: ValueType) -> bytes:
    """Pack a number or boolean as its type demands.

    Raises:
        GgufError: if the value is of another kind, or out of the type's range.
    """
    if kind is ValueType.BOOL:
        sound = isinstance(value, bool)
    else:
        allowed = (int, float) if kind in _FLOATS else (int,)
        sound = isinstance(value, allowed) and not isinstance(value, bool)
    try:
        if sound and kind in SCALAR_CODES:
            return struct.pack(SCALAR_CODES[kind], value)
    except (struct.error, OverflowError):
        sound = False
    raise GgufError(
        f"the metadata value {quote(key)} is {quote(repr(value))}, a value of type {kind.name} was "
        "expected"
    )
