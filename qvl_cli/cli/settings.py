"""Settings as a command meets them: merged, and told where a place for them could not be looked at."""

from __future__ import annotations

from collections.abc import Mapping

from qvl_cli.cli.console import Console
from qvl_cli.config import Config, load_config
from qvl_cli.errors import UsageError

PLAIN = ("txt", "json")  # what commands that give no Answer print


def settle(flags: Mapping[str, object]) -> Config:
    """`load_config`, its notes told on stderr. Raises UsageError."""
    config = load_config(flags)
    for note in config.notes:
        Console(config.switch("quiet")).note(note)
    return config


def plain_format(config: Config) -> str:
    """`txt` or `json`. Weaker places than the flag may name a format of Answers alone: then `txt`.

    Raises UsageError for a flag that does, and for what is no format at all.
    """
    chosen = config.text("format", "txt")
    if chosen in PLAIN:
        return chosen
    if config.source("format") == "--format":
        raise UsageError(f"no format is called {chosen!r} here", f"choose from {', '.join(PLAIN)}")
    from qvl_cli.render import writer_for

    writer_for(chosen)
    return "txt"
