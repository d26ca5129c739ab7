"""What a checkpoint folder says of itself, and whether it is whole. JSON and file sizes only: no torch."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qvl_cli.errors import DamagedFile, ModelMissing, UsageError
from qvl_cli.registry.rope import LENGTH_DEPENDENT_ROPE, PLAIN_ROPE, RopeSettings

MODEL_TYPES = ("qwen3_vl", "qwen3_vl_moe")
# `<12345.6 seconds>` and the two vision brackets: 12 tokens in the released vocabulary, 19 in bytes.
STEP_TEXT_TOKENS = 20
HEAD_FILE, GATE_FILE = "alignment_head.safetensors", "world_gate.safetensors"
DTYPES = {"F64": ("float64", 8), "F32": ("float32", 4), "BF16": ("bfloat16", 2), "F16": ("float16", 2)}


@dataclass(frozen=True, slots=True)
class Decoding:
    """How tokens are chosen: temperature 0 takes the likeliest one; top_k keeps that many, 0 all of them;
    top_p the likeliest mass of those. Raises ValueError for what is no distribution."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.top_k >= 0 and 0 < self.top_p <= 1):
            raise ValueError(f"no sampling by {self}")


GREEDY = Decoding()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a run asks of a checkpoint beside watching. prompt: tokens of a question that is longer than
    usual; alone: most steps that are copied to be shown by themselves; vectors_beside: whether what steps
    have beside keys and values stays where the model runs, whatever is kept of them."""

    prompt: int = 0
    alone: int = 0
    vectors_beside: bool = False


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a checkpoint folder says of itself.

    weight_bytes: bytes of the tensors as stored, in `dtype` (the one most bytes are in); parameters: how many
    numbers. max_positions: MRoPE positions it can tell apart. vision_hidden: width of the vision tower.
    clip_pixels: bounds on frames * height * width of a whole clip, as upstream's video processor has them.
    frame_pixels: bounds on height * width of one frame (`qvl.json`), or None where the checkpoint sets none.
    text_steps: among how many steps it finds times in words (`qvl.json`), or None for as many as it sees.
    block_steps: steps per cache block. thinking: the template opens the assistant's turn with `<think>`.
    decoding: greedy, and of models that think as they say themselves: without chance thoughts go in circles.
    step_text: most tokens of a step beside its picture, enough for every vocabulary until they are counted.
    rope_type: how it rotates by itself (`default`, `yarn`...); rope: what a run changes of it (`with_rope`).
    demand: what a run asks of it.
    """

    name: str
    folder: Path
    model_type: str
    patch_size: int
    merge_size: int
    temporal_patch_size: int
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    max_positions: int
    vocab_size: int
    vision_hidden: int
    weight_bytes: int
    parameters: int
    dtype: str
    clip_pixels: tuple[int, int]
    frame_pixels: tuple[int, int] | None
    thinking: bool
    has_alignment_head: bool
    has_world_gate: bool
    block_steps: int = 8
    text_steps: int | None = None
    step_text: int = STEP_TEXT_TOKENS
    rope_type: str = "default"
    rope: RopeSettings = PLAIN_ROPE
    decoding: Decoding = GREEDY
    demand: Demand = field(default_factory=Demand)

    @property
    def key_dim(self) -> int:
        """Width of a cached key: two channels for each rotary pair that is kept."""
        return 2 * len(self.rope.kept(self.head_dim // 2))

    @property
    def clip_tokens(self) -> int:
        """The most vision tokens of a whole clip, as the checkpoint's own video processor has it."""
        return self.clip_pixels[1] // (self.temporal_patch_size * (self.patch_size * self.merge_size) ** 2)

    def kv_bytes_per_token(self, dtype_bytes: int) -> int:
        """Bytes of keys and values one token takes in all layers."""
        return self.layers * self.kv_heads * (self.key_dim + self.head_dim) * dtype_bytes


def read_spec(
    folder: str | Path, name: str | None = None, promised: Mapping[str, int] | None = None
) -> ModelSpec:
    """Read config.json, the processor configs and the safetensors headers of `folder`.

    promised: names and bytes of safetensors files that are to come; what is wrong with the rest is found
    before they are there. Raises ModelMissing where the folder is no complete Qwen3-VL checkpoint in
    safetensors: a missing or truncated shard is found here, before anything is loaded. A file that is not as
    it was written is a DamagedFile.
    """
    folder = Path(folder)
    shown = folder if promised is None else name or folder
    if not folder.is_dir():
        raise ModelMissing(
            f"no model folder at {folder}", "name a checkpoint folder, a hub id or an alias such as 2b"
        )
    config = _json(folder / "config.json")
    model_type = config.get("model_type")
    if model_type not in MODEL_TYPES:
        raise ModelMissing(
            f"{shown} holds a {model_type or 'nameless'} model, not a Qwen3-VL",
            "use a Qwen3-VL checkpoint (dense or MoE, Instruct or Thinking)",
        )
    if quantised := config.get("quantization_config"):
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise ModelMissing(f"{shown} holds quantised weights ({method})", "use the unquantised checkpoint")
    if not ((folder / "tokenizer.json").is_file() or (folder / "merges.txt").is_file()):
        raise ModelMissing(f"{shown} has no tokenizer", "fetch tokenizer.json of the checkpoint")
    tensors = _tensor_sizes(folder) if promised is None else _promised_sizes(folder, shown, config, promised)
    weight_bytes = sum(size for _, size in tensors)
    by_dtype: dict[str, int] = {}
    for dtype, size in tensors:
        by_dtype[dtype] = by_dtype.get(dtype, 0) + size
    dtype = max(by_dtype, key=lambda key: by_dtype[key])
    if dtype not in DTYPES:
        raise ModelMissing(f"{folder} holds {dtype} weights", "use the unquantised checkpoint")
    own = _json(folder / "qvl.json", missing_ok=True)
    generation = _json(folder / "generation_config.json", missing_ok=True)
    video = _json(folder / "video_preprocessor_config.json", missing_ok=True)
    bounds = video.get("size") or {"shortest_edge": 4096, "longest_edge": 25_165_824}
    try:
        text, vision = config["text_config"], config["vision_config"]
        rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
        rope_type = str(rope.get("rope_type") or rope.get("type") or "default")
        if rope_type in LENGTH_DEPENDENT_ROPE:
            raise ModelMissing(
                f"{folder} rotates positions by {rope_type!r}, which depends on the length so far",
                "use the checkpoint's default or YaRN positions",
            )
        thinking = _opens_thinking(read_chat_template(folder))
        return ModelSpec(
            name=name or folder.name,
            folder=folder,
            model_type=model_type,
            patch_size=int(vision["patch_size"]),
            merge_size=int(vision["spatial_merge_size"]),
            temporal_patch_size=int(vision["temporal_patch_size"]),
            hidden_size=int(text["hidden_size"]),
            layers=int(text["num_hidden_layers"]),
            heads=int(text["num_attention_heads"]),
            kv_heads=int(text["num_key_value_heads"]),
            head_dim=int(text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]),
            intermediate_size=int(text["intermediate_size"]),
            max_positions=_max_positions(text, rope, rope_type),
            vocab_size=int(text["vocab_size"]),
            vision_hidden=int(vision["hidden_size"]),
            weight_bytes=weight_bytes,
            parameters=sum(bytes_ // DTYPES.get(kind, ("", 1))[1] for kind, bytes_ in tensors),
            dtype=DTYPES[dtype][0],
            clip_pixels=(int(bounds["shortest_edge"]), int(bounds["longest_edge"])),
            frame_pixels=(int(own["frame_pixels"][0]), int(own["frame_pixels"][1]))
            if "frame_pixels" in own
            else None,
            thinking=thinking,
            has_alignment_head=(folder / HEAD_FILE).is_file() or HEAD_FILE in (promised or ()),
            has_world_gate=(folder / GATE_FILE).is_file() or GATE_FILE in (promised or ()),
            block_steps=_steps(own, "block_steps") or 8,
            text_steps=_steps(own, "text_steps"),
            rope_type=rope_type,
            decoding=_decoding(generation) if thinking else GREEDY,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelMissing(
            f"the configuration in {folder} is incomplete or broken: {error!r}", "fetch the checkpoint again"
        ) from error


def _steps(own: Mapping[str, Any], key: str) -> int | None:
    if key not in own:
        return None
    if (count := int(own[key])) < 1:
        raise ValueError(f"{key} {count}")
    return count


def _max_positions(text: Mapping[str, Any], rope: Mapping[str, Any], rope_type: str) -> int:
    """YaRN reaches `factor` times the original range, whatever else the configuration says: the released
    advice is to write tokens there (1,000,000 for a factor of 3), which are more than positions."""
    declared = int(text["max_position_embeddings"])
    if rope_type != "yarn":
        return declared
    return int(float(rope["factor"]) * int(rope.get("original_max_position_embeddings") or declared))


def with_rope(spec: ModelSpec, rope: RopeSettings) -> ModelSpec:
    """The checkpoint with its positions stretched or some rotary pairs dropped.

    Raises UsageError where it already stretches them by itself.
    """
    if rope.yarn is None:
        return replace(spec, rope=rope)
    if spec.rope_type != "default":
        raise UsageError(
            f"{spec.name} already stretches its positions, by {spec.rope_type!r}: "
            f"it holds {spec.max_positions:,}",
            "leave --yarn out",
        )
    return replace(spec, rope=rope, max_positions=int(spec.max_positions * rope.yarn))


def rope_notes(spec: ModelSpec) -> tuple[str, ...]:
    """What the user must know of `spec.rope`, in sentences; none where it changes nothing."""
    notes = []
    if spec.rope.yarn is not None:
        notes.append(
            f"yarn {float(spec.rope.yarn):g}: {spec.name} now holds {spec.max_positions:,} positions, for "
            "which it was not trained; short videos may be answered less well too"
        )
    if spec.rope.prune:
        pairs = spec.head_dim // 2
        kept = len(spec.rope.kept(pairs))
        notes.append(
            f"rope prune: the {pairs - kept} of {pairs} rotary pairs with the {spec.rope.end}est frequencies "
            "are dropped from queries and keys, answers may be worse"
        )
    return tuple(notes)


def read_chat_template(folder: Path) -> str:
    """The checkpoint's Jinja chat template: chat_template.jinja, chat_template.json or
    tokenizer_config.json."""
    plain = folder / "chat_template.jinja"
    if plain.is_file():
        return plain.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        template = _json(folder / name, missing_ok=True).get("chat_template")
        if isinstance(template, list):  # several named ones: the default one is for chatting
            template = next((item["template"] for item in template if item.get("name") == "default"), None)
        if isinstance(template, str):
            return template
    raise ModelMissing(f"{folder} has no chat template", "fetch chat_template.jinja of the checkpoint")


def _opens_thinking(template: str) -> bool:
    return (
        re.search(r"assistant(?:\\n|\n)<think>", template.rsplit("add_generation_prompt", 1)[-1]) is not None
    )


def _decoding(said: Mapping[str, Any]) -> Decoding:
    """Of generation_config.json, as transformers reads it."""
    if not said.get("do_sample"):
        return GREEDY
    given = {key: said[key] for key in ("temperature", "top_k", "top_p") if said.get(key) is not None}
    decoding = Decoding(**{"temperature": 1.0, **given})
    if not decoding.temperature:
        raise ValueError("sampling at temperature 0")
    return decoding


def _json(path: Path, missing_ok: bool = False) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise ModelMissing(
            f"{path.parent} is no model folder: it has no {path.name}", "check the path"
        ) from None
    except (OSError, ValueError) as error:
        raise DamagedFile(f"cannot read {path}: {error}", path) from error
    if not isinstance(value, dict):
        raise DamagedFile(f"{path} is not a JSON object", path)
    return value


def weight_files(folder: Path, promised: Collection[str] = ()) -> list[Path]:
    """The safetensors files that hold the weights; never pickles. As transformers reads them: the single file
    where there is one, or is to come (`promised`), else those that the index names."""
    single = folder / "model.safetensors"
    if single.name in promised or single.is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(_json(index)["weight_map"].values()))
        except (KeyError, AttributeError, TypeError) as error:
            raise DamagedFile(f"{index} is broken: {error!r}", index) from error
        if any(Path(name).name != name for name in names):
            raise ModelMissing(f"{index} names files outside its folder", "fetch the checkpoint again")
        return [folder / name for name in names]
    return [single]


def _tensor_sizes(folder: Path) -> list[tuple[str, int]]:
    """(dtype, bytes) of every tensor. Raises ModelMissing where a file is missing or shorter than its header
    says."""
    sizes: list[tuple[str, int]] = []
    for path in weight_files(folder):
        try:
            header, start = _safetensors_header(path)
            entries = [value for key, value in header.items() if key != "__metadata__"]
            sizes += [(item["dtype"], item["data_offsets"][1] - item["data_offsets"][0]) for item in entries]
            end = start + max((item["data_offsets"][1] for item in entries), default=0)
        except FileNotFoundError:
            raise ModelMissing(f"{folder} lacks {path.name}", "fetch the checkpoint again") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
            raise DamagedFile(f"{path} is no safetensors file: {error!r}", path) from error
        if path.stat().st_size != end:
            raise DamagedFile(f"{path} is cut off: {path.stat().st_size:,} of {end:,} bytes", path)
    if not sizes:
        raise ModelMissing(f"the weights in {folder} are empty", "fetch the checkpoint again")
    return sizes


def _promised_sizes(
    folder: Path, shown: object, config: Mapping[str, Any], promised: Mapping[str, int]
) -> list[tuple[str, int]]:
    """As `_tensor_sizes`, of weights that are not there yet: by the sizes of their files, in the dtype the
    configuration names. Raises ModelMissing where one of them is not to come."""
    paths = weight_files(folder, promised)
    lacking = [path.name for path in paths if path.name not in promised]
    if lacking:
        raise ModelMissing(f"{shown} lacks {lacking[0]}", "use a checkpoint in safetensors")
    parts = [part for part in (config, config.get("text_config")) if isinstance(part, dict)]
    said = [part.get(key) for part in parts for key in ("dtype", "torch_dtype")]
    code = next((code for code, (dtype, _) in DTYPES.items() if dtype in said), "BF16")
    return [(code, promised[path.name]) for path in paths]


def _safetensors_header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header and where the data starts (https://huggingface.co/docs/safetensors)."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > 100_000_000:
            raise ValueError(f"a header of {length} bytes")
        header = json.loads(file.read(length))
    return header, 8 + length


def fingerprint(folder: str | Path) -> str:
    """16 hex digits that name these weights and this configuration.

    SHA-256 over config.json, the tokenizer and each weight file: the whole of it below 64 MiB; above, its
    size, its header (names, shapes, offsets) and 64 blocks of 64 KiB spread evenly over it.
    """
    folder = Path(folder)
    digest = hashlib.sha256()
    heads = [folder / HEAD_FILE, folder / GATE_FILE]
    small = [folder / name for name in ("config.json", "tokenizer.json", "vocab.json", "qvl.json")]
    for path in [*small, *weight_files(folder), *heads]:
        if path.is_file():
            digest.update(f"{path.name}:{path.stat().st_size};".encode())
            for block in _sampled(path):
                digest.update(block)
    return digest.hexdigest()[:16]


def _sampled(path: Path, whole: int = 64 << 20, blocks: int = 64, block: int = 64 << 10) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= whole:
            while data := file.read(1 << 20):
                yield data
            return
        _, start = _safetensors_header(path)
        yield file.read(start)
        for index in range(blocks):
            file.seek(start + (size - start - block) * index // (blocks - 1))
            yield file.read(block)
