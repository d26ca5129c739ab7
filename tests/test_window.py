"""The window policy against one forward under its explicit mask, and its positions against the plain way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from qvl_cli.cache import Block, make_memory
from qvl_cli.cache import window as window_module
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import UsageError
from qvl_cli.generate import DecodeSettings
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.preprocess import patchify
from qvl_cli.prompts import Prompt
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, load_small_blocks, noise_clip
from tests.one_shot import OneShot
from tests.test_stream_exact import CLOSE, distance, watched

PROMPT = Prompt("Look: ", "when does the seal wave?", " Say it.")
GREEDY = DecodeSettings(max_new_tokens=32)
BLOCK = 2


@pytest.fixture(scope="module", params=["dense", "moe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp(request.param), BLOCK, moe=request.param == "moe")


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    return noise_clip(13, 64, 64)  # a step every 1.75 s or so


def settings(sinks: int = 3, window: int = 8, positions: str = "append") -> MemorySettings:
    return MemorySettings("window", sinks=sinks, window=Fraction(window), positions=positions)


def windowed(model: LoadedModel, clip: FrameChunk, size: int, how: MemorySettings) -> StreamSession:
    session = StreamSession(model, memory=make_memory(model, how))
    for chunk in cut(clip, size):
        session.watch(chunk)
    return session


class Banded:
    """transformers' own forward over everything at once, under the mask that the policy stands for."""

    def __init__(self, model: LoadedModel, clip: FrameChunk, sinks: int, window: int) -> None:
        self.one_shot = OneShot(model)
        self.model, self.clip, self.sinks, self.window = model, clip, sinks, window

    def sees(self, step: int, other: int) -> bool:
        """Whether the tokens of one step (the number of steps: those behind the video) may see another's."""
        steps = self.clip.steps
        block = min(step, len(steps) - 1) // BLOCK * BLOCK
        last = min(other // BLOCK * BLOCK + BLOCK, len(steps)) - 1
        in_window = steps[last].interval.end > steps[block].interval.start - self.window
        return other < self.sinks or other // BLOCK * BLOCK == block or in_window

    def mask(self, of: Tensor) -> Tensor:
        """Numbers of the steps of all tokens, -1 in the prefix -> additive [1, 1, n, n]."""
        count = len(self.clip.steps)
        numbers = range(-1, count + 1)
        table = torch.tensor([[o in (-1, count) or self.sees(s, o) for o in numbers] for s in numbers])
        allowed = table[of + 1][:, of + 1] & torch.ones(len(of), len(of), dtype=torch.bool).tril()
        return torch.zeros(len(of), len(of)).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]

    def steps_of(self, ids: Tensor) -> Tensor:
        """Numbers of the steps of all tokens [n], -1 in the prefix."""
        ends = (ids == self.model.vision_end_id).long()
        of = ends.cumsum(0) - ends
        of[: len(self.model.codec.encode_template(self.model.prefix))] = -1
        return of

    @torch.no_grad()
    def answer(self, count: int) -> tuple[Tensor, list[int]]:
        """Logits after the prompt and greedy tokens."""
        network, model = self.one_shot.network, self.model
        ids = torch.tensor([self.one_shot.ids(self.clip, PROMPT)])
        of = self.steps_of(ids[0])
        steps, _, height, width, _ = self.clip.frames.shape
        grid = torch.tensor([[steps, height // 16, width // 16]])
        kinds = (ids == model.video_token_id).int() * 2
        positions, delta = network.model.get_rope_index(ids, kinds, video_grid_thw=grid)
        cache = DynamicCache(config=network.config)
        mask = self.mask(of)
        output = network.model(
            input_ids=ids,
            attention_mask=mask,
            pixel_values_videos=patchify(self.clip.frames),
            video_grid_thw=grid,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        first = logits = network.lm_head(output.last_hidden_state[0, -1])
        row, place, tokens = mask[:, :, -1:], ids.shape[1] + int(delta), []
        while len(tokens) < count and (token := int(logits.argmax())) not in model.eos_ids:
            row = torch.nn.functional.pad(row, (0, 1))
            step = network.model(
                input_ids=torch.tensor([[token]]),
                attention_mask=row,
                position_ids=torch.full((3, 1, 1), place + len(tokens)),
                past_key_values=cache,
                use_cache=True,
            )
            tokens.append(token)
            logits = network.lm_head(step.last_hidden_state[0, -1])
        return first, tokens


@pytest.mark.parametrize(("sinks", "window"), [(3, 8), (0, 1)])
def test_append_equals_one_forward_under_the_mask(
    model: LoadedModel, clip: FrameChunk, sinks: int, window: int
) -> None:
    wanted, tokens = Banded(model, clip, sinks, window).answer(32)
    for size in (1, 3, 13):
        session = windowed(model, clip, size, settings(sinks, window))
        assert distance(session.logits(PROMPT), wanted) <= CLOSE
        assert [step.token for step in session.ask(PROMPT, GREEDY)] == tokens
    everything = watched(model, clip, 3)
    assert distance(everything.logits(PROMPT), wanted) > 100 * CLOSE  # the window does matter
    assert session.tokens < everything.tokens


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp("dense"), BLOCK)


def test_a_window_that_holds_everything_is_the_full_policy(dense: LoadedModel, clip: FrameChunk) -> None:
    wanted = watched(dense, clip, 13).logits(PROMPT)
    for positions in ("append", "shrink"):
        session = windowed(dense, clip, 4, settings(3, 1_000, positions))
        assert distance(session.logits(PROMPT), wanted) <= CLOSE


class Rebased:
    """`shrink` the plain way: before every block the whole cache is built again from blocks, gaps closed."""

    def __init__(self, model: LoadedModel, clip: FrameChunk, how: MemorySettings) -> None:
        self.blocks: list[Block] = []
        for one in cut(clip, BLOCK):
            self.session = StreamSession.from_blocks(model, list(self.held(one.steps[0].interval.start, how)))
            self.session.watch(one)
            count = len(self.session.steps)
            block = self.session._memory.cut(count - len(one.steps), count)
            self.blocks.append(replace(block, first=BLOCK * len(self.blocks)))

    def held(self, now: Fraction, how: MemorySettings) -> Iterator[Block]:
        for block in self.blocks:
            sinks = max(min(how.sinks - block.first, BLOCK), 0)
            if block.span.end > now - how.window:
                yield block
            elif sinks:
                yield block.part(0, sinks)


@pytest.mark.parametrize("rebase", [20, 8_192])
def test_shrink_equals_closing_the_gap_each_time(
    dense: LoadedModel, clip: FrameChunk, rebase: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_module, "REBASE", rebase)
    how = settings(3, 8, "shrink")
    plain = Rebased(dense, clip, how).session
    wanted = plain.logits(PROMPT)
    for size in (1, 5, 13):
        session = windowed(dense, clip, size, how)
        assert distance(session.logits(PROMPT), wanted) <= CLOSE
    assert session.tokens == plain.tokens
    appended = windowed(dense, clip, 5, settings(3, 8, "append"))
    assert distance(appended.logits(PROMPT), wanted) > 10 * CLOSE
    if rebase == 20:
        assert session._memory.position < appended._memory.position


@pytest.mark.parametrize("positions", ["append", "shrink"])
@pytest.mark.parametrize("stop", [8, 11])
def test_a_saved_window_goes_on_as_if_never_stopped(
    dense: LoadedModel, clip: FrameChunk, positions: str, stop: int
) -> None:
    how = settings(3, 8, positions)
    session, blocks = StreamSession(dense, memory=make_memory(dense, how)), []
    for chunk in cut(FrameChunk(clip.steps[:stop], clip.frames[:stop]), BLOCK):
        session.watch(chunk)
        blocks += session.blocks(len(blocks))
    blocks += session.blocks(len(blocks), tail=True)
    again = StreamSession.from_blocks(dense, blocks, memory=make_memory(dense, how))
    assert again.tokens == session.tokens
    rest = FrameChunk(clip.steps[stop:], clip.frames[stop:])
    for one in (session, again):
        one.watch(rest)
    assert again.steps == session.steps == clip.steps
    assert distance(again.features, session.features) <= CLOSE
    assert distance(again.logits(PROMPT), session.logits(PROMPT)) <= CLOSE


def test_a_fork_keeps_what_the_session_lets_go(dense: LoadedModel, clip: FrameChunk) -> None:
    session = windowed(dense, FrameChunk(clip.steps[:8], clip.frames[:8]), 8, settings())
    fork = session.fork()
    before = fork.logits(PROMPT)
    session.watch(FrameChunk(clip.steps[8:], clip.frames[8:]))
    assert torch.equal(fork.logits(PROMPT), before)
    assert distance(session.logits(PROMPT), before) > CLOSE


def test_blocks_that_have_left_cannot_be_taken(dense: LoadedModel, clip: FrameChunk) -> None:
    session = windowed(dense, clip, 4, settings())
    with pytest.raises(ValueError, match="has left the cache"):
        next(session.blocks())


def test_settings_that_keep_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="no memory is called 'half'"):
        MemorySettings("half")
    with pytest.raises(UsageError):
        MemorySettings(window=Fraction(0))
    with pytest.raises(UsageError):
        MemorySettings(positions="other")


@pytest.mark.parametrize("positions", ["append", "shrink"])
@pytest.mark.parametrize("sinks", [0, 3])
def test_a_session_that_forgets_sees_the_same_and_stays_short(
    model: LoadedModel, clip: FrameChunk, positions: str, sinks: int
) -> None:
    how = settings(sinks, 4, positions)
    plain = StreamSession(model, memory=make_memory(model, how))
    brief = StreamSession(model, memory=make_memory(model, how))
    past = brief.fork()
    longest, kept = 0, -(-sinks // BLOCK) * BLOCK
    for chunk in cut(clip, 1):
        plain.watch(chunk)
        brief.watch(chunk)
        past = brief.fork()  # one that was made before is not changed
        seen = len(past.steps)
        brief.forget()
        longest = max(longest, len(brief.steps))
        assert (len(past.steps), len(past.features)) == (seen, seen)
    (view,) = plain.views
    assert view.start > kept  # something was forgotten at all
    assert brief.views == [range(min(kept, view.start), len(brief.steps))]
    assert brief.steps == (*plain.steps[:kept], *plain.steps[view.start :])
    for name in ("features", "vision_means"):
        all_rows = getattr(plain, name)
        rest = torch.cat([all_rows[:kept], all_rows[view.start :]])
        assert torch.equal(getattr(brief, name), rest)
    assert longest <= kept + len(view) + BLOCK < len(plain.steps)
    assert torch.equal(brief.logits(PROMPT), plain.logits(PROMPT))
    assert list(brief.ask(PROMPT, GREEDY)) == list(plain.ask(PROMPT, GREEDY))
