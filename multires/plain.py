"""Typed configurations: dataclasses of plain values, to JSON and back without loss, strict about every field."""

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from multires.errors import MultiresError

Config = TypeVar("Config")


def to_json(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as plain values; nested dataclasses become nested dictionaries."""
    return dataclasses.asdict(config)


def require_types(config: object) -> None:
    """Raise MultiresError where a field of a dataclass is not of its type; for its `__post_init__`.

    What JSON writes for a value stands for it: a list for a tuple, a whole number for a float.
    """
    for name, hint in typing.get_type_hints(type(config)).items():
        object.__setattr__(config, name, _value(hint, getattr(config, name), name))  # the dataclass may be frozen


def from_json(kind: type[Config], values: Any, where: str) -> Config:
    """Build a dataclass from what `to_json` gave. Fields with a default may be missing.

    Raises MultiresError, which begins with `where`, for an unknown field, a missing one, and a value of another type.
    """
    if not isinstance(values, Mapping):
        raise MultiresError(f"{where}: expected the fields of {kind.__name__}, found {values!r}")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(fields)):
        raise MultiresError(f"{where}: unknown field {unknown[0]!r}; {kind.__name__} has {', '.join(fields)}")
    needed = {n for n, f in fields.items() if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - set(values)):
        raise MultiresError(f"{where}: field {missing[0]!r} of {kind.__name__} is missing")
    hints = typing.get_type_hints(kind)
    try:
        return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in values.items()})
    except MultiresError as error:
        raise error if str(error).startswith(where) else MultiresError(f"{where}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        kind = typing.cast(type, hint)
        return value if isinstance(value, kind) else from_json(kind, value, where)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for part in parts:
            try:
                return _value(part, value, where)
            except MultiresError:
                continue
    elif origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(parts[0], item, where) for item in value)
    elif origin is dict and isinstance(value, Mapping):
        return {_value(parts[0], key, where): _value(parts[1], item, where) for key, item in value.items()}
    elif origin is typing.Literal and value in parts:
        return value
    elif hint is float and type(value) in (int, float):
        with contextlib.suppress(OverflowError):  # an integer beyond every float
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    expected = " or ".join(map(repr, parts)) if origin is typing.Literal else getattr(hint, "__name__", str(hint))
    raise MultiresError(f"{where}: expected {expected}, found {value!r}")
