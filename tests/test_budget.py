"""What a plan takes, and the settings that a refusal names."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_cli.budget import answer_tokens, estimate, free_memory, turn_tokens
from qvl_cli.errors import OverBudget
from qvl_cli.refusals import check_budget
from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import DETAIL, SamplingSettings, plan_samples
from tests.test_sampling import FIXED, RELEASED, steady

GIB = 2**30


def test_a_plan_that_fits_passes_and_says_what_it_takes() -> None:
    plan = plan_samples(steady(60), SamplingSettings(), RELEASED)
    need = check_budget(plan, RELEASED, 16 * GIB, 2)
    assert need == estimate(plan, RELEASED, 2)
    assert need.weights == 2 * RELEASED.parameters
    # 112 KiB a token in bf16, and at least every video token is kept
    assert need.cache >= plan.tokens * 112 * 1024
    assert 0 < need.positions < plan.tokens


@settings(deadline=None, max_examples=25)
@given(
    seconds=st.integers(10, 3000),
    detail=st.sampled_from(list(DETAIL)),
    free=st.integers(4 * GIB, 12 * GIB),
    spec=st.sampled_from([RELEASED, FIXED, replace(RELEASED, max_positions=8_192)]),
    size=st.sampled_from([(1920, 1080), (320, 240), (1080, 1920)]),
)
def test_the_settings_a_refusal_names_do_fit(
    seconds: int, detail: str, free: int, spec: ModelSpec, size: tuple[int, int]
) -> None:
    info = steady(seconds, Fraction(3), *size)
    plan = plan_samples(info, DETAIL[detail], spec)
    try:
        check_budget(plan, spec, free, 2)
    except OverBudget as error:
        assert error.exit_code == 5
        assert error.remedy is not None
        if "--chunk" in error.remedy:
            check_budget(plan, spec, free, 2, int(error.remedy.split("--chunk ")[1]))
            return
        if "--max-tokens" not in error.remedy:
            assert "a machine with more memory" in error.remedy
            return
        tokens = int(error.remedy.split("--max-tokens ")[1])
        smaller = plan_samples(info, replace(DETAIL[detail], max_tokens=tokens), spec)
        check_budget(smaller, spec, free, 2)


def test_a_refusal_names_the_most_that_fits_not_just_something() -> None:
    plan = plan_samples(steady(3600, Fraction(3)), DETAIL["max"], RELEASED)
    with pytest.raises(OverBudget, match=r"needs .* GiB") as raised:
        check_budget(plan, RELEASED, 12 * GIB, 2)
    tokens = int(str(raised.value.remedy).split("--max-tokens ")[1])
    assert 20_000 < tokens < plan.tokens
    with pytest.raises(OverBudget, match="smaller model"):
        check_budget(plan, RELEASED, 2 * GIB, 2)


def test_a_chunk_too_large_for_memory_is_refused_and_the_largest_that_fits_is_named() -> None:
    plan = plan_samples(steady(600), DETAIL["max"], RELEASED)
    free = estimate(plan, RELEASED, 2).bytes + 3 * GIB
    check_budget(plan, RELEASED, free, 2)
    assert estimate(plan, RELEASED, 2, 8) == estimate(plan, RELEASED, 2)
    with pytest.raises(OverBudget, match=r"work .* GiB") as raised:
        check_budget(plan, RELEASED, free, 2, 1_000_000)
    chunk = int(str(raised.value.remedy).split("--chunk ")[1])
    assert RELEASED.block_steps < chunk < len(plan.steps)
    check_budget(plan, RELEASED, free, 2, chunk)
    assert chunk % RELEASED.block_steps == 0
    with pytest.raises(OverBudget, match="chunk"):
        check_budget(plan, RELEASED, free, 2, chunk + RELEASED.block_steps)
    with pytest.raises(OverBudget, match="max-tokens"):  # no chunk is small enough
        check_budget(plan, RELEASED, 8 * GIB, 2, 1_000_000)


def test_thoughts_need_room_too() -> None:
    plan = plan_samples(steady(60), SamplingSettings(), RELEASED)
    thinker = replace(RELEASED, thinking=True)
    more = answer_tokens(thinker) - answer_tokens(RELEASED)
    assert more > 0
    assert turn_tokens(thinker) - turn_tokens(RELEASED) == more
    plain, thought = estimate(plan, RELEASED, 2), estimate(plan, thinker, 2)
    assert thought.positions - plain.positions == more
    assert thought.cache - plain.cache == more * RELEASED.kv_bytes_per_token(2)


def test_free_memory_is_the_least_of_machine_and_cgroups(tmp_path: Path) -> None:
    proc, group = tmp_path / "proc", tmp_path / "sys/fs/cgroup/box/job"
    (proc / "self").mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 8000 kB\nMemAvailable:    5000 kB\n")
    (proc / "self/cgroup").write_text("0::/box/job\n")
    assert free_memory(tmp_path) == 5000 * 1024
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("1000\n")
    assert free_memory(tmp_path) == 5000 * 1024
    (group.parent / "memory.max").write_text("4000000\n")
    (group.parent / "memory.current").write_text("1500000\n")
    (group.parent / "memory.stat").write_text("anon 7\ninactive_file 500000\n")
    assert free_memory(tmp_path) == 3_000_000
    assert free_memory() > 0
