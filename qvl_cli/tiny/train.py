"""`python -m qvl_cli.tiny.train RUN`: the whole recipe, stage by stage, resumable at any moment.

Perception, the stages of `recipe.LESSONS` one after the other, then the alignment head, the gate and the
calibration of the head; the result lands in `checkpoint/`.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model
from torch import Tensor

from qvl_cli.align.network import HeadNetwork, HeadShape
from qvl_cli.tiny import recipe
from qvl_cli.tiny.calibrate import calibrate
from qvl_cli.tiny.clips import Clip, clip_batch
from qvl_cli.tiny.export import export_checkpoint, export_head
from qvl_cli.tiny.gate import train_gate
from qvl_cli.tiny.network import encode_steps
from qvl_cli.tiny.perception import AXES, PerceptionBatch, WordReader, perception_batch
from qvl_cli.tiny.timing import Judging, TimeStage, judging, scale_vision, time_loss
from qvl_cli.tiny.trainer import run_stage

CHECKPOINT = Path(__file__).parent / "checkpoint"


def new_network() -> Any:
    """The embedded network with the recipe's seeded initial weights."""
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(recipe.SEED)
    network = Qwen3VLForConditionalGeneration(recipe.network_config()).train()
    language = network.model.language_model
    with torch.no_grad():
        words = language.embed_tokens.weight
        words *= recipe.EMBEDDING_RMS / words.square().mean().sqrt()
        # tied to the words: logits start as small as they would with small words
        language.norm.weight.fill_(0.04 / recipe.EMBEDDING_RMS)
    return network


def train_perception(run: Path, network: Any, device: torch.device) -> None:
    visual = network.model.visual
    embeddings = network.get_input_embeddings().weight
    reader, tap_reader = WordReader(embeddings).to(device), WordReader(embeddings).to(device)

    def loss_of(batch: PerceptionBatch) -> tuple[Tensor, dict[str, float]]:
        tokens, (tap,) = encode_steps(visual, torch.from_numpy(batch.frames).to(device))
        labels = torch.from_numpy(batch.labels).to(device)
        loss, right = reader.loss(tokens, labels)
        tap_loss, tap_right = tap_reader.loss(tap, labels)
        figures = dict(zip(AXES, right, strict=True))
        figures |= {f"tap_{axis}": share for axis, share in zip(AXES, tap_right, strict=True)}
        return loss + 0.3 * tap_loss, figures

    stage = recipe.PERCEPTION
    parts = {"visual": visual, "reader": reader, "tap_reader": tap_reader}
    run_stage(stage, run, parts, lambda u: perception_batch(u, stage.batch), loss_of)


def train_time(run: Path, network: Any, device: torch.device) -> None:
    """The language model, on a tower that perception has taught: first when, then in words.

    The head that learns beside it judges a step by its last token alone, which so comes to say what happens;
    it is thrown away.
    """
    torch.manual_seed(recipe.SEED + 1)
    parts = TimeStage(network).to(device)
    still = perception_batch(0, 32).frames
    scale_vision(network, torch.from_numpy(still).to(device))
    for stage in recipe.LESSONS:
        if stage is recipe.READ_AGAIN:
            parts = with_new_readers(network, parts).to(device)
        train_stage(stage, run, network, parts)


def train_stage(stage: recipe.Stage, run: Path, network: Any, parts: TimeStage) -> None:
    lessons = recipe.LESSONS[stage]
    trainable = [p for p in (*parts.language.parameters(), *parts.head.parameters()) if p.requires_grad]
    for weight in trainable:
        weight.requires_grad_(not lessons.still)
    loss_of = partial(time_loss, network, parts, lessons=lessons)
    run_stage(stage, run, parts.modules_by_name(lessons), partial(clip_batch, stage), loss_of)
    for weight in trainable:
        weight.requires_grad_(True)


def with_new_readers(network: Any, parts: TimeStage) -> TimeStage:
    """Weights as a checkpoint stores them, the head, and readers that know nothing yet."""
    store(network)
    torch.manual_seed(recipe.SEED + 2)
    fresh = TimeStage(network)
    fresh.head.load_state_dict(parts.head.state_dict())
    return fresh


@torch.no_grad()
def store(network: Any) -> None:
    """Round the weights to float16, in which a checkpoint stores them."""
    for weight in network.parameters():
        weight.copy_(weight.half())


def train_head(run: Path, network: Any, device: torch.device) -> HeadNetwork:
    """The alignment head, on features as the engine gives them, of the network as it is stored. They are
    computed once and learned from several times."""
    store(network)
    torch.manual_seed(recipe.SEED + 3)
    head = HeadNetwork(HeadShape(network.config.text_config.hidden_size)).to(device)
    stage, known = recipe.MATCH, dict[int, Judging]()

    def batch(update: int) -> tuple[int, list[Clip]]:
        number = update % recipe.MATCH_BATCHES
        return number, [] if number in known else clip_batch(stage, number)

    def loss_of(batch: tuple[int, list[Clip]]) -> tuple[Tensor, dict[str, float]]:
        number, clips = batch
        if number not in known:
            known[number] = judging(network, clips)
        return known[number].loss(head)

    run_stage(stage, run, {"head": head}, batch, loss_of)
    return head


def load_trained(checkpoint: Path) -> Any:
    """The network that a checkpoint stores."""
    network = new_network()
    load_model(network, checkpoint / "model.safetensors")
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder for checkpoints and the log; resumes what it finds")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="where the result goes")
    parser.add_argument(
        "--after",
        type=Path,
        metavar="CHECKPOINT",
        help="train head and gate alone, on the network that is stored there",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if arguments.after:
        network = load_trained(arguments.after).to(device)
    else:
        network = new_network().to(device)
        train_perception(arguments.run, network, device)
        train_time(arguments.run, network, device)
    head = train_head(arguments.run, network, device)
    gate, seen = train_gate(network, device)
    threshold, judged = calibrate(network, head)
    export_checkpoint(network, arguments.checkpoint)
    export_head(head, threshold, arguments.checkpoint)
    gate.save(arguments.checkpoint)
    with (arguments.run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"stage": "gate", **seen}) + "\n")
        log.write(json.dumps({"stage": "calibration", "threshold": threshold, **judged}) + "\n")


if __name__ == "__main__":
    main()
