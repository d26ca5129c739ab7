"""Where settings come from: flag > QVL_* environment > ./qvl.toml > the user's file. Merging only.

What a setting means belongs to the stage that uses it, in that stage's own frozen dataclass; here a key has a
name and a type. An unknown key is an error, so that a misspelt one never passes for the default.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from qvl_cli.errors import UsageError

Value = str | int | bool | Fraction

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])i?b?|b)?")


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("a text")
    return raw.strip()


def _path(raw: object) -> str:
    """With the home folder that `~` stands for."""
    text = _text(raw)
    try:
        return str(Path(text).expanduser())
    except RuntimeError:
        if os.path.lexists(text):
            return text
        raise ValueError("a path whose ~ is somebody's home") from None


def _count(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError("a whole number above 0")
    try:
        value = int(raw)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError("a whole number above 0")
    return value


def _rate(raw: object) -> Fraction:
    # A TOML float goes through its own text: 0.1 means one tenth, not the binary number beside it.
    try:
        value = Fraction(str(raw)) if not isinstance(raw, bool) else Fraction(0)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise ValueError("a number above 0, like 2, 0.5 or 30000/1001")
    return value


def _share(raw: object) -> Fraction:
    """Of a whole, as 0.15 or 15%."""
    text = str(raw).strip()
    try:
        value = Fraction(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if isinstance(raw, bool) or not 0 <= value < 1:
        raise ValueError("a share from 0 to below 1, like 0.15 or 15%")
    return value


def _size(raw: object) -> int:
    match = None if isinstance(raw, bool) else _SIZE.fullmatch(str(raw).strip().lower())
    size = 0
    if match:
        power = " kmgt".index(match[2] or " ")
        size = int(Fraction(match[1]) * 1024**power)
    if size < 1:
        raise ValueError("a size, like 8G, 500M or a number of bytes")
    return size


def _switch(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    try:
        return words[str(raw).strip().lower()]
    except KeyError:
        raise ValueError("true or false") from None


def _cap(raw: object) -> int:
    """A size that may be nothing."""
    return 0 if str(raw).strip() == "0" else _size(raw)


KEYS: Mapping[str, Callable[[object], Value]] = {
    "model": _text,
    "device": _text,
    "dtype": _text,
    "aligner": _text,
    "backend": _text,
    "detail": _text,
    "fps": _rate,
    "max_frames": _count,
    "max_tokens": _count,
    "max_pixels": _count,
    "sampling": _text,
    "max_gap": _rate,
    "drop_static": _switch,
    "max_spool": _size,
    "chunk": _count,
    "subs": _path,
    "memory": _text,
    "max_memory": _size,
    "window": _rate,
    "kv": _text,
    "yarn": _rate,
    "rope_prune": _share,
    "rope_prune_end": _text,
    "no_index": _switch,
    "cache_dir": _path,
    "cache_cap": _cap,
    "format": _text,
    "fail_empty": _switch,
    "quiet": _switch,
    "show_thinking": _switch,
    "refine": _switch,
}


# What says something of several keys: what weaker places say of those is gone.
PRESETS: Mapping[str, tuple[str, ...]] = {"detail": ("fps", "max_frames", "max_tokens")}


@dataclass(frozen=True, slots=True)
class Setting:
    """A value and the place it came from, as an error names it: `--fps`, `QVL_FPS`, or a path."""

    value: Value
    source: str


@dataclass(frozen=True, slots=True)
class Config:
    """The merged settings; a key nobody set is absent, and its stage's default holds.

    notes: what the user must know of files that could not be looked for.
    """

    settings: Mapping[str, Setting]
    notes: tuple[str, ...] = ()

    def text(self, key: str, default: str) -> str:
        return str(self.settings[key].value) if key in self.settings else default

    def count(self, key: str) -> int | None:
        value = self._value(key)
        return value if isinstance(value, int) else None

    def rate(self, key: str) -> Fraction | None:
        value = self._value(key)
        return value if isinstance(value, Fraction) else None

    def switch(self, key: str) -> bool:
        return self._value(key) is True

    def choice(self, key: str) -> bool | None:
        """A switch whose absence is neither yes nor no."""
        value = self._value(key)
        return value if isinstance(value, bool) else None

    def source(self, key: str) -> str:
        """Where the key was set; `default` where it was not."""
        return self.settings[key].source if key in self.settings else "default"

    def _value(self, key: str) -> Value | None:
        return self.settings[key].value if key in self.settings else None


def parse_rate(source: str, raw: str) -> Fraction:
    """A number above 0 that belongs to one command alone. Raises UsageError, naming `source`."""
    try:
        return _rate(raw)
    except ValueError as expected:
        raise UsageError(f"{source} {raw!r} is not usable", f"write {expected}") from None


def user_file(environ: Mapping[str, str], platform: str = sys.platform) -> Path | None:
    """The user's own file: XDG_CONFIG_HOME where set, else the platform's place for settings; None where
    nobody knows the user's home."""
    if xdg := environ.get("XDG_CONFIG_HOME"):
        return Path(xdg) / "qvl" / "qvl.toml"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if platform == "darwin":
        base = home / "Library" / "Application Support"
    elif platform == "win32":
        base = Path(environ.get("APPDATA") or home / "AppData" / "Roaming")
    else:
        base = home / ".config"
    return base / "qvl" / "qvl.toml"


def load_config(
    flags: Mapping[str, object],
    environ: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Config:
    """Merge all sources; `flags` holds what the command line set (None = not given).

    A file in a folder that may not be entered counts as absent, with a note. Raises UsageError for an unknown
    key, a value of the wrong kind, or a file that cannot be read or is not TOML.
    """
    environ = os.environ if environ is None else environ
    settings: dict[str, Setting] = {}
    notes: list[str] = []
    # Weakest first: each later source overwrites.
    places = (user_file(environ), (folder or Path()) / "qvl.toml")
    for path in filter(None, places):
        _overwrite(
            settings, dict(_setting(key, raw, str(path)) for key, raw in _read_toml(path, notes).items())
        )
    named = sorted(name for name in environ if name.startswith("QVL_") and environ[name])
    _overwrite(
        settings, dict(_setting(name.removeprefix("QVL_").lower(), environ[name], name) for name in named)
    )
    given = [(key, raw) for key, raw in flags.items() if raw is not None]
    _overwrite(settings, dict(_setting(key, raw, "--" + key.replace("_", "-")) for key, raw in given))
    return Config(settings, tuple(notes))


def _overwrite(settings: dict[str, Setting], stronger: Mapping[str, Setting]) -> None:
    for preset, keys in PRESETS.items():
        if preset in stronger:
            for key in keys:
                settings.pop(key, None)
    settings.update(stronger)


def _read_toml(path: Path, notes: list[str]) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        # Where not even its name may be looked up there may be no file at all, and nothing to correct.
        if isinstance(error, PermissionError) and not os.path.lexists(path):
            notes.append(f"no settings are read from {path}: its folder may not be entered")
            return {}
        raise UsageError(
            f"cannot read settings from {path}: {error}", "correct or remove the file"
        ) from error


def _setting(key: str, raw: object, source: str) -> tuple[str, Setting]:
    if key not in KEYS:
        near = difflib.get_close_matches(key.replace("-", "_"), KEYS, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(KEYS)}"
        raise UsageError(f"unknown setting {key!r} in {source}", remedy)
    try:
        return key, Setting(KEYS[key](raw), source)
    except ValueError as expected:
        raise UsageError(f"{source}: {key} = {raw!r} is not usable", f"write {expected}") from None
