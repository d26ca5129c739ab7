"""main(): what the shell starts. Only this is there before the commands are."""

from __future__ import annotations

import signal


def main() -> int:
    """Run the command; returns its exit code. Ctrl-C while its modules load ends the process without a word:
    there is nothing to clean up yet."""
    handler = signal.getsignal(signal.SIGINT)
    if handler is signal.default_int_handler:  # whoever ignores it keeps ignoring it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from qvl_cli.cli import app

    signal.signal(signal.SIGINT, handler)
    return app.main()
