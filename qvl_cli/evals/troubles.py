"""What of a suite could not count: told on stderr, and counted in the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qvl_cli.pipeline import Listener

_SHOWN = 3  # of one kind, told one by one
_KEPT = 100  # of one kind, named in the document


@dataclass(slots=True)
class Troubles:
    """What could not count, by kind; all of it is told and ends up in the document."""

    listener: Listener
    found: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, whats: Sequence[str]) -> None:
        if not whats:
            return
        self.found.setdefault(kind, []).extend(whats)
        for what in whats[:_SHOWN]:
            self.listener.note(f"{kind}: {what}")
        if len(whats) > _SHOWN:
            self.listener.note(f"{kind}: {len(whats) - _SHOWN:,} more")

    def left_out(self) -> dict[str, Any]:
        """For the document: how many of each kind, and the first by name."""
        return {kind: {"n": len(whats), "first": whats[:_KEPT]} for kind, whats in self.found.items()}
