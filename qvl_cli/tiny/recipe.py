"""The shape of the embedded checkpoint and every number of its training, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_cli.tiny.questions import EVENTS, Style
from qvl_cli.tiny.vocabulary import VOCABULARY_SIZE, special_ids
from qvl_cli.tiny.world import HEIGHT, WIDTH

if TYPE_CHECKING:
    from transformers import Qwen3VLConfig

FRAME_PIXELS = WIDTH * HEIGHT  # the one frame size the tower learns: 160 x 96, 15 tokens a step
CLIP_PIXELS = 50_331_648  # of a whole video: 1,638 steps, an hour's 2.2 s apart, where training has up to 2.5
TEXT_STEPS = 24  # among so many it is asked for times in words: of 24, 40, 56 and two minutes the best
EMBEDDING_RMS = 0.5  # of words, and so of vision tokens; far above what a new layer adds to them
LOOKS_WEIGHT = 0.7
UNDATED = Style(dated=False, ranked=False)
SEED = 20_261  # seeds the weights; script seeds count up from each stage's own base


@dataclass(frozen=True, slots=True)
class Stage:
    """One training stage. lr: peak learning rate after `warmup` updates, then a cosine over `horizon` updates
    down to a tenth, and a straight way to zero over the last `cooldown` of the stage's updates; steps: of
    all clips of an update together, where one clip has not more."""

    name: str
    updates: int
    batch: int
    lr: float
    first_seed: int
    horizon: int
    cooldown: int
    warmup: int = 100
    steps: int = 36


@dataclass(frozen=True, slots=True)
class Mix:
    """What is asked of one clip. locates: events to find, of which a share of `absent` never happens and a
    share of `written` is answered in words too; asks: family of each question; section, overview: probability
    of each; found_weight: weight in the loss of tokens that tell what was found, all else has 1; jumps:
    probability that the positions of steps jump once or twice, by up to longest_jump; clocks: whether the
    last token of a step is told where its time stands; uneven: share of clips with steps where something
    happens instead of evenly spaced ones, and planned: those that adaptive sampling keeps; balanced:
    whether a question's weight grows with the root of what it has to tell instead of with its length; beyond:
    whether a span ends with the time of the step behind it; follows: whether what comes after a thing has a
    head of its own that looks for it; events: how often each kind of event is drawn, as in
    `questions.EVENTS`; drills: orders told from times that are given; style: how questions and answers are
    put; mistaken: of events that never happen, the share in which a thing does what it never does."""

    locates: int = 6
    absent: float = 0.3
    written: float = 0.35
    asks: tuple[str, ...] = (
        "what",
        *["colour"] * 2,
        *["which"] * 2,
        "where",
        *["count"] * 3,
        *["order"] * 2,
        "written",
        *["after"] * 2,
        *["when"] * 2,
    )
    section: float = 0.5
    overview: float = 0.3
    found_weight: float = 3.0
    jumps: float = 0.3
    longest_jump: int = 3000
    clocks: bool = True
    uneven: float = 0.35
    balanced: bool = True
    beyond: bool = False
    follows: bool = False
    events: tuple[float, float, float, float] = EVENTS
    drills: int = 0
    planned: bool = False
    style: Style = UNDATED
    mistaken: float = 0.0


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a stage teaches beside answers and spans. looks: weight of each of the losses on where words look;
    summary: weight of what a step shows and acts, read off its last token; focal: tokens and looks weigh by
    how far they are from right (as in arXiv 1708.02002), so that what is rare is not buried under what is
    learned, and what vision tokens show is read deep in the network; edges: there what comes and goes is
    read off steps, too, and times where they are written; links: and off new things what was new before;
    captions: which word stands on screen is read off steps; only_known: that a thing does not show is not
    learned of what training never shows; ranks: a told time is read off the token behind it; head: the weight
    of the alignment head's loss; edge: and of that of edges; compares: weight of how late a told time is, in
    front of the last layer; near: there two times weigh more the nearer they are; still: network and head
    stand still, and only what reads their states learns."""

    looks: float = LOOKS_WEIGHT
    summary: float = 0.3
    focal: bool = False
    edges: bool = False
    links: bool = False
    captions: bool = False
    only_known: bool = False
    ranks: bool = False
    head: float = 1.0
    edge: float = 0.3
    compares: float = 0.0
    near: bool = False
    still: bool = False


PERCEPTION = Stage("perception", 1500, batch=64, lr=2.5e-3, first_seed=0, horizon=2600, cooldown=350)
TIME = Stage("time", 3800, batch=8, lr=1.2e-3, first_seed=300_000, horizon=6000, cooldown=1)
TELL = Stage("tell", 2600, batch=8, lr=8e-4, first_seed=400_000, horizon=9000, cooldown=1)
EDGE = Stage("edge", 4500, batch=8, lr=8e-4, first_seed=480_000, horizon=5500, cooldown=600)
LINK = Stage("link", 1400, batch=8, lr=7e-4, first_seed=540_000, horizon=6000, cooldown=1)
DATE = Stage("date", 3000, batch=8, lr=6.5e-4, first_seed=580_000, horizon=4200, cooldown=600)
DRILL = Stage("drill", 3600, batch=8, lr=6.5e-4, first_seed=605_000, horizon=5200, cooldown=900)
RANK = Stage("rank", 2600, batch=8, lr=6e-4, first_seed=634_000, horizon=4200, cooldown=800)
COMPARE = Stage("compare", 750, batch=8, lr=6e-4, first_seed=660_000, horizon=1200, cooldown=350)
READ = Stage("read", 300, batch=8, lr=4e-3, first_seed=668_000, horizon=300, cooldown=50, warmup=20)
NEAR = Stage("near", 1200, batch=8, lr=6e-4, first_seed=672_000, horizon=1800, cooldown=500)
FOLLOW = Stage("follow", 1000, batch=8, lr=5e-4, first_seed=682_000, horizon=1500, cooldown=450)
MATCH = Stage("match", 2400, batch=8, lr=3e-3, first_seed=690_000, horizon=2400, cooldown=400, steps=256)
MATCH_BATCHES = 600  # different ones
GATE = Stage("gate", 400, batch=64, lr=2e-3, first_seed=900_000, horizon=400, cooldown=50, warmup=20)

TIME_MIX = Mix()
EDGE_MIX = replace(
    TIME_MIX,
    written=0.8,
    beyond=True,
    asks=(
        "what",
        "colour",
        *["which"] * 3,
        *["where"] * 2,
        *["count"] * 3,
        *["order"] * 2,
        "written",
        *["after"] * 3,
        *["when"] * 4,
    ),
)
LINK_MIX = replace(
    EDGE_MIX,
    written=0.9,
    asks=(
        "what",
        "colour",
        *["which"] * 2,
        *["where"] * 3,
        *["count"] * 3,
        *["order"] * 3,
        "written",
        *["after"] * 4,
        *["when"] * 3,
    ),
)
DATE_MIX = replace(
    LINK_MIX,
    style=Style(ranked=False),
    follows=True,
    asks=(
        "what",
        "colour",
        *["which"] * 2,
        *["where"] * 2,
        *["count"] * 3,
        *["order"] * 4,
        "written",
        *["after"] * 4,
        *["when"] * 2,
    ),
)
DRILL_MIX = replace(
    DATE_MIX,
    locates=8,
    events=(0.2, 0.72, 0.9, 0.95),
    style=Style(ranked=False, more=True),
    drills=5,
    asks=(
        "what",
        "colour",
        *["which"] * 2,
        *["where"] * 2,
        *["count"] * 4,
        *["order"] * 2,
        "written",
        *["after"] * 4,
        *["when"] * 2,
    ),
)
RANK_MIX = replace(DRILL_MIX, style=Style(more=True), locates=10, events=(0.36, 0.82, 0.93, 0.96))
COMPARE_MIX = replace(RANK_MIX, style=Style(more=True, led=True), drills=8)
NEAR_MIX = replace(
    COMPARE_MIX,
    drills=10,
    style=Style(more=True, led=True, early=True),
    asks=(
        "what",
        "colour",
        *["which"] * 5,
        *["where"] * 2,
        *["count"] * 4,
        *["order"] * 2,
        "written",
        *["after"] * 4,
        *["when"] * 2,
    ),
)
FOLLOW_MIX = replace(
    NEAR_MIX,
    asks=(
        "what",
        "colour",
        *["which"] * 3,
        *["where"] * 2,
        *["count"] * 3,
        *["order"] * 2,
        "written",
        *["after"] * 14,
        *["when"] * 2,
    ),
)
MATCH_MIX = replace(
    NEAR_MIX,
    locates=24,
    absent=0.45,
    mistaken=0.6,
    written=0.0,
    drills=0,
    section=0.0,
    overview=0.0,
    events=(0.1, 0.52, 0.76, 0.88),
    uneven=0.5,
    planned=True,
)
EDGE_LESSONS = Lessons(focal=True, edges=True)
LINK_LESSONS = replace(EDGE_LESSONS, links=True)
DRILL_LESSONS = replace(LINK_LESSONS, captions=True, only_known=True, summary=1.0)
RANK_LESSONS = replace(DRILL_LESSONS, ranks=True, head=2.0)
NEAR_LESSONS = replace(RANK_LESSONS, edge=1.0, compares=2.0, near=True)
LESSONS = {  # of the stages on clips, in their order
    TIME: Lessons(),
    TELL: Lessons(focal=True),
    EDGE: EDGE_LESSONS,
    LINK: LINK_LESSONS,
    DATE: LINK_LESSONS,
    DRILL: DRILL_LESSONS,
    RANK: RANK_LESSONS,
    COMPARE: replace(RANK_LESSONS, compares=1.0),
    READ: replace(NEAR_LESSONS, still=True),
    NEAR: NEAR_LESSONS,
    FOLLOW: NEAR_LESSONS,
}
READ_AGAIN = READ  # begins with weights in float16 and readers that know nothing yet
CLOCKS_FROM, BALANCED_FROM, UNEVEN_FROM = 600, 1600, 2600  # updates of TIME from which parts of the mix hold
SHORT_LENGTHS, SHORT_FOR = (12, 16), 800  # steps a clip, in turn, for the first updates
LENGTHS = (16, 24, 32, 48, 64)
LONG_LENGTHS = (32, 64, 96, 128)  # at last also what two minutes take
LONG_FROM = {
    TIME: 3700,
    EDGE: 3400,
    DATE: 2000,
    DRILL: 2800,
    RANK: 1900,
    COMPARE: 550,
    NEAR: 900,
    FOLLOW: 0,
    MATCH: 0,
}  # update


MIXES = {
    EDGE: EDGE_MIX,
    LINK: LINK_MIX,
    DATE: DATE_MIX,
    DRILL: DRILL_MIX,
    RANK: RANK_MIX,
    COMPARE: COMPARE_MIX,
    READ: NEAR_MIX,
    NEAR: NEAR_MIX,
    FOLLOW: FOLLOW_MIX,
    MATCH: MATCH_MIX,
}


def clips_of(stage: Stage, update: int) -> tuple[int, int]:
    """(steps a clip, clips) of an update: one clip, or as many as make stage.steps."""
    lengths: tuple[int, ...] = LENGTHS if update < LONG_FROM.get(stage, stage.updates) else LONG_LENGTHS
    if stage is TIME and update < SHORT_FOR:
        lengths = SHORT_LENGTHS
    steps = lengths[update % len(lengths)]
    return steps, max(1, min(stage.batch, stage.steps // steps))


def mix_of(stage: Stage, update: int) -> Mix:
    """What an update asks: in the time stage bit by bit all of its mix."""
    if stage is not TIME:
        return MIXES.get(stage, TIME_MIX)
    uneven = TIME_MIX.uneven if update >= UNEVEN_FROM else 0.0
    balanced = update >= BALANCED_FROM
    return replace(TIME_MIX, clocks=update >= CLOCKS_FROM, uneven=uneven, balanced=balanced)


def network_config() -> Qwen3VLConfig:
    """The embedded network: every mechanism of Qwen3-VL (DeepStack, interleaved MRoPE, GQA), made small."""
    from transformers import Qwen3VLConfig

    ids = special_ids()
    return Qwen3VLConfig(
        text_config={
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": 256,
            "intermediate_size": 640,
            "num_hidden_layers": 5,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 64,
            "max_position_embeddings": 2048,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5_000_000.0,
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
