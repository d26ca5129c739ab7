"""Blocks on disk: one safetensors file each, written once, memory-mapped when read."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from qvl_cli.cache import exact
from qvl_cli.cache.blocks import Block
from qvl_cli.cache.manifest import Manifest, StoredBlock, stored_block
from qvl_cli.cache.place import write_whole
from qvl_cli.errors import IndexUnusable
from qvl_cli.sampling import Step

_TENSORS = ("keys", "values", "positions", "features", "vision_means")
# One entry, because safetensors writes several in no fixed order, and equal blocks shall be equal files.
_ABOUT = "qvl"


@dataclass(frozen=True, slots=True)
class _About:
    """What of a Block is no tensor, in the order of its fields."""

    first: int
    steps: tuple[Step, ...]
    lengths: tuple[int, ...]
    advances: tuple[int, ...]
    visions: tuple[int, ...]


def write_block(folder: Path, number: int, block: Block) -> StoredBlock:
    """Write block `number`. Raises OSError."""
    tensors = {name: getattr(block, name).detach().cpu().contiguous() for name in _TENSORS}
    about = _About(*(getattr(block, each.name) for each in fields(_About)))
    data = save(tensors, {_ABOUT: exact.dump(about).decode()})
    name = f"{number:06d}.safetensors"
    write_whole(folder / name, data)
    return stored_block(name, data, len(block.steps))


def read_blocks(folder: Path, manifest: Manifest) -> list[Block]:
    """The blocks of a checked index, their tensors views of the mapped files.

    Raises IndexUnusable where a file is no block, which its checksum would have told: a fault of the disk
    between the two looks.
    """
    blocks: list[Block] = []
    for stored in manifest.blocks:
        path = folder / stored.file
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                about = exact.load(_About, (file.metadata() or {})[_ABOUT])
            parts = [tensors[name] for name in _TENSORS]
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise IndexUnusable(f"{path} is no block file ({error})", "try again") from error
        told = (getattr(about, each.name) for each in fields(_About))
        blocks.append(Block(*told, *parts))
    return blocks
