"""Shapes of random models: what a forward costs depends on the shape alone, so no weights are needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qvl_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shape:
    """A dense Qwen3-VL. vision_*: of the tower; taps: its layers DeepStack takes. Heads are 128 wide, the
    tower's 64, as in every released checkpoint."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_ffn: int
    taps: tuple[int, int, int]


SHAPES = {
    # 2B's ratio of cost between tower and language model, at a fiftieth of its size
    "small": Shape(6, 512, 4, 2, 1536, 16_384, 6, 256, 1024, (1, 3, 5)),
    # config.json of Qwen/Qwen3-VL-2B-Instruct
    "2b": Shape(28, 2048, 16, 8, 6144, 151_936, 24, 1024, 4096, (5, 11, 17)),
}


def shape_named(name: str) -> Shape:
    """Raises UsageError for a name that is not in the table."""
    if name not in SHAPES:
        raise UsageError(f"no shape is called {name!r}", f"choose from {', '.join(SHAPES)}")
    return SHAPES[name]


def config_json(shape: Shape) -> dict[str, dict[str, Any]]:
    """`text_config` and `vision_config` as the released config.json has them, without token ids."""
    text = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.ffn,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": 128,
        "max_position_embeddings": 262_144,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5_000_000.0,
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
    }
    vision = {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": shape.vision_ffn,
        "num_heads": shape.vision_hidden // 64,
        "out_hidden_size": shape.hidden,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": list(shape.taps),
    }
    return {"text_config": text, "vision_config": vision}
