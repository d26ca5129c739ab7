"""`qvl version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

from qvl_cli import __version__
from qvl_cli.errors import EXIT_OK

NAME = "version"


def command() -> int:
    """Print the versions of qvl and of what its results depend on."""
    print(f"qvl {__version__}")
    print(f"python {platform.python_version()}")
    for package in ("torch", "transformers", "av"):
        try:
            print(f"{package} {installed(package)}")
        except PackageNotFoundError:
            print(f"{package} not installed")
    return EXIT_OK
