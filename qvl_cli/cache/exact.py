"""Frozen dataclasses <-> JSON without losing a bit: a Fraction is the text `num/den`, never a float.

What is read back must have exactly the fields and kinds that were written: anything else is a ValueError.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def dump(value: object) -> bytes:
    """Canonical JSON: equal values give equal bytes. Raises TypeError for a kind of value that has no
    form."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def load(kind: type[T], data: bytes | str) -> T:
    """The `kind` that `dump` wrote. Raises ValueError where `data` is not exactly one."""
    value: T = _read(kind, json.loads(data))
    return value


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Fraction):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no exact form for a {type(value).__name__}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _read(kind: Any, raw: object) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        choices = [each for each in inner if each is not NoneType]
        if raw is None and len(choices) < len(inner):
            return None
        if len(choices) == 1:
            return _read(choices[0], raw)
    elif origin is tuple and isinstance(raw, list):
        if inner[-1:] == (...,):
            return tuple(_read(inner[0], each) for each in raw)
        return tuple(_read(each, part) for each, part in zip(inner, raw, strict=True))
    elif kind is Fraction and isinstance(raw, str):
        return _fraction(raw)
    elif is_dataclass(kind) and isinstance(raw, dict):
        hints = _hints(kind)  # type: ignore[arg-type]
        if raw.keys() != hints.keys():
            raise ValueError(f"{kind} has other fields than {sorted(raw)}")
        return kind(**{name: _read(hint, raw[name]) for name, hint in hints.items()})  # type: ignore[operator]
    elif kind is float and isinstance(raw, float | int) and not isinstance(raw, bool):
        return float(raw)
    elif kind in (bool, int, str) and type(raw) is kind:
        return raw
    raise ValueError(f"{str(raw)[:40]!r} is no {kind}")


def _fraction(text: str) -> Fraction:
    try:
        return Fraction(text)
    except ZeroDivisionError as error:
        raise ValueError(f"{text!r} is no fraction") from error
