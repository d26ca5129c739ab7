"""The trained aligner: step features and query states through the head's network to scored spans."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, partial
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from qvl_cli.align import Aligned, ScoredSpan, Sentence
from qvl_cli.align.network import HeadNetwork, HeadShape
from qvl_cli.align.score import log_chance, runs_with_evidence
from qvl_cli.align.spans import StepScores, seen_spans
from qvl_cli.errors import ModelMissing
from qvl_cli.prompts import Prompt, locate_prompt
from qvl_cli.registry import HEAD_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from qvl_cli.model.load import LoadedModel
    from qvl_cli.stream import StreamSession
    from qvl_cli.timeline import TimeSpan


_AT_ONCE = 512  # steps
_REMEDY = "train one for this checkpoint with `qvl head train`, or ask with --aligner text"
FORM = "regions"  # what a head judges a step by; those of before had one vector for a whole step


def load_network(file: Path, model: LoadedModel | None = None) -> tuple[HeadNetwork, float]:
    """The network and its not-found threshold. model: what it is to judge the states of.

    Raises ModelMissing where the file is not a whole head, or of another checkpoint than `model` is.
    """
    try:
        with safe_open(file, "pt") as stored:
            described = dict(stored.metadata() or {})
            weights = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        threshold, form = float(described.pop("threshold")), described.pop("form", "steps")
        if form != FORM:
            raise ValueError(f"it judges by {form}, this qvl by {FORM}")
        mark = described.pop("checkpoint", None)
        if mark and model and mark != checkpoint_mark(model):
            raise ValueError("it was trained for another checkpoint")
        network = HeadNetwork(HeadShape(**{key: int(value) for key, value in described.items()}))
        network.load_state_dict(weights)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelMissing(f"{file} is no alignment head that can be used ({error})", _REMEDY) from error
    return network.eval(), threshold


def head_bytes(network: HeadNetwork, threshold: float, mark: str = "") -> bytes:
    """The file that `load_network` reads. mark: of the checkpoint that it was trained for."""
    weights = {
        name: value.detach().float().cpu().contiguous() for name, value in network.state_dict().items()
    }
    described = {**network.shape.to_strings(), "form": FORM, "threshold": repr(threshold)}
    content: bytes = save(weights, {**described, "checkpoint": mark} if mark else described)
    return content


def checkpoint_mark(model: LoadedModel) -> str:
    """Tells checkpoints of one shape apart by some numbers of their words, hex; the same in every dtype a
    checkpoint is loaded in."""
    words: Tensor = model.network.get_input_embeddings().weight
    some = words[:: max(1, len(words) // 512), :64].detach().half().bfloat16()
    return sha256(some.cpu().contiguous().view(torch.int16).numpy().tobytes()).hexdigest()[:16]


@torch.inference_mode()
def step_scores(
    network: HeadNetwork, steps: Tensor, query: Tensor, durations: Tensor, own: range | None = None
) -> StepScores:
    """steps [n, regions + 1, hidden], query [l, hidden], durations [n] seconds of each step's interval -> the
    head's figures of the steps `own`, or of all. Only what is within reach of them is looked at, and so much
    at once that hours take no more memory than minutes."""
    own = range(len(steps)) if own is None else own
    present = torch.ones(1, 1, len(query), dtype=torch.bool, device=steps.device)
    found = []
    for piece in (own[at : at + _AT_ONCE] for at in range(0, max(len(own), 1), _AT_ONCE)):
        first = max(piece.start - network.shape.reach, 0)
        around = slice(first, piece.stop + network.shape.reach)
        scores = network(steps[None, around], query[None, None], present, durations[None, around])[0, 0]
        figures = scores[piece.start - first : piece.stop - first]
        found.append(StepScores(*figures.double().cpu().numpy().T))
    return StepScores.joined(found)


def score_runs(network: HeadNetwork, scores: StepScores, intervals: Sequence[TimeSpan]) -> list[ScoredSpan]:
    """Decoded runs as spans, best first; the score estimates P(IoU >= 0.5). What a hole cuts in two has one
    score: where it is cut there is no boundary to judge it by."""
    weight, bias = (each.detach().double().cpu() for each in (network.score_weight, network.score_bias))
    found = []
    for run, figures in runs_with_evidence(scores, intervals):
        score = math.exp(log_chance(torch.from_numpy(figures[None]), weight, bias).item())
        found += [ScoredSpan(span, score) for span in seen_spans(run, scores, intervals)]
    return sorted(found, key=lambda s: (-s.score, s.span.start))


def middles(views: Sequence[range]) -> list[range]:
    """Ranges that follow one another and may overlap -> of each what lies further from its ends than from
    those of any other; together all steps, each once."""
    cuts = [(view.start + before.stop) // 2 for before, view in pairwise(views)]
    edges = [views[0].start, *cuts, views[-1].stop]
    return [range(a, b) for a, b in pairwise(edges)]


class HeadAligner:
    """Aligner over a checkpoint's own `alignment_head.safetensors`."""

    name = "head"

    def __init__(self, network: HeadNetwork, threshold: float) -> None:
        self.network = network
        self.threshold = threshold

    @classmethod
    def load(cls, model: LoadedModel, file: Path | None = None) -> HeadAligner:
        """file: a head other than the one beside the weights."""
        network, threshold = load_network(file or model.spec.folder / HEAD_FILE, model)
        if network.shape.hidden != model.spec.hidden_size:
            raise ModelMissing(
                f"the alignment head of {model.spec.name} is for hidden size {network.shape.hidden}, "
                f"the model has {model.spec.hidden_size}",
                _REMEDY,
            )
        return cls(network.to(model.device), threshold)

    def locate(self, session: StreamSession, event: str) -> Aligned:
        if not session.steps or not event:
            return Aligned()
        prompt = locate_prompt(event)
        if not session.selects:
            return self._aligned(session.read(prompt), session)
        spans = self._spans(session, self._swept_steps(session, prompt))
        words = cache(lambda: session.read(prompt))  # only where somebody looks again
        again = (lambda other: self._aligned(words(), other)) if spans else None
        return Aligned(tuple(spans), again=again)

    def _swept_steps(self, session: StreamSession, prompt: Prompt) -> StepScores:
        """Where the session chooses what to show, the words are read beside one view after the other, and
        judge the steps in the middle of that view: words that look at what they name cannot judge what they
        do not see, nor what they see half of."""
        found: list[StepScores] = []
        views = session.overlapping_views
        for view, own in zip(views, middles(views), strict=True):
            focus = session.focus(view.start, view.stop)
            try:
                found.append(self._scores(session, focus.read(prompt), own))
            finally:
                focus.release()
        return StepScores.joined(found)

    def evidence(self, session: StreamSession, question: str, sentences: Sequence[Sentence]) -> list[Aligned]:
        if not session.steps:
            return [Aligned() for _ in sentences]
        states = session.answer_states
        return [self._aligned(states[slice(*sentence.tokens)], session) for sentence in sentences]

    def relevance(self, features: Tensor, query: Tensor, durations: Tensor) -> Tensor:
        """[steps]: logits that each has to do with `query`, which is what `retrieve` chooses blocks by."""
        return torch.from_numpy(step_scores(self.network, features, query, durations).inside)

    def _scores(self, session: StreamSession, query: Tensor, own: range | None = None) -> StepScores:
        return step_scores(self.network, session.features, query, session.durations, own)

    def _aligned(self, query: Tensor, session: StreamSession) -> Aligned:
        if not len(query) or not session.steps:
            return Aligned()
        spans = self._spans(session, self._scores(session, query))
        return Aligned(tuple(spans), again=partial(self._aligned, query))

    def _spans(self, session: StreamSession, scores: StepScores) -> list[ScoredSpan]:
        intervals = [step.interval for step in session.steps]
        return [s for s in score_runs(self.network, scores, intervals) if s.score >= self.threshold]
