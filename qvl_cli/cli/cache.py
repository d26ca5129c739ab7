"""`qvl cache ls|show|rm|prune|verify|path`: what is saved of watched videos."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qvl_cli.cli.console import Console, put
from qvl_cli.cli.options import PlainFormat
from qvl_cli.cli.settings import plain_format, settle
from qvl_cli.config import Config
from qvl_cli.errors import EXIT_OK, QvlError, UsageError

if TYPE_CHECKING:
    from qvl_cli.cache.library import Entry, Library

NAME = "cache"
SCHEMA = "qvl.cache/1"

Which = Annotated[str, typer.Argument(metavar="INDEX", help="Digits of its name, or the video.")]
Cap = Annotated[str | None, typer.Option("--cache-cap", metavar="SIZE", help="Most they may take. [10GiB]")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and library warnings.")]


def build() -> typer.Typer:
    """The commands as a group."""
    group = typer.Typer(name=NAME, add_completion=False, rich_markup_mode=None, no_args_is_help=False)
    group.callback(help="List, check and remove what is saved of watched videos.")(_group)
    for command in (ls, show, rm, prune, verify, path):
        group.command(command.__name__)(command)
    return group


def _group() -> None:
    """Nothing of its own: the commands do the work."""


def ls(format: PlainFormat = None, debug: Debug = False) -> int:
    """List the saved indexes, the most recently used first."""
    config = settle({"format": format})
    entries = _library(config).entries()
    if plain_format(config) == "json":
        put(_document(entries=[_described(each) for each in entries], bytes=sum(e.bytes for e in entries)))
        return EXIT_OK
    if entries:
        put(f"{'INDEX':<12} {'SIZE':>10} {'STEPS':>6} {'STATE':<10} {'MODEL':<12} {'USED':<16} VIDEO\n")
    for each in entries:
        held = each.manifest
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.used))
        steps, model, path = (held.steps, held.model, held.path) if held else ("-", "-", each.trouble)
        put(f"{each.name:<12} {_mib(each.bytes):>10} {steps:>6} {each.state:<10} {model:<12} {used} {path}\n")
    return EXIT_OK


def show(index: Which, format: PlainFormat = None, debug: Debug = False) -> int:
    """Show what one index holds, and everything it is bound to."""
    config = settle({"format": format})
    described = _described(_library(config).find(index))
    if plain_format(config) == "json":
        put(_document(entry=described))
    else:
        bound = described.pop("bound_to", {})
        shown = {**described, **{f"for {name}": value for name, value in bound.items()}}
        put("".join(f"{key:<12} {value}\n" for key, value in shown.items() if value is not None))
    return EXIT_OK


def rm(
    index: Annotated[list[str] | None, typer.Argument(metavar="INDEX...", help="Which ones.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Every index.")] = False,
    debug: Debug = False,
) -> int:
    """Remove saved indexes."""
    if bool(index) == all:
        raise UsageError("which indexes?", "name them (`qvl cache ls`), or give --all")
    config = settle({})
    library = _library(config)
    entries = library.entries() if all else [library.find(each) for each in index or ()]
    busy = [each.name for each in entries if not library.remove(each)]
    if busy:
        raise QvlError(f"in use by another qvl: {', '.join(busy)}", "try again when it has ended")
    _tell_removed(entries, config)
    return EXIT_OK


def prune(cap: Cap = None, debug: Debug = False) -> int:
    """Remove the least recently used indexes until the cache fits its cap; damaged ones go first."""
    from qvl_cli.cache.library import DEFAULT_CAP

    config = settle({"cache_cap": cap})
    limit = config.count("cache_cap")
    _tell_removed(_library(config).prune(DEFAULT_CAP if limit is None else limit), config)
    return EXIT_OK


def verify(
    index: Annotated[str | None, typer.Argument(metavar="INDEX", help="Only this one.")] = None,
    format: PlainFormat = None,
    debug: Debug = False,
) -> int:
    """Read every byte of the indexes and compare it with its checksum; exit code 1 where one is damaged."""
    from qvl_cli.cache.library import verify as troubles_of

    config = settle({"format": format})
    as_json, library = plain_format(config) == "json", _library(config)
    entries = library.entries() if index is None else [library.find(index)]
    found = {each.name: troubles_of(each) for each in entries}
    if as_json:
        put(_document(entries=[{"name": name, "troubles": each} for name, each in found.items()]))
    else:
        put("".join(f"{name} {'; '.join(each) or 'ok'}\n" for name, each in found.items()))
    damaged = [each.name for each in entries if found[each.name] and not each.newer]
    if damaged:
        raise QvlError(f"{len(damaged)} of {_count(entries)} damaged", f"qvl cache rm {' '.join(damaged)}")
    return EXIT_OK


def path(debug: Debug = False) -> int:
    """Print the folder the indexes are in (`QVL_CACHE_DIR`, or `cache_dir` in a settings file)."""
    put(f"{_library(settle({})).root}\n")
    return EXIT_OK


def _library(config: Config) -> Library:
    from qvl_cli.cache.library import Library
    from qvl_cli.cache.place import cache_root

    return Library(cache_root(config))


def _tell_removed(entries: list[Entry], config: Config) -> None:
    Console(config.switch("quiet")).note(f"removed {_count(entries)}")


def _document(**content: Any) -> str:
    return json.dumps({"schema": SCHEMA, **content}, ensure_ascii=False) + "\n"


def _described(entry: Entry) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": entry.folder.name,
        "state": entry.state,
        "trouble": entry.trouble,
        "bytes": entry.bytes,
        "used": round(entry.used, 3),
        "folder": str(entry.folder),
    }
    held = entry.manifest
    if held is not None:
        described |= {
            "video": held.path,
            "duration": float(held.duration),
            "model": held.model,
            "blocks": len(held.blocks),
            "steps": held.steps,
            "bound_to": {
                **asdict(held.key),
                "sampling": json.loads(held.key.sampling),
                "memory": json.loads(held.key.memory),
            },
        }
    return described


def _count(entries: list[Entry]) -> str:
    return "1 index" if len(entries) == 1 else f"{len(entries)} indexes"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
