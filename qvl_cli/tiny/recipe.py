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


@dataclass(frozen=True, slots=True)
class Mix:
    """What is asked of one clip. locates: events to find; asks: family of each question; tell: probability of
    a section or overview; ask_weight: weight of the answers to questions in the loss, all else has 1;
    sentences: whether answers say again what was asked for."""

    locates: int
    asks: tuple[str, ...]
    tell: float
    ask_weight: float
    sentences: bool = False


PERCEPTION = Stage("perception", 1200, batch=64, lr=2.5e-3, first_seed=0, horizon=2200, cooldown=300)
TIME = Stage("time", 800, batch=8, lr=1.2e-3, first_seed=300_000, horizon=5000, cooldown=1)
ANSWERS = Stage("answers", 800, batch=8, lr=1.1e-3, first_seed=400_000, horizon=3000, cooldown=1, warmup=30)
DETAILS = Stage("details", 600, batch=8, lr=1.2e-3, first_seed=500_000, horizon=3000, cooldown=1, warmup=30)
LOOKUP = Stage("lookup", 400, batch=8, lr=1.2e-3, first_seed=600_000, horizon=3000, cooldown=1, warmup=30)
SENTENCES = Stage(
    "sentences", 600, batch=8, lr=1.2e-3, first_seed=700_000, horizon=3000, cooldown=1, warmup=30
)
NAMES = Stage("names", 500, batch=8, lr=1.2e-3, first_seed=720_000, horizon=3000, cooldown=200, warmup=30)
GATE = Stage("gate", 400, batch=64, lr=2e-3, first_seed=900_000, horizon=400, cooldown=50, warmup=20)

TIME_MIX = Mix(8, ("what", "colour", "which", "count", "count"), tell=1.0, ask_weight=1.0)
ANSWERS_MIX = Mix(6, ("what", "colour", "which", "count") * 3, tell=0.4, ask_weight=4.0)
DETAILS_MIX = Mix(5, ("what", *["colour"] * 5, *["which"] * 3, *["count"] * 4), tell=0.2, ask_weight=4.0)
SENTENCES_MIX = Mix(5, ("what", *["colour"] * 4, *["which"] * 4, *["count"] * 4), 0.2, 4.0, sentences=True)

STEPS_AN_UPDATE = 96
TIME_LENGTHS = (16, 20, 24, 32)  # steps a clip, in turn
SHORT_LENGTHS = (12, 16, 20, 24)
ALL_LENGTHS = (16, 24, 32, 48, 64)


@dataclass(frozen=True, slots=True)
class Course:
    """One stage of learning from clips. lengths: steps a clip, update by update in turn; `short` instead for
    the first `short_for` updates. lookup, names: weights of the two losses on where to look."""

    stage: Stage
    mix: Mix
    lengths: tuple[int, ...]
    short: tuple[int, ...] = SHORT_LENGTHS
    short_for: int = 0
    lookup: float = 0.0
    names: float = 0.0

    def clips(self, update: int) -> tuple[int, int]:
        """(steps a clip, clips) of an update: about STEPS_AN_UPDATE steps in all."""
        lengths = self.short if update < self.short_for else self.lengths
        steps = lengths[update % len(lengths)]
        return steps, max(1, min(self.stage.batch, STEPS_AN_UPDATE // steps))


COURSES = (
    Course(TIME, TIME_MIX, TIME_LENGTHS, short=(12,), short_for=330),
    Course(ANSWERS, ANSWERS_MIX, ALL_LENGTHS),
    Course(DETAILS, DETAILS_MIX, SHORT_LENGTHS),
    Course(LOOKUP, DETAILS_MIX, ALL_LENGTHS, short_for=300, lookup=0.5),
    Course(SENTENCES, SENTENCES_MIX, ALL_LENGTHS, short_for=300, lookup=1.0),
    Course(NAMES, SENTENCES_MIX, ALL_LENGTHS, short_for=200, lookup=1.0, names=1.0),
)


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
