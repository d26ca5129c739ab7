"""The shape of the embedded checkpoint and every number of its training, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_cli.tiny.vocabulary import VOCABULARY_SIZE, special_ids
from qvl_cli.tiny.world import HEIGHT, WIDTH

if TYPE_CHECKING:
    from transformers import Qwen3VLConfig

FRAME_PIXELS = WIDTH * HEIGHT  # the one frame size the tower learns: 160 x 96, 15 tokens a step
SEED = 20_261  # seeds the weights; script seeds count up from each stage's own base


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage. lr: peak learning rate after `warmup` updates, then a cosine over `horizon` updates
    down to a tenth, and a straight way to zero over the last `cooldown` of the stage's updates."""

    name: str
    updates: int
    batch: int
    lr: float
    first_seed: int
    horizon: int
    cooldown: int
    warmup: int = 100


PERCEPTION = Stage("perception", 1200, batch=64, lr=2.5e-3, first_seed=0, horizon=2200, cooldown=300)
TIME = Stage("time", 2200, batch=8, lr=1.2e-3, first_seed=300_000, horizon=5000, cooldown=400)

CLIPS_FROM = 8  # training seeds kept for each update of the time stage
STEPS_AN_UPDATE = 96


def clip_steps(update: int) -> tuple[int, int]:
    """(steps a clip, clips) of an update: short clips first, then all lengths up to a minute and a half."""
    done = update / TIME.updates
    if done < 0.15:
        steps = 12
    elif done < 0.6:
        steps = (16, 20, 24, 32)[update % 4]
    else:
        steps = (16, 24, 32, 48, 96)[update % 5]
    return steps, max(1, min(CLIPS_FROM, STEPS_AN_UPDATE // steps))


GATE = Stage("gate", 400, batch=64, lr=2e-3, first_seed=900_000, horizon=400, cooldown=50, warmup=20)


def network_config() -> Qwen3VLConfig:
    """The embedded network: every mechanism of Qwen3-VL (DeepStack, interleaved MRoPE, GQA), made small."""
    from transformers import Qwen3VLConfig

    ids = special_ids()
    return Qwen3VLConfig(
        text_config={
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": 256,
            "intermediate_size": 640,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 65_536,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 100_000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "initializer_range": 0.04,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 4,
            "hidden_size": 160,
            "initializer_range": 0.06,
            "num_heads": 5,
            "intermediate_size": 480,
            "out_hidden_size": 256,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
