"""`qvl version`."""

from __future__ import annotations

from qvl_cli import __version__
from qvl_cli.cli.console import put
from qvl_cli.errors import EXIT_OK

NAME = "version"


def command() -> int:
    """Print the versions of qvl and of what its results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    put(f"qvl {__version__}\n")
    put(f"python {platform.python_version()}\n")
    for package in ("torch", "transformers", "av"):
        try:
            put(f"{package} {installed(package)}\n")
        except PackageNotFoundError:
            put(f"{package} not installed\n")
    return EXIT_OK
