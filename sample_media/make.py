"""Draws the sample clips and their truth files: `python sample_media/make.py`. The same files every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from qvl_cli.tiny.film import film, write_truth
from qvl_cli.tiny.scripts import write_script

HERE = Path(__file__).parent

# name, seed, seconds, density, frames a second, constant rate factor
CLIPS = (
    ("shapes-30s", 2_001_663, 30.0, 1.2, 25, 23),
    ("shapes-60s", 2_010_508, 60.0, 1.0, 12, 23),
    ("shapes-10m", 2_020_016, 600.0, 0.6, 10, 26),
)


def main() -> None:
    for name, seed, seconds, density, rate, crf in CLIPS:
        script = replace(write_script(seed, seconds, density=density), noise=0.0)
        film(script, HERE / f"{name}.mp4", rate=rate, crf=crf)
        write_truth(script, HERE / f"{name}.truth.json")


if __name__ == "__main__":
    main()
