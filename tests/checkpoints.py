"""Small random Qwen3-VL checkpoints with the released shapes' ratios, as real folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import (
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from qvl_cli.bench.checkpoint import byte_tokenizer, scatter, special_ids, write_folder
from qvl_cli.bench.noise import cut, noise_clip
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.registry import read_spec

__all__ = ["byte_tokenizer", "cut", "load_small_blocks", "noise_clip", "write_checkpoint", "write_released"]

TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- for content in message.content %}"
    "{%- if content.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{%- elif 'text' in content %}{{- content.text }}{%- endif %}"
    "{%- endfor %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
THINKING_TEMPLATE = TEMPLATE.replace("assistant\n'", "assistant\n<think>\n'")


def config_of(moe: bool, ids: dict[str, int], vocab: int, eos: int) -> Any:
    """The released 2B (or 30B-A3B) config, narrower and shallower: the same ratios, taps and rotation."""
    text = {
        "vocab_size": vocab,
        "hidden_size": 256,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "eos_token_id": eos,
    }
    if moe:
        text |= {
            "num_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 128,
            "decoder_sparse_step": 1,
        }
    vision = {
        "depth": 6,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 2,
        "out_hidden_size": 256,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [1, 3, 5],
    }
    kind = Qwen3VLMoeConfig if moe else Qwen3VLConfig
    return kind(text_config=text, vision_config=vision, tie_word_embeddings=not moe, **ids)


def write_checkpoint(
    folder: Path, *, moe: bool = False, thinking: bool = False, seed: int = 0, shard: str = "5GB"
) -> Path:
    """Write a complete folder with the byte-level tokenizer and return it."""
    tokenizer = byte_tokenizer()
    eos = tokenizer.token_to_id("<|im_end|>")
    network = _network(moe, special_ids(tokenizer), tokenizer.get_vocab_size(), eos, seed)
    return write_folder(network, folder, THINKING_TEMPLATE if thinking else TEMPLATE, shard)


def load_small_blocks(folder: Path, steps: int, *, moe: bool = False) -> LoadedModel:
    """A random model whose cache blocks hold `steps` steps, written to `folder` and loaded."""
    write_checkpoint(folder, moe=moe, seed=3)
    (folder / "qvl.json").write_text(f'{{"block_steps": {steps}}}')
    return load_model(read_spec(folder), "cpu", "float32")


def write_released(folder: Path, released: Path, *, moe: bool = False, seed: int = 0) -> Path:
    """The same with the released tokenizer and chat template of `released` (.../shared/qwen3vl)."""
    config = json.loads((released / "2B" / "config.json").read_text())
    ids = {key: value for key, value in config.items() if key.endswith("_token_id")}
    network = _network(moe, ids, config["text_config"]["vocab_size"], 151_645, seed)
    network.generation_config.eos_token_id = [151_645]
    disable_progress_bar()
    network.save_pretrained(folder)
    for name in ("tokenizer_config.json", "chat_template.jinja", "video_preprocessor_config.json"):
        shutil.copy(released / "2B" / name, folder / name)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(released / "tokenizer" / name, folder / name)
    return folder


def _network(moe: bool, ids: dict[str, int], vocab: int, eos: int, seed: int) -> Any:
    kind = Qwen3VLMoeForConditionalGeneration if moe else Qwen3VLForConditionalGeneration
    network = kind(config_of(moe, ids, vocab, eos))
    scatter(network, seed)
    return network
