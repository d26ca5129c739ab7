"""Every benchmark, by name. Rows start nothing heavy: what is measured runs in children."""

from __future__ import annotations

from qvl_cli.bench import decode, index, sampling, scale, startup, stream
from qvl_cli.bench.row import Bench

_ROWS = (decode.BENCH, index.BENCH, sampling.BENCH, scale.BENCH, startup.BENCH, stream.BENCH)
BENCHES: dict[str, Bench] = {row.name: row for row in _ROWS}
