"""Which models exist, where their folders are, and what a folder says of itself. No torch here.

A model is a row of a table or a folder; nothing here or below branches on a name.

    table    alias -> hub id or the embedded folder
    regions  into how many parts a picture is cut for an alignment head
    rope     what a run may change of a checkpoint's rotary positions
    spec     folder -> ModelSpec, complete or refused; fingerprint
    digest   folder -> one name for every byte that decides what it computes
    download a model of the hub -> its folder in the local hub cache
    hub      name -> folder: local, cached or downloaded; what `auto` means
"""

from qvl_cli.registry.digest import weights_digest
from qvl_cli.registry.download import DownloadProgress, SpecCheck
from qvl_cli.registry.hub import cached_models, choose_model, resolve
from qvl_cli.registry.regions import vector_bytes
from qvl_cli.registry.rope import RopeSettings
from qvl_cli.registry.spec import (
    GATE_FILE,
    HEAD_FILE,
    STEP_TEXT_TOKENS,
    Decoding,
    Demand,
    ModelSpec,
    fingerprint,
    read_chat_template,
    read_spec,
    rope_notes,
    weight_files,
    with_rope,
)
from qvl_cli.registry.table import ALIASES, EMBEDDED, ModelRow

__all__ = [
    "ALIASES",
    "EMBEDDED",
    "GATE_FILE",
    "HEAD_FILE",
    "STEP_TEXT_TOKENS",
    "Decoding",
    "Demand",
    "DownloadProgress",
    "ModelRow",
    "ModelSpec",
    "RopeSettings",
    "SpecCheck",
    "cached_models",
    "choose_model",
    "fingerprint",
    "read_chat_template",
    "read_spec",
    "resolve",
    "rope_notes",
    "vector_bytes",
    "weight_files",
    "weights_digest",
    "with_rope",
]
