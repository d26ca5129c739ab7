"""Small random Qwen3-VL checkpoints with the released shapes' ratios, as real folders; clips of noise."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMoeConfig,
    Qwen3VLMoeForConditionalGeneration,
)
from transformers.utils.logging import disable_progress_bar

from qvl_cli.chunks import FrameChunk
from qvl_cli.sampling import Step
from qvl_cli.timeline import TimeSpan

SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
PLAIN_ADDED = ("<tool_call>", "</tool_call>", "<think>", "</think>")

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


def byte_tokenizer() -> Tokenizer:
    """A byte-level vocabulary with a few merges and Qwen's added tokens behind it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("i", "n"), ("o", "n"), ("s", "e"), ("c", "on"), ("Ġ", "a")]
    words = [*alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in PLAIN_ADDED])
    return tokenizer


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


def scatter(network: Any, seed: int) -> None:
    """Random weights that matter: every norm near one, every matrix keeps the size of what it multiplies."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "q_norm" in name:  # attention that chooses, so that what is seen matters
            weight.data = 3 + 0.3 * noise
        elif "norm" in name and name.endswith("weight"):
            weight.data = 1 + 0.1 * noise
        elif weight.dim() == 1:
            weight.data = 0.1 * noise
        elif "embed" in name and weight.dim() == 2:
            weight.data = 0.06 * noise
        else:
            weight.data = (
                noise / weight[0].numel() ** 0.5 if weight.dim() != 3 else noise / weight.shape[-1] ** 0.5
            )


def write_checkpoint(
    folder: Path, *, moe: bool = False, thinking: bool = False, seed: int = 0, shard: str = "5GB"
) -> Path:
    """Write a complete folder with the byte-level tokenizer and return it."""
    tokenizer = byte_tokenizer()
    ids = {
        "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
        "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
        "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
        "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
    }
    eos = tokenizer.token_to_id("<|im_end|>")
    _write_network(folder, moe, ids, tokenizer.get_vocab_size(), eos, seed, shard)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "chat_template.jinja").write_text(THINKING_TEMPLATE if thinking else TEMPLATE)
    _write_processor(folder)
    return folder


def write_released(folder: Path, released: Path, *, moe: bool = False, seed: int = 0) -> Path:
    """The same with the released tokenizer and chat template of `released` (.../shared/qwen3vl)."""
    config = json.loads((released / "2B" / "config.json").read_text())
    ids = {key: value for key, value in config.items() if key.endswith("_token_id")}
    _write_network(folder, moe, ids, config["text_config"]["vocab_size"], 151_645, seed, "5GB")
    for name in ("tokenizer_config.json", "chat_template.jinja", "video_preprocessor_config.json"):
        shutil.copy(released / "2B" / name, folder / name)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(released / "tokenizer" / name, folder / name)
    return folder


def _write_network(
    folder: Path, moe: bool, ids: dict[str, int], vocab: int, eos: int, seed: int, shard: str
) -> None:
    config = config_of(moe, ids, vocab, eos)
    kind = Qwen3VLMoeForConditionalGeneration if moe else Qwen3VLForConditionalGeneration
    network = kind(config)
    scatter(network, seed)
    network.generation_config.eos_token_id = [eos]
    disable_progress_bar()
    network.save_pretrained(folder, max_shard_size=shard)


def _write_processor(folder: Path) -> None:
    size = {"shortest_edge": 4096, "longest_edge": 25_165_824}
    video = {"size": size, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))


def noise_clip(steps: int, width: int, height: int, seed: int = 0) -> FrameChunk:
    """Random pixels at uneven times."""
    frames = np.random.default_rng(seed).integers(0, 256, (steps, 2, height, width, 3), dtype=np.uint8)
    times = [Fraction(7 * i, 4) + Fraction(i % 3, 10) for i in range(steps + 1)]
    plan = tuple(Step(start, start + Fraction(1, 3), TimeSpan(start, end)) for start, end in pairwise(times))
    return FrameChunk(plan, frames)


def cut(clip: FrameChunk, size: int) -> Iterator[FrameChunk]:
    """The clip in chunks of `size` steps."""
    for start in range(0, len(clip.steps), size):
        yield FrameChunk(clip.steps[start : start + size], clip.frames[start : start + size])
