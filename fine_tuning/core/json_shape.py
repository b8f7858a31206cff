"""JSON of known shape: checked against a ``TypedDict`` or a dataclass, then used as one.

What a file says is believed only after each key it is read for holds the kind of value its type
names. Unknown keys are let through or passed over: a later release may have written them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import (
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from fine_tuning.core.errors import DataError
from fine_tuning.core.json_value import JsonObject, json_kind

Shape = TypeVar("Shape")
_KINDS = {str: "string", bool: "boolean", int: "number", float: "number", NoneType: "null"}


class ShapeError(ValueError):
    """JSON that is not of the shape it is read as."""


@contextmanager
def data_errors(what: str) -> Iterator[None]:
    """Turn what reading stored values may raise into one sentence about ``what`` is read.

    Raises:
        DataError: if the body finds a field missing or of the wrong type.
    """
    try:
        yield
    except ShapeError as error:
        raise DataError(f"{what} cannot be read: {error}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{what} cannot be read: {error!r}") from error


def typed(raw: JsonObject, shape: type[Shape]) -> Shape:
    """Return a JSON object as the ``TypedDict`` it is; unknown keys stay in it.

    Args:
        raw: The object.
        shape: A ``TypedDict`` class. Keys of a total one must be there.

    Raises:
        ShapeError: if a key is missing or holds another kind of value; it names the first one.
    """
    return cast("Shape", _object(raw, shape, ""))


def build(raw: JsonObject, shape: type[Shape]) -> Shape:
    """Return the dataclass that a JSON object holds the fields of; unknown keys are passed over.

    Lists become tuples where a field says so. Fields without a default must be there.

    Args:
        raw: The object.
        shape: A dataclass.

    Raises:
        ShapeError: if a field is missing or holds another kind of value; it names the first one.
        Exception: as the dataclass raises when it is made.
    """
    return cast("Shape", _instance(raw, shape, ""))


@cache
def _hints(shape: type) -> Mapping[str, Any]:
    # Within JSON of unknown shape any value goes; its own name would not be known everywhere.
    return get_type_hints(shape, localns={"JsonValue": object})


def _instance(raw: object, shape: type, where: str) -> object:
    values = {}
    for field in fields(shape):
        if field.name in _mapping(raw, where):
            at = f"{where}{field.name}"
            values[field.name] = _value(
                _mapping(raw, where)[field.name], _hints(shape)[field.name], at
            )
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ShapeError(f"it lacks {where}{field.name}")
    return shape(**values)


def _object(raw: object, shape: type, where: str) -> dict[str, object]:
    values = dict(_mapping(raw, where))
    required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    if missing := sorted(required - values.keys()):
        raise ShapeError(f"it lacks {where}{missing[0]}")
    for name, hint in _hints(shape).items():
        if name in values:
            values[name] = _value(values[name], hint, f"{where}{name}")
    return values


def _mapping(raw: object, where: str) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        raise _wrong(raw, "object", where.rstrip("."))
    return raw


def _value(value: object, hint: object, where: str) -> object:
    """Return a value as its type wants it, or refuse it."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in {Any, object}:
        return value
    if isinstance(hint, type):
        return _of_class(value, hint, where)
    if origin in {Union, UnionType}:
        return _one_of(value, args, where)
    if origin is not Literal:
        return _container(value, origin, args, where)
    if value not in args:
        raise ShapeError(f"{where} is {value!r}, expected {' or '.join(map(str, args))}")
    return value


def _of_class(value: object, hint: type, where: str) -> object:
    if is_dataclass(hint):
        return _instance(value, hint, f"{where}.")
    if is_typeddict(hint):
        return _object(value, hint, f"{where}.")
    if hint not in _KINDS:
        return _container(value, hint, (), where)
    if not _is_kind(value, hint):
        raise _wrong(value, _KINDS[hint], where)
    return value


def _is_kind(value: object, kind: type) -> bool:
    """Tell whether a value is of a plain kind; true and false are no numbers, 1 is a float."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _one_of(value: object, hints: tuple[object, ...], where: str) -> object:
    problems = []
    for hint in hints:
        try:
            return _value(value, hint, where)
        except ShapeError as error:
            problems.append(error)
    raise problems[0]


def _container(value: object, origin: object, args: tuple[Any, ...], where: str) -> object:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        items = _mapping(value, where).items()
        return (
            {key: _value(each, args[1], f"{where}.{key}") for key, each in items} if args else value
        )
    if not isinstance(value, list | tuple):
        raise _wrong(value, "array", where)
    make: Callable[..., object] = tuple if origin is tuple else list
    is_fixed = origin is tuple and args[-1:] != (Ellipsis,)
    hints = args if is_fixed and args else ((args or (object,))[0],) * len(value)
    if len(hints) != len(value):
        raise ShapeError(f"{where} has {len(value)} values, expected {len(hints)}")
    return make(_value(one, hint, where) for one, hint in zip(value, hints, strict=True))


def _wrong(value: object, expected: str, where: str) -> ShapeError:
    kind = json_kind(cast("Any", value))
    return ShapeError(f"{where or 'it'} is {_article(kind)}, expected {_article(expected)}")


def _article(kind: str) -> str:
    if kind == "null":
        return kind
    return f"an {kind}" if kind[0] in "ao" else f"a {kind}"
