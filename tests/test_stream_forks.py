"""Forks: asking is free of watching, and nobody disturbs anybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from qvl_cli.budget import answer_tokens
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import OverBudget
from qvl_cli.generate import DecodeSettings
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.prompts import Prompt
from qvl_cli.registry import read_spec
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, noise_clip, write_checkpoint

FIRST = Prompt("", "who comes in?")
SECOND = Prompt("In the beginning, ", "what falls down", "?")
GREEDY = DecodeSettings(max_new_tokens=24)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(read_spec(write_checkpoint(tmp_path_factory.mktemp("m"), seed=11)), "cpu", "float32")


@pytest.fixture(scope="module")
def clip() -> FrameChunk:
    return noise_clip(9, 96, 64)


def fresh(model: LoadedModel, clip: FrameChunk, steps: int | None = None) -> StreamSession:
    session = StreamSession(model)
    for chunk in cut(FrameChunk(clip.steps[:steps], clip.frames[:steps]), 3):
        session.watch(chunk)
    return session


def tokens(session: StreamSession, prompt: Prompt) -> list[int]:
    return [step.token for step in session.ask(prompt, GREEDY)]


@contextmanager
def counted(model: LoadedModel) -> Iterator[dict[str, int]]:
    """Language tokens and vision patches that went through the network."""
    seen = {"tokens": 0, "patches": 0}

    def text(_module: object, _args: object, kwargs: dict[str, torch.Tensor]) -> None:
        seen["tokens"] += kwargs["inputs_embeds"].shape[1]

    def vision(_module: object, args: tuple[torch.Tensor, ...]) -> None:
        seen["patches"] += len(args[0])

    hooks = [
        model.network.model.language_model.register_forward_pre_hook(text, with_kwargs=True),
        model.network.model.visual.register_forward_pre_hook(vision),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def test_two_forks_equal_two_fresh_runs_and_cost_no_watching(model: LoadedModel, clip: FrameChunk) -> None:
    wanted = [tokens(fresh(model, clip), prompt) for prompt in (FIRST, SECOND)]
    assert wanted[0] != wanted[1]
    session = fresh(model, clip)
    for prompt, expected in zip((FIRST, SECOND, FIRST), (*wanted, wanted[0]), strict=True):
        fork = session.fork()
        with counted(model) as seen:
            assert tokens(fork, prompt) == expected
        text = prompt.before + prompt.query + prompt.after
        turn = len(model.codec.encode_text(text)) + len(model.codec.encode_template(model.suffix))
        assert seen["patches"] == 0
        assert seen["tokens"] <= turn + 2 + len(expected)  # +2: the three parts are tokenised apart
        fork.release()


def test_interleaved_asks_do_not_mix(model: LoadedModel, clip: FrameChunk) -> None:
    wanted = [tokens(fresh(model, clip), prompt) for prompt in (FIRST, SECOND)]
    session = fresh(model, clip)
    forks = [session.fork(), session.fork()]
    running = [fork.ask(prompt, GREEDY) for fork, prompt in zip(forks, (FIRST, SECOND), strict=True)]
    got: list[list[int]] = [[], []]
    for _ in range(24):
        for place, answer in enumerate(running):
            got[place] += [step.token for step in [next(answer, None)] if step is not None]
    assert got == wanted
    assert [list(fork.answer_ids) for fork in forks] == wanted


def test_watching_on_while_a_fork_answers(model: LoadedModel, clip: FrameChunk) -> None:
    early, late = tokens(fresh(model, clip, 6), FIRST), tokens(fresh(model, clip), SECOND)
    session = fresh(model, clip, 6)
    fork = session.fork()
    answer = fork.ask(FIRST, GREEDY)
    got = [next(answer).token for _ in range(3)]
    session.watch(FrameChunk(clip.steps[6:], clip.frames[6:]))
    got += [next(answer).token for _ in range(3)]
    assert tokens(session, SECOND) == late
    got += [step.token for step in answer]
    assert got == early
    assert tokens(fork, FIRST) == early
    assert torch.equal(fork.features, session.features[:6])


def test_a_fork_can_watch_on_by_itself(model: LoadedModel, clip: FrameChunk) -> None:
    session = fresh(model, clip, 6)
    other = noise_clip(9, 96, 64, seed=1)
    fork = session.fork()
    fork.watch(FrameChunk(other.steps[6:], other.frames[6:]))
    session.watch(FrameChunk(clip.steps[6:], clip.frames[6:]))
    assert tokens(session, FIRST) == tokens(fresh(model, clip), FIRST)
    assert len(fork.steps) == len(session.steps) == 9
    assert not torch.equal(fork.features[6:], session.features[6:])


def test_asking_leaves_the_session_as_it_was(model: LoadedModel, clip: FrameChunk) -> None:
    session = fresh(model, clip)
    held = session.tokens
    first = tokens(session, FIRST)
    states = session.answer_states
    assert states.shape == (len(first), model.spec.hidden_size)
    session.read(SECOND)
    assert torch.equal(session.answer_states, states)
    assert session.tokens == held
    assert tokens(session, FIRST) == first


def test_an_answer_dropped_halfway_gives_its_room_back(model: LoadedModel, clip: FrameChunk) -> None:
    session = fresh(model, clip)
    place = session._memory.cache.layers[0].keys.data_ptr()
    for _ in range(3):
        answer: Any = session.ask(FIRST, GREEDY)
        next(answer)
        answer.close()
    session.watch(FrameChunk(clip.steps[:1], clip.frames[:1]))
    assert session._memory.cache.layers[0].keys.data_ptr() == place, "nothing was copied"


def test_a_failed_watch_changes_nothing(
    model: LoadedModel, clip: FrameChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = fresh(model, clip, 6)
    held = session.tokens
    layer = model.network.model.language_model.layers[2]

    def fail(_module: object, _args: object) -> None:
        raise torch.OutOfMemoryError("no room")

    hook = layer.register_forward_pre_hook(fail)
    with pytest.raises(OverBudget, match="out of memory while watching"):
        session.watch(FrameChunk(clip.steps[6:], clip.frames[6:]))
    with pytest.raises(OverBudget, match="out of memory"):
        list(session.ask(FIRST, GREEDY))
    hook.remove()
    assert (session.tokens, len(session.steps)) == (held, 6)
    assert session._memory.cache.layers[0].length == session._memory.cache.layers[3].length == held
    session.watch(FrameChunk(clip.steps[6:], clip.frames[6:]))
    assert tokens(session, SECOND) == tokens(fresh(model, clip), SECOND)


def test_a_failed_first_watch_can_be_repeated(model: LoadedModel, clip: FrameChunk) -> None:
    session = StreamSession(model)
    hook = model.network.model.visual.register_forward_pre_hook(_interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.watch(clip)
    hook.remove()
    session.watch(clip)
    assert tokens(session, FIRST) == tokens(fresh(model, clip), FIRST)


def _interrupt(_module: object, _args: object) -> None:
    raise KeyboardInterrupt


def test_frames_that_are_no_whole_tokens_are_refused(model: LoadedModel) -> None:
    with pytest.raises(ValueError, match="32-pixel tokens"):
        StreamSession(model).watch(noise_clip(1, 48, 64))


def test_positions_beyond_the_checkpoint_are_over_budget(model: LoadedModel, clip: FrameChunk) -> None:
    session = fresh(model, clip)
    session._memory.position = model.spec.max_positions - 10
    with pytest.raises(OverBudget, match="262,144"):
        session.watch(clip)
    with pytest.raises(OverBudget, match="position"):
        list(session.ask(SECOND, GREEDY))


@pytest.mark.parametrize("thinking", [False, True])
def test_the_longest_answer_fits_the_reserve(tmp_path: Path, clip: FrameChunk, thinking: bool) -> None:
    spec = read_spec(write_checkpoint(tmp_path / "m", thinking=thinking))
    session = StreamSession(load_model(spec, "cpu", "float32"), reserve_tokens=400)
    session.watch(clip)
    assert session.tokens <= 400
    fork = session.fork()
    fork._run_text([1] * 500)  # a long question
    for _ in range(0, answer_tokens(spec), 64):
        fork._run_text([1] * 64)
    place = session._memory.cache.layers[0].keys.data_ptr()
    assert fork._memory.cache.layers[0].keys.data_ptr() == place, "nothing was copied"


def test_a_reserved_session_never_moves(model: LoadedModel, clip: FrameChunk) -> None:
    session = StreamSession(model, reserve_tokens=400)
    places = set()
    for chunk in cut(clip, 2):
        session.watch(chunk)
        places.add(session._memory.cache.layers[0].keys.data_ptr())
    assert len(places) == 1
    assert tokens(session, FIRST) == tokens(fresh(model, clip), FIRST)
