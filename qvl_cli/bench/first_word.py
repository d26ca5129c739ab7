"""When the answer began."""

from __future__ import annotations

import time


class FirstWord:
    """A Listener that keeps when the first piece of text came: `time.monotonic`, one clock for all processes,
    and the processor seconds of this one since it started; 0 while nothing has come."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    def note(self, line: str) -> None: ...

    def progress(self, stage: str, done: float, total: float) -> None: ...

    def text(self, piece: str, thinking: bool = False) -> None:
        if piece and not self.wall:
            self.wall, self.processor = time.monotonic(), time.process_time()
