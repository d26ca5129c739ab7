"""One run of the `decode` benchmark: one decoder samples one file, and tells what that took.

python -m qvl_cli.bench.decode_run imports
python -m qvl_cli.bench.decode_run qvl|pyav|decord FILE SECONDS    a frame every so many seconds
python -m qvl_cli.bench.decode_run qvl|pyav|pyav-nonkey FILE keyframes
python -m qvl_cli.bench.decode_run times FOLDER                    of files whose frames show their numbers

Prints processor seconds from after the imports, frames given, and a digest of what they show.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]


def by_qvl(path: str, every: str) -> Iterator[Pixels]:
    from qvl_cli.media.source import open_file as open_video

    with open_video(path) as video:
        info = video.info
        if every == "keyframes":
            wanted = list(info.keyframes)
        else:
            wanted = [n * Fraction(every) for n in range(-int(-info.duration // Fraction(every)))]
        for frame in video.frames(wanted):
            yield frame.pixels


def by_pyav(path: str, every: str) -> Iterator[Pixels]:
    """As its documentation shows it: decode everything, keep what is wanted."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        count = 0
        for frame in container.decode(stream):
            assert frame.pts is not None and stream.time_base is not None
            if every == "keyframes":
                keep = frame.key_frame
            else:
                keep = frame.pts * stream.time_base >= count * Fraction(every)
            if keep:
                count += 1
                yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def by_pyav_nonkey(path: str, _every: str) -> Iterator[Pixels]:
    """As its cookbook saves keyframes: the decoder is told to pass over everything else."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        for frame in container.decode(stream):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def by_decord(path: str, every: str) -> Iterator[Pixels]:
    import decord

    reader = decord.VideoReader(path)
    step = round(float(Fraction(every)) * reader.get_avg_fps())
    for number in range(0, len(reader), step):
        yield reader[number].asnumpy()


_DECODERS: dict[str, Callable[[str, str], Iterator[Pixels]]] = {
    "qvl": by_qvl,
    "pyav": by_pyav,
    "pyav-nonkey": by_pyav_nonkey,
    "decord": by_decord,
}


def times(folder: str) -> dict[str, Any]:
    """Greatest distance between the time a frame is given with and the time it was stored with, in ms."""
    from qvl_cli.bench.ticks import CONTAINERS, read_number, uneven_times, write_numbered
    from qvl_cli.media.source import open_file as open_video

    worst = Fraction(0)
    for name, base in CONTAINERS.items():
        path, stored = Path(folder) / name, uneven_times(base)
        write_numbered(path, stored, base)
        with open_video(path) as video:
            for step in (1, 7):
                given = list(video.frames(video.info.frame_times[::step]))
                truth = [(stored[read_number(frame.pixels)] - stored[0]) * base for frame in given]
                worst = max([worst, *(abs(f.time - t) for f, t in zip(given, truth, strict=True))])
                if len(given) != len(stored[::step]):
                    raise SystemExit(f"{name}: {len(given)} frames for {len(stored[::step])} times")
    return {"max_time_error_ms": float(1000 * worst)}


def _sample(decoder: str, path: str, every: str) -> dict[str, Any]:
    pixels = _DECODERS[decoder](path, every)
    before = _seconds()
    digest, count = hashlib.sha256(), 0
    for picture in pixels:
        digest.update(picture[::67].tobytes())
        count += 1
    return {"cpu_seconds": _seconds() - before, "frames": count, "digest": digest.hexdigest()}


def _import(decoder: str) -> None:
    if decoder == "decord":
        import decord  # noqa: F401
    else:
        import av  # noqa: F401
    if decoder in ("qvl", "imports"):
        import qvl_cli.media.source  # noqa: F401


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    what, *rest = sys.argv[1:]
    _import(what)
    report: dict[str, Any] = {}
    if what == "times":
        report = times(*rest)
    elif what != "imports":
        report = _sample(what, *rest)
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
