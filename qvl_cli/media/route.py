"""Which packets to decode for the wanted frames, and on how many decoders. Pure: no file is touched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qvl_cli.media.packets import PacketScan

_MOST_DECODERS = 4
_MOST_THREADS = 8
_HELD_BY_DECODER = 10  # pictures: references, reordering, the one at work; measured for H.264 level 4
_HELD_BY_CONTAINER = 48  # bytes a packet: the index of an MP4, which every decoder's container holds anew
_DECODER_ROOM = 72 << 20  # bytes for all decoders together: two at 1080p up to an hour, one at 4K
_WAITING_ROOM = 32 << 20  # bytes of decoded pictures that wait for their turn
_MOST_WAITING = 256  # pictures: small ones gain nothing from waiting by the thousand
_WORTH_SHARING = 250  # packets in all; below, one plain decoder is done before others have opened the file


@dataclass(frozen=True, slots=True)
class Run:
    """Packets `first` to before `stop`, counted in the order of the file, from a keyframe to the last one
    that a wanted frame needs. wanted: pts of those frames, ascending."""

    first: int
    stop: int
    wanted: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Route:
    """runs: in the order of their frames. decoders: how many work at once, each on a run of its own, with
    `threads` threads each. waiting: pictures decoded ahead of their turn, at most."""

    runs: tuple[Run, ...]
    decoders: int
    threads: int
    waiting: int


def plan_route(scan: PacketScan, wanted: Sequence[int], picture_bytes: int, cores: int) -> Route | None:
    """The cheapest way to the frames at the ascending pts `wanted`; None where the scan does not tell.

    One decoder walks on through the file where nearly every frame is wanted; else each run is entered by a
    seek, and runs are shared out among decoders as far as cores and memory allow.
    """
    if not scan.order or not wanted:
        return None
    runs = _runs(scan, wanted)
    if runs is None:
        return None
    waiting = min(max(_WAITING_ROOM // picture_bytes, 2), _MOST_WAITING)
    much = sum(run.stop - run.first for run in runs) >= _WORTH_SHARING
    each = _HELD_BY_DECODER * picture_bytes + _HELD_BY_CONTAINER * len(scan.order)
    fitting = max(_DECODER_ROOM // each, 1)
    decoders = min(cores, len(runs), fitting, _MOST_DECODERS) if much else 1
    # A decoder may run ahead by `waiting` pictures only: with more to a run, the others would stand still.
    if max(len(run.wanted) for run in runs) > 2 * waiting:
        decoders = 1
    # Frame threads cost CPU and memory: where several decoders share the work each does without.
    threads = min(cores, _MOST_THREADS) if much and decoders == 1 else 1
    return Route(runs, decoders, threads, waiting)


def _runs(scan: PacketScan, wanted: Sequence[int]) -> tuple[Run, ...] | None:
    order = np.array(scan.order, np.int64)
    by_time = np.argsort(order, kind="stable")

    def places(pts: Sequence[int]) -> list[int]:
        """Where the packets with these times stand in the file."""
        return [int(at) for at in by_time[np.searchsorted(order, np.array(pts, np.int64), sorter=by_time)]]

    keys = [pts for pts, _ in scan.keyframes]
    keys_at = places(keys)
    runs: list[Run] = []
    for pts, at in zip(wanted, places(wanted), strict=True):
        # Pictures shown before a keyframe but stored behind it lean on what came before the keyframe.
        key = bisect_right(keys, pts) - 1
        while key >= 0 and keys_at[key] > at:
            key -= 1
        if key < 0:
            return None
        first = keys_at[key]
        if runs and first < runs[-1].stop:
            last = runs[-1]
            runs[-1] = Run(min(last.first, first), max(last.stop, at + 1), (*last.wanted, pts))
        else:
            runs.append(Run(first, at + 1, (pts,)))
    return tuple(runs)
