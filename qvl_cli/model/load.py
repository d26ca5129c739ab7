"""A checkpoint folder -> LoadedModel. Never random weights, never remote code, safetensors only."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.initialization import no_init_weights
from transformers.utils import logging as transformers_logging

from qvl_cli.errors import ModelMissing, UsageError
from qvl_cli.model import attention
from qvl_cli.model.memory import memory_errors
from qvl_cli.model.tokens import Codec, Template, load_codec, read_template
from qvl_cli.registry import ModelSpec
from qvl_cli.registry.spec import weight_files

_NETWORKS: dict[str, Any] = {
    "qwen3_vl": Qwen3VLForConditionalGeneration,
    "qwen3_vl_moe": Qwen3VLMoeForConditionalGeneration,
}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Below this, float32 costs nothing worth saving and every machine gives the same answers.
_SMALL_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A checkpoint ready to run.

    network: transformers' ...ForConditionalGeneration, in eval mode, no gradients. codec: text <-> ids.
    tokenizer: transformers' fast tokenizer. eos_ids: what ends an answer. prefix, suffix: the template around
    the user's turn. think_open, think_close: ids of `<think>`, `</think>` where the vocabulary has them.
    """

    spec: ModelSpec
    network: Any
    codec: Codec
    template: Template
    device: torch.device
    dtype: torch.dtype
    video_token_id: int
    vision_start_id: int
    vision_end_id: int
    eos_ids: frozenset[int]
    think_open: int | None
    think_close: int | None

    @property
    def tokenizer(self) -> Any:
        return self.codec.tokenizer

    @property
    def prefix(self) -> str:
        return self.template.prefix

    @property
    def suffix(self) -> str:
        return self.template.suffix

    @property
    def opens_thinking(self) -> bool:
        """The template itself opens the assistant's thinking."""
        return self.suffix.rstrip().endswith("<think>")


class LinearPatchEmbedding(nn.Module):
    """The 2x16x16 patch convolution as the matrix product it is, on the same weight; 6x faster on CPUs."""

    def __init__(self, proj: nn.Conv3d) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, patches: Tensor) -> Tensor:
        """[n, channels * frames * rows * columns] -> [n, width]."""
        weight = self.proj.weight.flatten(1)
        return nn.functional.linear(patches.to(weight.dtype), weight, self.proj.bias)


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises UsageError for a device this torch does not have."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UsageError(f"no device is called {device!r}", "use auto, cpu or cuda") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise UsageError("this machine has no CUDA device", "use --device auto or cpu")
    if chosen.type not in ("cpu", "cuda"):
        raise UsageError(f"qvl does not run on {chosen.type!r}", "use auto, cpu or cuda")
    return chosen


def check_dtype(dtype: str) -> None:
    """Raises UsageError for a name that is neither `auto` nor a dtype."""
    if dtype != "auto" and dtype not in _DTYPES:
        raise UsageError(f"no dtype is called {dtype!r}", f"use auto, {', '.join(_DTYPES)}")


def pick_dtype(dtype: str, device: torch.device, spec: ModelSpec) -> torch.dtype:
    """`auto`: bfloat16 on CUDA from Ampere on (before it no fused attention takes it) and on CPUs with AMX or
    AVX512_BF16 (about 3x float32 there; without them 4.5x slower), float32 on others, for small checkpoints,
    and for checkpoints stored in float32."""
    check_dtype(dtype)
    if dtype != "auto":
        return _DTYPES[dtype]
    if spec.dtype == "float32" or spec.weight_bytes < _SMALL_BYTES:
        return torch.float32
    return torch.bfloat16 if fast_bfloat16(device) else torch.float32


def fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)


def load_model(spec: ModelSpec, device: str = "auto", dtype: str = "auto") -> LoadedModel:
    """Load the checkpoint `spec` describes.

    Raises ModelMissing where a weight is missing or has the wrong shape, UsageError for an impossible device
    or dtype, OverBudget where memory runs out.
    """
    where = pick_device(device)
    number = pick_dtype(dtype, where, spec)
    attention.register()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    with memory_errors("loading the weights"):
        network = _read_network(spec, number, where).to(where).eval().requires_grad_(False)
    visual = network.model.visual
    visual.patch_embed = LinearPatchEmbedding(visual.patch_embed.proj)
    kept = spec.rope.kept(spec.head_dim // 2)
    if len(kept) < spec.head_dim // 2:
        attention.prune(network.model.language_model, kept)
    codec = load_codec(spec.folder)
    config = network.config
    ids = (config.vision_start_token_id, config.video_token_id, config.vision_end_token_id)
    names = [codec.tokenizer.convert_ids_to_tokens(i) for i in ids]
    if None in names:
        raise ModelMissing(
            f"the tokenizer in {spec.folder} lacks the vision tokens {ids} of its config",
            "fetch the checkpoint again",
        )
    return LoadedModel(
        spec=spec,
        network=network,
        codec=codec,
        template=read_template(codec, "".join(names)),
        device=where,
        dtype=number,
        vision_start_id=ids[0],
        video_token_id=ids[1],
        vision_end_id=ids[2],
        eos_ids=_eos_ids(spec, network, codec),
        think_open=codec.token_id("<think>"),
        think_close=codec.token_id("</think>"),
    )


def _read_network(spec: ModelSpec, dtype: torch.dtype, where: torch.device) -> Any:
    remedy = "fetch the checkpoint again"
    try:
        if (straight := _read_straight(spec, dtype, where)) is not None:
            return straight
        network, info = _NETWORKS[spec.model_type].from_pretrained(
            spec.folder,
            config=_config(spec),
            dtype=dtype,
            attn_implementation=attention.NAME,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ModelMissing(f"cannot load {spec.folder}: {_first_line(error)}", remedy) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or "memory" in str(error).lower():
            raise
        raise ModelMissing(f"cannot load {spec.folder}: {_first_line(error)}", remedy) from error
    for problem in ("missing_keys", "mismatched_keys", "error_msgs"):
        if found := list(info.get(problem) or ()):
            named = ", ".join(str(item[0] if isinstance(item, tuple) else item) for item in found[:2])
            raise ModelMissing(
                f"{spec.folder} does not fit its config: {len(found)} {problem.replace('_', ' ')} ({named})",
                remedy,
            )
    return network


@torch.no_grad()
def _read_straight(spec: ModelSpec, dtype: torch.dtype, where: torch.device) -> Any | None:
    """The network with the tensors of the files as they are, which is faster, and each straight from its file
    to a device that is not the CPU, so that they are never all in the machine's memory.

    None where they are not its own ones, name by name and shape by shape: what to rename, to merge or to
    complain of transformers knows.
    """
    with no_init_weights():
        network = AutoModelForImageTextToText.from_config(
            _config(spec), dtype=dtype, attn_implementation=attention.NAME
        )
    network.tie_weights()
    own = dict(network.named_parameters())
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(path, framework="pt")) for path in weight_files(spec.folder)]
        holders = [(name, file) for file in files for name in file.keys()]  # noqa: SIM118  # no dict
        stored = {name: file.get_slice(name).get_shape() for name, file in holders}
        shapes = {name: list(parameter.shape) for name, parameter in own.items()}
        if stored != shapes or len(holders) > len(stored):
            return None
        for name, file in holders:
            if where.type == "cpu":
                own[name].copy_(file.get_tensor(name))
            else:  # the place kept for it in ordinary memory was never written to
                owner, _, last = name.rpartition(".")
                tensor = file.get_tensor(name).to(where, own[name].dtype)
                setattr(network.get_submodule(owner), last, nn.Parameter(tensor, requires_grad=False))
    network.tie_weights()
    return network


def _config(spec: ModelSpec) -> Any:
    """The folder's configuration, its positions stretched as the released model cards do it."""
    config = AutoConfig.from_pretrained(spec.folder, local_files_only=True, trust_remote_code=False)
    if spec.rope.yarn is not None:
        text = config.text_config
        text.rope_parameters = {
            **text.rope_parameters,
            "rope_type": "yarn",
            "factor": float(spec.rope.yarn),
            "original_max_position_embeddings": text.max_position_embeddings,
        }
        text.max_position_embeddings = spec.max_positions
    return config


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _eos_ids(spec: ModelSpec, network: Any, codec: Codec) -> frozenset[int]:
    found: set[int] = set()
    path = spec.folder / "generation_config.json"
    own = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    text = getattr(network.config.text_config, "eos_token_id", None)
    for ids in (own, text, codec.tokenizer.eos_token_id):
        found.update(ids if isinstance(ids, list) else [ids] if ids is not None else [])
    if not found:
        raise ModelMissing(f"{spec.folder} names no end-of-answer token", "fetch generation_config.json")
    return frozenset(found)
