"""Which models exist, where their folders are, and what a folder says of itself. No torch here.

A model is a row of a table or a folder; nothing here or below branches on a name.

    table    alias -> hub id or the embedded folder
    spec     folder -> ModelSpec, complete or refused; fingerprint
    digest   folder -> one name for every byte that decides what it computes
    hub      name -> folder: local, cached or downloaded; what `auto` means
"""

from qvl_cli.registry.digest import weights_digest
from qvl_cli.registry.hub import DownloadProgress, cached_models, choose_model, resolve
from qvl_cli.registry.spec import ModelSpec, fingerprint, read_chat_template, read_spec, weight_files
from qvl_cli.registry.table import ALIASES, EMBEDDED, ModelRow

__all__ = [
    "ALIASES",
    "EMBEDDED",
    "DownloadProgress",
    "ModelRow",
    "ModelSpec",
    "cached_models",
    "choose_model",
    "fingerprint",
    "read_chat_template",
    "read_spec",
    "resolve",
    "weight_files",
    "weights_digest",
]
