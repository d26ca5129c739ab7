"""`qvl models`."""

from __future__ import annotations

from qvl_cli.cli.console import put
from qvl_cli.errors import EXIT_OK

NAME = "models"


def command() -> int:
    """List the models qvl knows by a short name, and which of them are here already."""
    from qvl_cli.registry import ALIASES
    from qvl_cli.registry.hub import cached_folder

    put(f"{'NAME':<20} {'WEIGHTS':>10}  {'HERE':<5} CHECKPOINT\n")
    for row in ALIASES.values():
        here = "yes" if row.hub_id is None or cached_folder(row.hub_id) else "no"
        put(f"{row.alias:<20} {row.weight_gib:>6.1f} GiB  {here:<5} {row.hub_id or 'embedded'}\n")
    return EXIT_OK
