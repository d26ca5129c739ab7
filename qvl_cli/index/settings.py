"""Where indexes are saved, how much they may take, and whether at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qvl_cli.cache.library import DEFAULT_CAP
from qvl_cli.cache.place import cache_root
from qvl_cli.config import Config


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """root: the cache folder. cap: bytes all indexes may take. insist: saving is the purpose of this run, so
    what stands in its way is an error. patience: seconds to wait for another process that gets no further."""

    root: Path
    cap: int = DEFAULT_CAP
    insist: bool = False
    patience: float = 60.0

    @staticmethod
    def of(config: Config, insist: bool = False) -> IndexSettings | None:
        """None where `no_index` is set. Raises UsageError."""
        if config.switch("no_index") and not insist:
            return None
        cap = config.count("cache_cap")
        return IndexSettings(cache_root(config), DEFAULT_CAP if cap is None else cap, insist)
