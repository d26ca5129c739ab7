"""What a model's positions can hold: counted in MRoPE positions, kept to by every policy, and said."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from qvl_cli.budget import answer_tokens, choose_memory, estimate, fit_positions, turn_tokens
from qvl_cli.cache import make_memory
from qvl_cli.errors import OverBudget
from qvl_cli.fitting import counted
from qvl_cli.memory import MemorySettings
from qvl_cli.model.load import LoadedModel
from qvl_cli.refusals import check_budget
from qvl_cli.registry import RopeSettings, with_rope
from qvl_cli.sampling import DETAIL, SamplePlan, plan_samples
from qvl_cli.stream import StreamSession
from tests.checkpoints import cut, load_small_blocks, noise_clip
from tests.clips import write_clip, x264
from tests.test_answering import Run, checkpoint  # noqa: F401 - fixtures
from tests.test_budget import GIB
from tests.test_sampling import RELEASED, steady
from tests.test_stream_exact import PROMPT
from tests.test_subtitles_woven import plan_of

AUTO, PLENTY = MemorySettings(), 1_000 * GIB


@pytest.fixture(scope="module")
def hour() -> SamplePlan:
    return plan_samples(steady(3600, Fraction(3)), DETAIL["max"], RELEASED)


@pytest.mark.parametrize("positions", [2_000, 3_000, 6_000, 12_000, 30_000])
def test_no_more_is_in_view_than_positions_hold(hour: SamplePlan, positions: int) -> None:
    spec = replace(RELEASED, max_positions=positions)
    chosen = choose_memory(hour, spec, PLENTY, 2, AUTO)
    assert chosen.policy == "retrieve"
    assert estimate(hour, spec, 2, memory=chosen).positions <= positions
    if chosen.window != AUTO.window:  # and no less: a second more would be too much
        longer = replace(chosen, window=chosen.window + 1)
        assert estimate(hour, spec, 2, memory=longer).positions > positions
    if chosen.most is not None:
        assert estimate(hour, spec, 2, memory=replace(chosen, most=chosen.most + 1)).positions > positions
    assert (chosen == replace(AUTO, policy="retrieve")) == (positions >= 6_000)


def test_positions_are_the_only_reason(hour: SamplePlan) -> None:
    """Where they suffice nothing changes; `full` and `append` are not bent, but refused."""
    for policy in ("window", "retrieve"):
        wanted = MemorySettings(policy)
        assert fit_positions(hour, RELEASED, wanted) == wanted
    small = replace(RELEASED, max_positions=3_000)
    for wanted in (MemorySettings("full"), MemorySettings("window", positions="append")):
        assert choose_memory(hour, small, PLENTY, 2, wanted) == wanted
    tiny = replace(RELEASED, max_positions=200)  # not one block: refused by the budget, not made up for
    assert fit_positions(hour, tiny, MemorySettings("retrieve")) == MemorySettings("retrieve")
    assert choose_memory(hour, tiny, PLENTY, 2, AUTO).policy == "full"


@pytest.mark.parametrize("steps", [13, 60])
def test_a_question_sees_all_of_what_fits_whole(hour: SamplePlan, steps: int) -> None:
    """Neither a last block that is not full nor sinks that are in view anyway take a block away."""
    brief, wanted = replace(hour, steps=hour.steps[:steps]), MemorySettings("retrieve")
    assert fit_positions(brief, RELEASED, wanted) == wanted


def test_stretching_is_a_remedy(hour: SamplePlan) -> None:
    spec = replace(RELEASED, max_positions=25_000)
    with pytest.raises(
        OverBudget, match="use --memory retrieve, stretch its positions with --yarn 2, or try"
    ):
        check_budget(hour, spec, PLENTY, 2)
    check_budget(hour, with_rope(spec, RopeSettings(yarn=Fraction(2))), PLENTY, 2)
    with pytest.raises(OverBudget) as error:
        check_budget(hour, replace(spec, rope_type="yarn"), PLENTY, 2)
    assert "--yarn" not in str(error.value.remedy)


def test_a_small_range_leaves_room_for_the_video() -> None:
    assert (turn_tokens(RELEASED), answer_tokens(RELEASED)) == (1_536, 512)
    small = replace(RELEASED, max_positions=2_048)
    assert (turn_tokens(small), answer_tokens(small)) == (256, 128)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_small_blocks(tmp_path_factory.mktemp("model"), 2)


def test_what_is_counted_is_what_is_taken(model: LoadedModel) -> None:
    """The estimate against the positions of a real session: never less, and close once texts are counted."""
    clip = noise_clip(40, 64, 96)
    plan = plan_of(clip)
    for settings in (
        MemorySettings("full"),
        MemorySettings("window", window=Fraction(20), positions="append"),
        MemorySettings("window", window=Fraction(20)),
        MemorySettings("retrieve", window=Fraction(20), fewest=2),
    ):
        session = StreamSession(model, memory=make_memory(model, settings))
        taken = 0
        for chunk in cut(clip, 8):
            session.watch(chunk)
            taken = max(taken, session._memory.position - session._memory.origin)
        loose = estimate(plan, model.spec, 4, memory=settings).positions
        spec = counted(plan, replace(model.spec, max_positions=300))
        assert spec.step_text < model.spec.step_text
        exact = replace(model.spec, step_text=spec.step_text)
        tight = estimate(plan, exact, 4, memory=settings).positions
        room = turn_tokens(model.spec)
        prefix = len(model.codec.encode_template(model.prefix))
        assert taken - prefix <= tight - room < loose - room
        assert taken - prefix >= 0.9 * (tight - room)


def test_only_distances_count(model: LoadedModel) -> None:
    """A window may watch for ever in a range that all of it would not fit."""
    clip = noise_clip(40, 64, 64)
    small = replace(model, spec=replace(model.spec, max_positions=400))
    shrinking = MemorySettings("window", sinks=2, window=Fraction(8))
    session = StreamSession(small, memory=make_memory(small, shrinking))
    for chunk in cut(clip, 8):
        session.watch(chunk)
    assert session._memory.position > 400 > session._memory.position - session._memory.origin
    session.read(PROMPT)
    for settings in (MemorySettings("full"), replace(shrinking, positions="append")):
        session = StreamSession(small, memory=make_memory(small, settings))
        with pytest.raises(OverBudget, match="holds 400"):
            for chunk in cut(clip, 8):
                session.watch(chunk)


def test_the_commands_keep_to_what_the_model_holds(
    checkpoint: Path,  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(checkpoint, tmp_path / "short")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 2_048
    (folder / "config.json").write_text(json.dumps(config))
    clip = write_clip(tmp_path / "clip.mp4", [100 * number for number in range(220)], options=x264())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    run = Run(folder, capfd)
    asked = ("locate", str(clip), "a block turns white", "--fps", "10")
    answer = run.answer(*asked)
    assert any("/short holds 2,048: --memory retrieve" in line for line in answer.warnings)
    assert any("s instead of 120 s: " in line for line in answer.warnings)
    code, _, err = run(*asked, "--memory", "full")
    assert code == 5
    assert "use --memory retrieve, stretch its positions with --yarn 2, or try --max-tokens" in err
