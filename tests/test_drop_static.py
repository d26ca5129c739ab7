"""--drop-static: what is kept, that it is read exactly where it was, and that nothing of it is silent."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from qvl_cli.cache import make_memory
from qvl_cli.chunks import FrameChunk, iter_chunks
from qvl_cli.errors import UsageError
from qvl_cli.generate import DecodeSettings
from qvl_cli.media import open_video
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.preprocess import patchify, resize_frames
from qvl_cli.sampling import SamplingSettings, plan_samples
from qvl_cli.static import THRESHOLD, StaticPatches
from qvl_cli.stream import StreamSession
from tests import indexing
from tests.checkpoints import cut, load_small_blocks, noise_clip
from tests.one_shot import OneShot
from tests.test_retrieve import favouring
from tests.test_sampling import FIXED
from tests.test_stream_exact import CLOSE, distance
from tests.test_window import BLOCK, GREEDY, PROMPT, Banded, settings


@pytest.fixture(scope="module", params=["dense", "moe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp(request.param), BLOCK, moe=request.param == "moe")


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    """Tokens dropped by chance, the first step of a block whole, whole steps gone, a whole chunk of them."""
    noise = noise_clip(13, 96, 64)
    kept = np.random.default_rng(5).random((13, 2, 3)) < 0.4
    kept[::BLOCK] = True
    kept[[3, 9]] = False
    return replace(noise, kept=kept)


def watched(model: LoadedModel, clip: FrameChunk, size: int, how: MemorySettings | None) -> StreamSession:
    session = StreamSession(model, memory=make_memory(model, how) if how else None)
    for chunk in cut(clip, size):
        session.watch(chunk)
    return session


class KeptAlone:
    """transformers' own modules over the whole prompt at once, from which the dropped tokens are cut out: its
    positions, its vision tower, its language model."""

    def __init__(self, model: LoadedModel, clip: FrameChunk) -> None:
        self.one_shot, self.model, self.clip = OneShot(model), model, clip
        self.network = self.one_shot.network

    @torch.no_grad()
    def answer(self, count: int, mask: Tensor | None = None) -> tuple[Tensor, Tensor, list[int]]:
        """Hidden states at the ends of the steps, logits after the prompt, greedy tokens.

        mask: additive [1, 1, n, n] over all tokens of the prompt, dropped ones too.
        """
        network, model, clip = self.network, self.model, self.clip
        assert clip.kept is not None
        inputs = self.one_shot.inputs(clip, PROMPT)
        vision = network.model.visual(patchify(clip.frames), grid_thw=inputs.grid)
        pads = inputs.ids[0] == model.video_token_id
        stay = torch.ones(len(pads), dtype=torch.bool)
        stay[pads] = rows = torch.from_numpy(clip.kept).flatten()
        ids, text = inputs.ids[:, stay], network.model.language_model
        embedded = text.embed_tokens(ids)
        embedded[:, pads[stay]] = vision.pooler_output[rows]
        if mask is not None:
            mask = mask[:, :, stay][..., stay]
        cache = DynamicCache(config=network.config)
        hidden = text(
            inputs_embeds=embedded,
            position_ids=inputs.positions[..., stay],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            visual_pos_masks=pads[stay][None],
            deepstack_visual_embeds=[tap[rows] for tap in vision.deepstack_features],
        ).last_hidden_state[0]
        first = logits = network.lm_head(hidden[-1])
        row, tokens = None if mask is None else mask[:, :, -1:], list[int]()
        while len(tokens) < count and (token := int(logits.argmax())) not in model.eos_ids:
            row = None if row is None else torch.nn.functional.pad(row, (0, 1))
            step = text(
                input_ids=torch.tensor([[token]]),
                position_ids=torch.full((3, 1, 1), inputs.next_position + len(tokens)),
                attention_mask=row,
                past_key_values=cache,
                use_cache=True,
            )
            tokens.append(token)
            logits = network.lm_head(step.last_hidden_state[0, -1])
        return hidden[ids[0] == model.vision_end_id], first, tokens


@pytest.mark.parametrize("size", [1, 2, 5, 13])
def test_streaming_equals_one_forward_over_the_kept_tokens(
    model: LoadedModel, clip: FrameChunk, size: int
) -> None:
    ends, wanted, tokens = KeptAlone(model, clip).answer(16)
    session = watched(model, clip, size, None)
    assert distance(session.features[:, -1], ends) <= CLOSE
    assert distance(session.logits(PROMPT), wanted) <= CLOSE
    assert [step.token for step in session.ask(PROMPT, DecodeSettings(max_new_tokens=16))] == tokens
    assert clip.kept is not None and session.vision_tokens == clip.kept.sum()
    everything = watched(model, replace(clip, kept=None), size, None)
    assert distance(everything.logits(PROMPT), wanted) > 100 * CLOSE
    # What comes after stands where it always stood.
    assert [b.advance for b in session.blocks(tail=True)] == [b.advance for b in everything.blocks(tail=True)]


@pytest.mark.parametrize("size", [1, 4, 13])
def test_a_window_equals_one_forward_under_its_mask(model: LoadedModel, clip: FrameChunk, size: int) -> None:
    banded = Banded(model, clip, 3, 8)
    mask = banded.mask(banded.steps_of(torch.tensor(banded.one_shot.ids(clip, PROMPT))))
    _, wanted, tokens = KeptAlone(model, clip).answer(32, mask)
    session = watched(model, clip, size, settings())
    assert distance(session.logits(PROMPT), wanted) <= CLOSE
    assert [step.token for step in session.ask(PROMPT, GREEDY)] == tokens


def test_retrieved_and_restored_blocks_hold_the_kept_tokens(model: LoadedModel, clip: FrameChunk) -> None:
    how = MemorySettings("retrieve", sinks=1, window=Fraction(8), share=Fraction(1, 10), fewest=2)
    session = StreamSession(model, memory=make_memory(model, how, relevance=favouring(5, 11)))
    for chunk in cut(clip, 4):
        session.watch(chunk)
    blocks = list(session.blocks(tail=True))
    assert clip.kept is not None and session.vision_tokens == clip.kept.sum()
    wanted = StreamSession.from_blocks(model, [blocks[0].part(0, 1), blocks[2], blocks[5]])
    assert distance(session.logits(PROMPT), wanted.logits(PROMPT)) <= CLOSE
    whole = watched(model, clip, 4, None)
    again = StreamSession.from_blocks(model, list(whole.blocks(tail=True)))
    assert distance(again.logits(PROMPT), whole.logits(PROMPT)) <= CLOSE
    assert again.vision_tokens == whole.vision_tokens


def grey(level: float, size: int = 64) -> npt.NDArray[np.uint8]:
    return np.full((2, size, 2 * size, 3), level, np.uint8)


def kept(*pairs: npt.NDArray[np.uint8], every: int = 100) -> list[list[list[int]]]:
    static = StaticPatches(32, every)
    return [static.keep(pair).astype(int).tolist() for pair in pairs]


ALL, NONE = [[1] * 4] * 2, [[0] * 4] * 2


def test_a_patch_is_kept_where_one_of_its_frames_shows_something_new() -> None:
    changed = grey(90)
    changed[1, 40:48, 104:112] += THRESHOLD  # a quarter of a token's side, in the second frame alone
    corner = [[0, 0, 0, 0], [0, 0, 0, 1]]
    assert kept(grey(90), grey(90), changed, changed, grey(90)) == [ALL, NONE, corner, NONE, corner]


def test_slow_changes_add_up_and_noise_does_not() -> None:
    assert kept(*(grey(90 + n) for n in range(10))) == [ALL] + [NONE] * 7 + [ALL, NONE]
    chance = np.random.default_rng(1)
    noisy = [
        np.clip(grey(90) + chance.normal(0, 8, grey(0).shape), 0, 255).astype(np.uint8) for _ in range(20)
    ]
    assert kept(*noisy) == [ALL] + [NONE] * 19


def test_every_block_begins_with_a_whole_step_wherever_watching_goes_on() -> None:
    assert kept(*[grey(90)] * 5, every=2) == [ALL, NONE, ALL, NONE, ALL]
    later = StaticPatches(32, 2, watched=4)
    assert [bool(later.keep(grey(90)).all()) for _ in range(3)] == [True, False, True]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_no_chunk_size_changes_what_is_kept(prefetch: int) -> None:
    found = []
    with open_video(indexing.CLIP) as video:
        plan = plan_samples(video.info, SamplingSettings(end=Fraction(12)), FIXED)
        for size in (1, 3, 1000):
            chunks = list(iter_chunks(video, plan, size, resize_frames, prefetch, StaticPatches(32, 4)))
            found.append(np.concatenate([chunk.kept for chunk in chunks if chunk.kept is not None]))
    assert found[0].shape == (len(plan.steps), plan.height // 32, plan.width // 32)
    assert 0 < found[0].sum() < found[0].size
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_it_is_told_and_counted_and_indexed_apart(tmp_path: Path) -> None:
    plain = indexing.ask(tmp_path)
    heard = indexing.Heard()
    answer = indexing.ask(tmp_path, heard, drop_static=True)
    assert answer.usage.index == "saved"  # not what was watched without
    assert answer.sampling.dropped > 0 == plain.sampling.dropped
    assert answer.sampling.tokens + answer.sampling.dropped == plain.sampling.tokens
    told = f"--drop-static: {answer.sampling.dropped:,} of {plain.sampling.tokens:,} video tokens"
    assert heard.said(told) and any(told in warning for warning in answer.warnings)
    again = indexing.ask(tmp_path, drop_static=True)
    assert again.usage.index == "used" and indexing.said(again) == indexing.said(answer)


def test_a_stopped_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    with pytest.raises(indexing.Stop):
        indexing.index(tmp_path / "stopped", indexing.Heard(12), drop_static=True, chunk="4")
    report = indexing.index(tmp_path / "stopped", drop_static=True, chunk="4")
    indexing.index(tmp_path / "never", drop_static=True, chunk="4")
    assert report.state == "resumed"
    assert any("--drop-static" in warning for warning in report.warnings)
    assert indexing.stored(tmp_path / "stopped") == indexing.stored(tmp_path / "never")


def test_pictures_and_pages_are_refused(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="--drop-static compares the frames of one video"):
        indexing.ask(tmp_path, path=tmp_path / "a.png", drop_static=True)
