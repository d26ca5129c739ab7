"""Random weights of any shape as a complete checkpoint folder, so that the real loading code reads them.

python -m qvl_cli.bench.checkpoint SHAPE FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from qvl_cli.bench.shapes import Shape, config_json, shape_named
from qvl_cli.tiny.export import CHAT_TEMPLATE

SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
PLAIN_ADDED = ("<tool_call>", "</tool_call>", "<think>", "</think>")


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


def special_ids(tokenizer: Tokenizer) -> dict[str, int]:
    """The ids a Qwen3-VL config names, in this vocabulary."""
    vocabulary = tokenizer.get_vocab()
    names = {"image_token": "image_pad", "video_token": "video_pad"}
    names |= {f"{name}_token": name for name in ("vision_start", "vision_end")}
    return {f"{key}_id": vocabulary[f"<|{name}|>"] for key, name in names.items()}


def scatter(network: Any, seed: int) -> None:
    """Random weights that matter: every norm near one, every matrix keeps the size of what it multiplies."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if "q_norm" in name:  # attention that chooses, so that what is seen matters
            weight.data = noise.mul_(0.3).add_(3)
        elif "norm" in name and name.endswith("weight"):
            weight.data = noise.mul_(0.1).add_(1)
        elif weight.dim() == 1:
            weight.data = noise.mul_(0.1)
        elif "embed" in name and weight.dim() == 2:
            weight.data = noise.mul_(0.06)
        else:
            fan = weight[0].numel() if weight.dim() != 3 else weight.shape[-1]
            weight.data = noise.mul_(fan**-0.5)


def write_folder(network: Any, folder: Path, template: str = CHAT_TEMPLATE, shard: str = "5GB") -> Path:
    """`network`, the byte tokenizer, the chat template and the processor's bounds; returns the folder."""
    tokenizer = byte_tokenizer()
    network.generation_config.eos_token_id = [tokenizer.token_to_id("<|im_end|>")]
    disable_progress_bar()
    network.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    (folder / "chat_template.jinja").write_text(template)
    size = {"shortest_edge": 4096, "longest_edge": 25_165_824}
    video = {"size": size, "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2}
    (folder / "video_preprocessor_config.json").write_text(json.dumps(video))
    return folder


def write_random(shape: Shape, folder: Path, seed: int = 0) -> Path:
    """A float32 checkpoint of `shape`. Of its vocabulary only the first 274 ids have a text."""
    tokenizer = byte_tokenizer()
    parts = config_json(shape)
    parts["text_config"]["eos_token_id"] = tokenizer.token_to_id("<|im_end|>")
    config = Qwen3VLConfig(**parts, tie_word_embeddings=True, **special_ids(tokenizer))
    with torch.device("meta"):  # transformers' own initialisation would be thrown away
        network = Qwen3VLForConditionalGeneration(config)
    network.to_empty(device="cpu").tie_weights()
    scatter(network, seed)
    return write_folder(network, folder)


if __name__ == "__main__":
    write_random(shape_named(sys.argv[1]), Path(sys.argv[2]))
