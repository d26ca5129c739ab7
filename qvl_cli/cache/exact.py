"""Frozen dataclasses <-> JSON without losing a bit: a Fraction is the text `num/den`, never a float.

What is read back must have exactly the fields and kinds that were written: anything else is a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from fractions import Fraction
from functools import cache, lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")

_AS_IS = frozenset({NoneType, bool, int, float, str})


def dump(value: object) -> bytes:
    """Canonical JSON: equal values give equal bytes. Raises TypeError for a kind of value that has no
    form."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode()


def load(kind: type[T], data: bytes | str) -> T:
    """The `kind` that `dump` wrote. Raises ValueError where `data` is not exactly one."""
    read: Callable[[object], T] = _reader(cast("Any", kind))
    return read(json.loads(data))


def _plain(value: object) -> object:
    if type(value) in _AS_IS:  # first, because most values are such: a manifest of hours has thousands
        return value
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Fraction):
        return str(value)
    if names := _names(type(value)):  # type: ignore[arg-type]
        return {name: _plain(getattr(value, name)) for name in names}
    if isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"no exact form for a {type(value).__name__}")


@cache
def _names(kind: type) -> tuple[str, ...]:
    """Of a dataclass' fields; empty for what is none."""
    return tuple(each.name for each in fields(kind)) if is_dataclass(kind) else ()


@cache
def _reader(kind: Any) -> Callable[[object], Any]:
    """What makes a `kind` of plain JSON, made once: a plan has thousands of values."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (choice,) = (each for each in inner if each is not NoneType)
        other = _reader(choice)
        return lambda raw: None if raw is None else other(raw)
    if origin is tuple:
        return _many(inner) if inner[-1:] != (...,) else _all(inner[0])
    if is_dataclass(kind):
        return _record(kind)  # type: ignore[arg-type]
    return {Fraction: _fraction, float: _float}.get(kind) or _same(kind)


def _record(kind: type) -> Callable[[object], Any]:
    hints = get_type_hints(kind)
    readers = [(name, _reader(hint)) for name, hint in hints.items()]

    def read(raw: object) -> Any:
        if not isinstance(raw, dict) or raw.keys() != hints.keys():
            raise ValueError(f"{_shown(raw)} is no {kind.__name__}")
        return kind(**{name: reader(raw[name]) for name, reader in readers})

    return read


def _all(kind: Any) -> Callable[[object], tuple[Any, ...]]:
    reader = _reader(kind)
    return lambda raw: tuple(map(reader, _listed(raw)))


def _many(kinds: tuple[Any, ...]) -> Callable[[object], tuple[Any, ...]]:
    readers = [_reader(kind) for kind in kinds]
    return lambda raw: tuple(reader(each) for reader, each in zip(readers, _listed(raw), strict=True))


def _listed(raw: object) -> list[object]:
    if not isinstance(raw, list):
        raise ValueError(f"{_shown(raw)} is no list")
    return raw


def _same(kind: type) -> Callable[[object], object]:
    def read(raw: object) -> object:
        if type(raw) is not kind:
            raise ValueError(f"{_shown(raw)} is no {kind.__name__}")
        return raw

    return read


def _float(raw: object) -> float:
    if type(raw) not in (float, int):
        raise ValueError(f"{_shown(raw)} is no number")
    return float(raw)  # type: ignore[arg-type]


def _fraction(raw: object) -> Fraction:
    if not isinstance(raw, str):
        raise ValueError(f"{_shown(raw)} is no fraction")
    return _parsed(raw)


@lru_cache(2**16)
def _parsed(raw: str) -> Fraction:
    """Where one step ends the next one begins, and the plan and its blocks say the same times."""
    above, _, below = raw.partition("/")
    try:
        return Fraction(int(above), int(below or 1))
    except ZeroDivisionError as error:
        raise ValueError(f"{raw!r} is no fraction") from error


def _shown(raw: object) -> str:
    return repr(raw)[:40]
