"""Results to stdout; notes and progress to stderr. The only module that imports rich, and only to draw.

Markup is off everywhere: a `[bold]` in a file name or in model text is just those letters.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PLAIN_EVERY = 10.0  # seconds between progress lines off a terminal
PLAIN_WIDTH = 110  # of a table off a terminal


def put(text: str) -> None:
    """Results, to stdout, as they are. Lone surrogates (odd bytes of a file name) become `?`."""
    sys.stdout.write(text.encode("utf-8", "replace").decode())


def say(line: str) -> None:
    """One line on stderr; a closed stderr is nobody's problem."""
    with suppress(OSError, ValueError, AttributeError):
        print(line.encode("utf-8", "replace").decode(), file=sys.stderr, flush=True)


def check_reader() -> None:
    """BrokenPipeError where whoever read stdout is gone; else only writing would tell."""
    try:
        number = sys.stdout.fileno()
        if not hasattr(select, "poll") or not stat.S_ISFIFO(os.fstat(number).st_mode):
            return
    except (OSError, ValueError):
        return
    poll = select.poll()
    poll.register(number, 0)
    if any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)):
        raise BrokenPipeError


class Console:
    """Notes and progress of one run. On a terminal a rich bar; elsewhere a plain line every ten seconds.

    stream_text: whether answer text goes to stdout token by token.
    """

    def __init__(self, quiet: bool = False, stream_text: bool = False, show_thinking: bool = False) -> None:
        self._quiet = quiet
        self._stream_text = stream_text
        self._show_thinking = show_thinking
        self._terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._last_line = time.monotonic()
        self._mid_line = False
        self._closed = False

    def note(self, line: str) -> None:
        """Something the user should know; not an error."""
        if not self._quiet:
            self._hide_bar()
            self.end_line()
            say(f"qvl: {line}")

    def progress(self, stage: str, done: float, total: float) -> None:
        """`stage` has come to `done` of `total` (steps, or bytes of a download); total 0 = unknown. After
        `close` it draws nothing: nobody would take the bar away again."""
        if self._quiet or self._closed:
            return
        if self._terminal:
            self._draw(stage, done, total)
        elif time.monotonic() - self._last_line >= PLAIN_EVERY:
            self._last_line = time.monotonic()
            say(f"qvl: {stage} {done:,.0f} of {total:,.0f}" if total else f"qvl: {stage} {done:,.0f}")

    def text(self, piece: str, thinking: bool = False) -> None:
        """A piece of the answer as it is generated."""
        if self._stream_text and (self._show_thinking or not thinking):
            self._hide_bar()
            put(piece)
            sys.stdout.flush()
            self._mid_line = not piece.endswith("\n") if piece else self._mid_line

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Rows of text on stderr, the first column to the left and the numbers to the right."""
        if self._quiet:
            return
        self._hide_bar()
        self.end_line()
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(title), title_justify="left")
        for index, column in enumerate(columns):
            table.add_column(column, justify="right" if index else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        width = None if self._terminal else PLAIN_WIDTH
        with suppress(OSError, ValueError):
            RichConsole(stderr=True, markup=False, highlight=False, emoji=False, width=width).print(table)

    def end_line(self) -> None:
        """What comes next on the terminal starts on a line of its own."""
        if self._mid_line:
            put("\n")
            sys.stdout.flush()
            self._mid_line = False

    def clear(self) -> None:
        """Results are about to be printed where progress may be drawn."""
        self._hide_bar()

    def close(self) -> None:
        self._closed = True
        self._hide_bar()

    def _draw(self, stage: str, done: float, total: float) -> None:
        if self._bar is None or self._task is None or self._stage != stage:
            self._hide_bar()
            from rich.console import Console as RichConsole
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            downloads = stage.startswith(("downloading", "reading"))
            amount = DownloadColumn() if downloads else TextColumn("{task.completed:.0f}/{task.total:.0f}")
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                amount,
                TimeRemainingColumn(),
                console=RichConsole(stderr=True, markup=False, highlight=False, emoji=False),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._task, self._stage = self._bar.add_task(stage, total=total or 1), stage
        self._bar.update(self._task, completed=done, total=total or max(done, 1))

    def _hide_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task, self._stage = None, None, ""
