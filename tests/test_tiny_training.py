"""What the recipe trains is what the engine runs: same tokens, same states, same spans."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from qvl_cli.align.head import HeadAligner
from qvl_cli.chunks import FrameChunk
from qvl_cli.model.load import LoadedModel, load_model
from qvl_cli.model.world_gate import WorldGate
from qvl_cli.prompts import Prompt
from qvl_cli.registry import read_spec
from qvl_cli.sampling import Step
from qvl_cli.stream import StreamSession
from qvl_cli.timeline import TimeSpan
from qvl_cli.tiny import recipe
from qvl_cli.tiny.clips import Clip, make_clip, step_lookups
from qvl_cli.tiny.clock import Timing
from qvl_cli.tiny.export import export_checkpoint, export_head
from qvl_cli.tiny.lookup import (
    HEADS,
    LookupTarget,
    attention_inputs,
    lookup_loss,
    lookup_target,
    name_tokens,
    wanted_tokens,
)
from qvl_cli.tiny.perception import COLS, IGNORE, ROWS, label
from qvl_cli.tiny.readers import ClockReader
from qvl_cli.tiny.timing import (
    TimeStage,
    block_mask,
    read_off,
    run_language,
    time_loss,
    times_written,
)
from qvl_cli.tiny.train import new_network
from qvl_cli.tiny.trainer import learning_rate, run_stage
from qvl_cli.tiny.vocabulary import world_tokenizer


@pytest.fixture(scope="module")
def stage() -> tuple[object, TimeStage]:
    network = new_network()
    with torch.no_grad():  # far from the small initial weights, so that a wrong position or row would show
        for name, weight in network.named_parameters():
            if weight.dim() > 1 and "embed" not in name:
                weight.mul_(1.5)
                weight.copy_(weight.half().float())  # the checkpoint stores float16
            else:
                weight.copy_(weight.half().float())
    return network, TimeStage(network).eval()


@pytest.fixture(scope="module")
def exported(stage: tuple[object, TimeStage], tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("tiny")
    export_checkpoint(stage[0], folder)
    export_head(stage[1].head, 0.25, folder)
    return load_model(read_spec(folder, "exported"), "cpu", "float32")


def watch(model: LoadedModel, clip: Clip, chunk: int) -> StreamSession:
    times = [tuple(Fraction(round(float(t) * 1000), 1000) for t in pair) for pair in clip.times]
    edges = [t0 for t0, _ in times] + [times[-1][1] + 1]
    steps = [
        Step(t0, t1, TimeSpan(a, b))
        for (t0, t1), (a, b) in zip(times, pairwise(edges), strict=True)
    ]  # fmt: skip
    session = StreamSession(model)
    for first in range(0, len(steps), chunk):
        part = slice(first, first + chunk)
        session.watch(FrameChunk(tuple(steps[part]), clip.frames[part]))
    return session


def test_packed_training_states_equal_the_streamed_ones(
    stage: tuple[object, TimeStage], exported: LoadedModel
) -> None:
    # streamed from position zero on, and far from it float32 angles alone differ by 1e-3
    clips = (make_clip(seed, 10, recipe.Mix(jumps=0.0, uneven=0.0)) for seed in range(30, 60))
    clip = next(c for c in clips if c.sequence.positions[0] == (0, 0, 0))
    with torch.no_grad():
        hidden = run_language(stage[0], [clip])[0]
    session = watch(exported, clip, chunk=4)
    trained = hidden[torch.tensor(clip.features)]  # each cell is a region
    assert trained.std() > 0.05
    torch.testing.assert_close(session.features, trained, atol=4e-5, rtol=0)

    blocks = np.array(clip.sequence.block)
    for block in (1, int(blocks.max())):
        places = np.nonzero(blocks == block)[0]
        ids = [clip.sequence.ids[i] for i in places]
        marker = world_tokenizer().token_to_id("<|im_end|>")
        text = world_tokenizer().decode(ids[: ids.index(marker)] if marker in ids else ids)
        read = session.read(Prompt("", text))
        if len(read) == len(ids):  # one piece: tokenised alike
            torch.testing.assert_close(read, hidden[places], atol=4e-5, rtol=0)


def test_padding_and_batching_change_nothing(stage: tuple[object, TimeStage]) -> None:
    clips = [make_clip(seed, 6) for seed in (40, 41, 42)]
    with torch.no_grad():
        together = run_language(stage[0], clips)
        for i, clip in enumerate(clips):
            alone = run_language(stage[0], [clip])[0]
            torch.testing.assert_close(together[i, : len(alone)], alone, atol=4e-5, rtol=0)


def test_questions_cannot_see_each_other() -> None:
    blocks = torch.tensor([[0, 0, 1, 1, 2, 2, -1]])
    seen = block_mask(blocks)[0, 0] == 0
    assert seen[3].tolist() == [True, True, True, True, False, False, False]
    assert seen[5].tolist() == [True, True, False, False, True, True, False]
    assert seen[1].tolist() == [True, True] + [False] * 5


def test_a_section_question_sees_its_steps_only() -> None:
    clip = next(c for c in (make_clip(seed, 24) for seed in range(30)) if c.views)
    ((block, (first, last)),) = clip.views.items()
    sequence = clip.sequence
    steps = torch.tensor([sequence.step])
    mask = block_mask(torch.tensor([sequence.block]), steps, [clip.views])[0, 0] == 0
    row = max(i for i, b in enumerate(sequence.block) if b == block)
    seen = {step for step, shown in zip(sequence.step, mask[row].tolist(), strict=True) if shown}
    assert seen == {-1, *range(first, last)} and (first, last) != (0, 24)
    other = max(i for i, b in enumerate(sequence.block) if b == 1)
    assert set(steps[0][mask[other]].tolist()) == {-1, *range(24)}


def test_words_look_at_the_tokens_that_show_them() -> None:
    cells = ROWS * COLS
    pad = world_tokenizer().token_to_id("<|video_pad|>")
    told = dict.fromkeys(HEADS, 0)
    for clip in (make_clip(seed, 16, recipe.RANK_MIX) for seed in range(50, 58)):
        length = len(clip.sequence.ids)
        for name, lookups in clip.lookups.items():
            told[name] += len(lookups)
            for each in lookups:
                right, unclear = wanted_tokens(clip, [each], length, torch.device("cpu"))
                expected, faint = set(each.places), set()
                for step, end in enumerate(clip.ends):
                    for cell in range(cells):
                        place = end - cells + cell
                        assert clip.sequence.ids[place] == pad
                        asked = [
                            (want, shown)
                            for want, shown in zip(each.wanted, clip.labels[step, cell], strict=True)
                            if want
                        ]
                        if each.places or each.wanted[0] < 0:
                            continue
                        if any(shown == IGNORE for _, shown in asked):
                            faint.add(place)
                        elif each.steps[0] <= step < each.steps[1] and all(a == b for a, b in asked):
                            expected.add(place)
                assert set(right[0].nonzero().flatten().tolist()) == (expected or {0}), (name, each)
                assert set(unclear[0].nonzero().flatten().tolist()) == faint
        for each in clip.lookups["names"]:
            named = name_tokens()[clip.sequence.ids[each.row]]
            assert lookup_target(each.row, named).wanted == each.wanted
        for step, end in enumerate(clip.ends):
            digits = f"{clip.times[step].mean():05.1f}".replace(".", "")
            for name, digit in zip(("hundreds", "tens", "ones", "tenths"), digits, strict=True):
                (place,) = next(each.places for each in clip.lookups[name] if each.row == end)
                blank = digits[: digits.index(digit) + 1].strip("0") == "" and name in ("hundreds", "tens")
                text = world_tokenizer().decode([clip.sequence.ids[place]])
                assert text == digit or (text == "<" and blank), (digits, name, text)
    assert all(told.values()), told


def test_what_comes_after_a_thing_is_found_by_what_was_new_before() -> None:
    asked = 0
    for clip in (make_clip(seed, 24, recipe.DATE_MIX) for seed in range(50, 70)):
        rows: dict[int, list[LookupTarget]] = {}
        for each in clip.lookups["next"]:
            rows.setdefault(clip.sequence.block[each.row], []).append(each)
        new = {each.row: each.wanted[:2] for each in clip.lookups["chain"]}
        for block, targets in rows.items():
            ids = [t for t, b in zip(clip.sequence.ids, clip.sequence.block, strict=True) if b == block]
            said = re.search(r"After the (\w+) (\w+) comes the (\w+) (\w+)", world_tokenizer().decode(ids))
            assert said and len(targets) == 2
            before = label("shape", said[2]), label("colour", said[1])
            right, _ = wanted_tokens(clip, targets, len(clip.sequence.ids), torch.device("cpu"))
            for row in right:
                linked = {new[place] for place in row.nonzero().flatten().tolist() if place in new}
                assert linked == {before}, said[0]
                asked += 1
    assert asked > 20


def test_the_earlier_of_two_times_is_told_by_where_they_end() -> None:
    tokenizer, told = world_tokenizer(), 0
    for clip in (make_clip(seed, 16, recipe.RANK_MIX) for seed in range(50, 56)):
        ids, blocks = clip.sequence.ids, clip.sequence.block
        seconds = dict(clip.clocked)
        for place, time in clip.clocked:
            before = tokenizer.decode(ids[place - len(f"{time:.1f}") : place])
            assert before == f"{time:.1f}" and tokenizer.decode(ids[place : place + 1]) == " seconds"
            digits = [next(e for e in clip.lookups[n] if e.row == place) for n in ("ones", "tenths")]
            assert [tokenizer.decode([ids[e.places[0]]]) for e in digits] == [before[-3], before[-1]]
        for former, latter in zip(clip.lookups["former"], clip.lookups["latter"], strict=True):
            (one,), (other,) = former.places, latter.places
            assert former.row == latter.row and one < other
            assert blocks[one] == blocks[other] == blocks[former.row]
            rank = tokenizer.decode([ids[former.row + 1]])
            if seconds[one] != seconds[other]:
                assert rank == (" first" if seconds[one] < seconds[other] else " second")
            told += 1
    assert told > 20


def test_steps_look_at_their_own_cells_and_at_the_step_before() -> None:
    labels = np.zeros((3, 4, 5), np.int64)
    labels[1, 2, 0], labels[2, 0, 4] = 5, 7  # a shape, a word
    labels[2, 3, :4] = IGNORE  # too little of a shape
    found = step_lookups(labels, (10, 20, 30))
    assert [each.row for each in found["shows"]] == [10, 20, 30]
    assert [each.places for each in found["shows"]] == [(), (18,), (26,)]
    assert found["does"] == found["shows"]
    assert [each.places for each in found["before"]] == [(), (10,), (20,)]


def test_an_end_is_told_by_the_first_step_that_no_longer_shows_it() -> None:
    starts = np.arange(5.0)
    frames = np.stack([starts, starts + 0.5], 1)
    timing = Timing(frames, starts, starts + 1.0, 0.0, beyond=True)
    before = replace(timing, beyond=False)
    assert timing.step_told(1.2, first=True) == before.step_told(1.2, first=True) == 1
    assert before.step_told(2.7, first=False) == 2 and timing.step_told(2.7, first=False) == 3
    assert timing.step_told(5.0, first=False) == 4  # nothing comes behind the last


def test_a_time_is_read_where_it_is_being_written(stage: tuple[object, TimeStage]) -> None:
    clip = next(c for c in (make_clip(seed, 12) for seed in range(50, 80)) if _written(c))
    states = torch.zeros(1, len(clip.sequence.ids), 256)
    reader, seen = ClockReader(256), []
    reader.loss = lambda rows, seconds: seen.append(seconds) or (rows.sum(), 1.0)  # type: ignore[method-assign]
    read_off(reader.loss, states, times_written([clip]))
    (seconds,) = seen
    for target, second in zip(_written(clip), seconds.tolist(), strict=True):
        text = world_tokenizer().decode(clip.sequence.ids[target.row + 1 :][:40])
        first = re.search(r"\d+\.\d", text)
        tail = world_tokenizer().decode(clip.sequence.ids[target.row - 4 : target.row + 1])
        if first and not re.search(r"[\d.]$", tail):  # from the first digit on
            assert float(first[0]) == pytest.approx(round(second, 1), abs=0.051)
    whole = time_loss(*stage, [clip], recipe.LESSONS[recipe.EDGE])[1]
    assert {"told", "comes_goes", "look_before", "look_shows", "look_does"} <= whole.keys()
    plain = time_loss(*stage, [clip], recipe.LESSONS[recipe.TELL])[1]
    assert not {"told", "comes_goes", "look_before", "look_shows", "look_does"} & plain.keys()


def _written(clip: Clip) -> list[LookupTarget]:
    return [each for each in clip.lookups["times"] if each.places]


def test_the_share_on_the_right_tokens_is_the_networks_own(stage: tuple[object, TimeStage]) -> None:
    clip, layer, head = make_clip(51, 12), *HEADS["things"]
    attention = stage[1].language.layers[layer].self_attn
    with torch.no_grad(), attention_inputs(stage[1].language.layers) as seen:
        run_language(stage[0], [clip])
        given = seen[layer]
        _, share = lookup_loss(attention, given, [clip], head, [clip.lookups["things"]])
        attention.config._attn_implementation = "eager"
        weights = attention(**given)[1][0, head]
        attention.config._attn_implementation = "sdpa"
    right, unclear = wanted_tokens(clip, clip.lookups["things"], len(weights), torch.device("cpu"))
    rows = weights[[each.row for each in clip.lookups["things"]]]
    assert share == pytest.approx(
        ((rows * right).sum(-1) / (rows * ~unclear).sum(-1)).mean().item(), rel=1e-3
    )


def test_a_few_updates_lower_the_loss_and_resuming_changes_nothing(tmp_path: Path) -> None:
    lessons = recipe.Lessons(looks=0.0)

    def train(run: Path, stops: list[int]) -> dict[str, torch.Tensor]:
        for updates in stops:
            network = new_network()
            torch.manual_seed(1)
            parts = TimeStage(network)
            settings = recipe.Stage(
                "time", updates, batch=2, lr=1e-3, first_seed=0, horizon=20, cooldown=1, warmup=2
            )
            run_stage(
                settings,
                run,
                parts.modules_by_name(lessons),
                lambda update: [make_clip(update * 2 + i, 4) for i in range(2)],
                lambda clips: time_loss(network, parts, clips, lessons),  # noqa: B023
            )
        return {k: v.clone() for k, v in parts.head.state_dict().items()}

    clips = [make_clip(i, 4) for i in range(2)]
    network = new_network()
    torch.manual_seed(1)
    before = time_loss(network, TimeStage(network), clips, lessons)[0].item()
    whole = train(tmp_path / "a", [6])
    state = torch.load(tmp_path / "a" / "time.pt", weights_only=True)["modules"]
    parts = TimeStage(network)
    for name, module in parts.modules_by_name(lessons).items():
        module.load_state_dict(state[name])
    assert time_loss(network, parts, clips, lessons)[0].item() < before
    resumed = train(tmp_path / "b", [6, 6])
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_the_schedule_warms_up_decays_and_cools_down() -> None:
    stage = recipe.Stage("x", 100, batch=1, lr=1.0, first_seed=0, horizon=200, cooldown=20, warmup=10)
    rates = [learning_rate(stage, update) for update in range(100)]
    assert rates[0] == 0.1 and max(rates) == pytest.approx(1.0)
    assert rates[50] > rates[70] > rates[80] > rates[99] > 0


def test_a_broken_head_is_refused(exported: LoadedModel, tmp_path: Path) -> None:
    assert HeadAligner.load(exported).threshold == 0.25
    from qvl_cli.align.head import load_network
    from qvl_cli.errors import ModelMissing
    from qvl_cli.registry import HEAD_FILE

    broken = tmp_path / HEAD_FILE
    broken.write_bytes((exported.spec.folder / HEAD_FILE).read_bytes()[:1000])
    with pytest.raises(ModelMissing, match="no alignment head that can be used"):
        load_network(broken)


def test_a_gate_saves_and_loads_and_judges_by_both_opinions(tmp_path: Path) -> None:
    torch.manual_seed(0)
    gate = WorldGate(8)
    with torch.no_grad():
        gate.reach.fill_(4.0)
        gate.outer.weight.zero_()
        gate.outer.bias.fill_(1.0)
    gate.save(tmp_path)
    again = WorldGate.load(tmp_path)
    near, far = torch.zeros(3, 8), torch.full((3, 8), 5.0)
    assert again.accepts(near) and not again.accepts(far)
    for one, other in ((near, far), (far, near)):  # bit by bit as all at once
        judge = again.judge()
        assert judge.accepts(one[:1]) == again.accepts(one[:1])
        assert judge.accepts(one[1:]) == again.accepts(one)
        assert judge.accepts(other) == again.accepts(torch.cat([one, other]))
        assert judge.steps == 6
    with torch.no_grad():
        again.outer.bias.fill_(-1.0)
    assert not again.accepts(near)
