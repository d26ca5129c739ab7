"""What is kept of a plan: chosen, counted and said before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from qvl_cli.answer import Answer
from qvl_cli.budget import choose_memory, estimate
from qvl_cli.cli.app import main
from qvl_cli.config import load_config
from qvl_cli.errors import OverBudget, UsageError
from qvl_cli.fitting import demanding
from qvl_cli.memory import MemorySettings, most_held, what_is_lost
from qvl_cli.refusals import check_budget
from qvl_cli.registry import EMBEDDED, Demand, read_spec, vector_bytes
from qvl_cli.request import Request
from qvl_cli.sampling import DETAIL, SamplePlan, Step, plan_samples
from qvl_cli.tasks.ask import asks_for_all
from qvl_cli.timeline import TimeSpan
from tests.indexing import SAMPLES
from tests.test_answering import Run, _same, checkpoint, clip, run  # noqa: F401 - fixtures
from tests.test_budget import GIB
from tests.test_sampling import RELEASED, steady


def _steps(lengths: list[int]) -> list[Step]:
    starts = [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    spans = [TimeSpan(Fraction(a), Fraction(b)) for a, b in pairwise(starts)]
    return [Step(span.start, span.start, span) for span in spans]


@hypothesis_settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    sinks=st.integers(0, 7),
    window=st.integers(1, 60),
    size=st.integers(1, 5),
)
def test_the_most_steps_ever_held(lengths: list[int], sinks: int, window: int, size: int) -> None:
    """Against the rule, applied to every step by itself."""
    steps = _steps(lengths)
    most = 0
    for at in range(len(steps)):
        block = at // size
        begins = steps[block * size].interval.start
        held = {
            other
            for other in range(at + 1)
            if other < sinks
            or other // size == block
            or steps[other // size * size + size - 1].interval.end > begins - window
        }
        most = max(most, len(held))
    settings = MemorySettings("window", sinks=sinks, window=Fraction(window))
    assert most_held(steps, settings, size) == most


@pytest.fixture(scope="module")
def hour() -> SamplePlan:
    return plan_samples(steady(3600, Fraction(3)), DETAIL["max"], RELEASED)


def test_full_while_it_fits_else_retrieve(hour: SamplePlan) -> None:
    auto = MemorySettings()
    full, retrieve = (
        estimate(hour, RELEASED, 2, memory=replace(auto, policy=p)) for p in ("full", "retrieve")
    )
    assert retrieve.bytes < 0.6 * full.bytes
    assert choose_memory(hour, RELEASED, full.bytes, 2, auto).policy == "full"
    assert choose_memory(hour, RELEASED, full.bytes - 1, 2, auto).policy == "retrieve"
    assert choose_memory(hour, RELEASED, retrieve.bytes, 2, auto).policy == "retrieve"
    assert choose_memory(hour, RELEASED, retrieve.bytes - 1, 2, auto).policy == "full"  # to be refused
    assert choose_memory(hour, RELEASED, GIB, 2, MemorySettings("window")).policy == "window"
    check_budget(hour, RELEASED, retrieve.bytes, 2, memory=replace(auto, policy="retrieve"))
    with pytest.raises(OverBudget, match=r"-- use --memory retrieve, or try --chunk 4$"):
        check_budget(hour, RELEASED, full.bytes - 1, 2)
    with pytest.raises(OverBudget, match="-- use --memory retrieve, or try --max-tokens"):
        check_budget(hour, RELEASED, retrieve.bytes, 2)


@pytest.mark.parametrize("policy", ["window", "retrieve"])
@pytest.mark.parametrize("share", [0.99, 0.7, 0.6, 0.55, 0.5, 0.3])
def test_a_refused_window_names_what_fits(hour: SamplePlan, policy: str, share: float) -> None:
    memory = MemorySettings(policy, window=Fraction(1_200))
    free = int(estimate(hour, RELEASED, 2, memory=memory).bytes * share)
    with pytest.raises(OverBudget, match=f"with --memory {policy} ") as raised:
        check_budget(hour, RELEASED, free, 2, memory=memory)
    flags = re.findall(r"--(window|chunk) (\d+)", str(raised.value.remedy))
    if not flags:
        least = replace(memory, window=Fraction(1))
        assert estimate(hour, RELEASED, 2, 1, least).bytes > free
        assert "lower --max-pixels" in str(raised.value.remedy)
        return
    named = {name: int(value) for name, value in flags}
    shorter = replace(memory, window=Fraction(named.get("window", 1_200)))
    check_budget(hour, RELEASED, free, 2, named.get("chunk"), shorter)


def test_positions_that_run_out_are_a_reason_too(hour: SamplePlan) -> None:
    spec = replace(RELEASED, max_positions=40_000)
    assert estimate(hour, spec, 2).positions > 40_000
    assert choose_memory(hour, spec, 1_000 * GIB, 2, MemorySettings()).policy == "retrieve"


def test_what_a_window_needs_does_not_grow_with_the_video(hour: SamplePlan) -> None:
    """Twice the steps at the same rate and size."""
    half = replace(hour, steps=hour.steps[: len(hour.steps) // 2])
    window = MemorySettings("window")
    one, other = (estimate(plan, RELEASED, 2, memory=window) for plan in (half, hour))
    assert one == other
    appended = replace(window, positions="append")
    assert estimate(hour, RELEASED, 2, memory=appended).positions == estimate(hour, RELEASED, 2).positions
    kept = [estimate(p, RELEASED, 2, memory=MemorySettings("retrieve")).kept for p in (half, hour)]
    assert kept[1] == 2 * kept[0] > 0


@pytest.mark.parametrize(
    ("kv", "least", "most"), [("bf16", 0.5, 0.5), ("int8", 0.25, 0.261), ("int4", 0.125, 0.151)]
)
def test_compressed_blocks_are_counted_as_such(hour: SamplePlan, kv: str, least: float, most: float) -> None:
    plain = estimate(hour, RELEASED, 4)
    packed = estimate(hour, RELEASED, 4, memory=MemorySettings("full", kv=kv))
    assert least <= packed.cache / plain.cache <= most


def test_what_is_lost_is_said(hour: SamplePlan) -> None:
    def said(settings: MemorySettings, plan: SamplePlan = hour, head: bool = True) -> str:
        return "; ".join(what_is_lost(plan.steps, settings, 8, head))

    short = replace(hour, steps=hour.steps[:20])
    assert said(MemorySettings("full")) == ""
    assert (
        said(MemorySettings("window"))
        == "memory window: a question sees the first 4 steps and the last 120 s"
    )
    assert "13 of 128 blocks, chosen by the alignment head" in said(MemorySettings("retrieve"))
    assert "chosen by the likeness of keys" in said(MemorySettings("retrieve"), head=False)
    assert said(MemorySettings("window"), short) == said(MemorySettings("retrieve"), short) == ""
    assert "compressed" in said(MemorySettings("full", kv="int8"))
    assert "changes nothing" in said(MemorySettings("window", kv="int8"), short)


def test_a_cap_of_the_users_own_is_what_is_to_be_raised(hour: SamplePlan) -> None:
    small = replace(RELEASED, parameters=10**6)
    for spec, memory in ((RELEASED, "full"), (small, "full"), (RELEASED, "window"), (small, "retrieve")):
        kept = MemorySettings(memory)
        need = estimate(hour, spec, 2, memory=kept).bytes
        with pytest.raises(OverBudget, match="--max-memory allows 1 MiB") as error:
            check_budget(hour, spec, 2**20, 2, memory=kept, has_bytes=need + 2**20)
        named = re.search(r"raise --max-memory to (\w+)$", str(error.value.remedy))
        assert named and "model" not in str(error.value.remedy)
        enough = load_config({"max_memory": named[1]}, {}, Path()).count("max_memory")
        check_budget(hour, spec, enough or 0, 2, memory=kept)
        # What the machine does not have is no remedy, nor is a model that takes as much.
        for has in (None, need - 1):
            with pytest.raises(OverBudget) as error:
                check_budget(hour, spec, 2**20, 2, memory=kept, has_bytes=has)
            assert "raise" not in str(error.value) and "with more memory" in str(error.value)
            assert re.findall(r"--model (\w+)", str(error.value)) == (["tiny"] if spec is RELEASED else [])


@pytest.mark.parametrize(
    ("text", "size"),
    [("8G", 8 << 30), ("1.5 GiB", 3 << 29), ("500m", 500 << 20), ("2kb", 2048), ("1000", 1000), ("7B", 7)],
)
def test_sizes(text: str, size: int, tmp_path: Path) -> None:
    assert load_config({"max_memory": text}, {}, tmp_path).count("max_memory") == size


@pytest.mark.parametrize("text", ["0", "-1G", "G", "1E", "8 G B", "inf", "0.1"])
def test_what_is_no_size(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write a size"):
        load_config({"max_memory": text}, {}, tmp_path)


@pytest.mark.parametrize(
    ("question", "whole"),
    [
        ("How many shapes are there?", True),
        ("In which order do they leave?", True),
        ("What happens first?", True),
        ("Does she always wear a hat?", True),
        ("What colour is the star?", False),
        ("Why did the demo fail?", False),
    ],
)
def test_questions_about_the_whole(question: str, whole: bool) -> None:
    assert asks_for_all(question) is whole


def test_the_command_says_what_it_forgot(run: Run, clip: Path) -> None:  # noqa: F811
    code, _, err = run("ask", str(clip), "how many blocks?", "--memory", "window", "--window", "1")
    assert code == 0
    assert "memory" not in err  # one block holds the clip: nothing is forgotten
    code, _, err = run("ask", str(clip), "what?", "--memory", "half")
    assert code == 2
    assert "choose from auto, full, window, retrieve" in err
    code, _, err = run("ask", str(clip), "what?", "--kv", "int8", "-f", "json")
    assert code == 0
    assert "kv int8: finished blocks are compressed" in err


@pytest.fixture
def small_blocks(checkpoint: Path) -> None:  # noqa: F811
    (checkpoint / "qvl.json").write_text('{"block_steps": 1}')


@pytest.mark.parametrize("policy", ["window", "retrieve"])
def test_tasks_with_a_small_memory(run: Run, clip: Path, small_blocks: None, policy: str) -> None:  # noqa: F811
    flags = ("--memory", policy, "--window", "0.5", "--fps", "5")
    answers: dict[str, list[Answer]] = {"ask": [], "locate": [], "summarize": []}
    for size in ("1", "4"):
        for task, query in (("ask", "how many?"), ("locate", "a block turns white"), ("summarize", None)):
            query_or_not = [] if query is None else [query]
            answer = run.answer(task, str(clip), *query_or_not, *flags, "--chunk", size)
            answers[task].append(answer)
    for task, (one, other) in answers.items():
        assert _same(one, other), task
        assert any(f"memory {policy}" in warning for warning in one.warnings)
    if policy == "window":
        assert any("saw only a part" in warning for warning in answers["ask"][0].warnings)
        assert any("have left the memory" in warning for warning in answers["locate"][0].warnings)
    sections = answers["summarize"][0].sections
    assert (sections[0].start, sections[-1].end) == (0.0, 5.84)
    assert all(a.end == b.start for a, b in pairwise(sections))


def test_what_a_run_asks_for_beside_watching_is_counted(hour: SamplePlan) -> None:
    plain, count = estimate(hour, RELEASED, 2), len(hour.steps)
    asked = estimate(hour, replace(RELEASED, demand=Demand(prompt=5_024)), 2)
    assert asked.positions == plain.positions + 4_000 and asked.cache > plain.cache
    alone = estimate(hour, replace(RELEASED, demand=Demand(alone=count // 4)), 2)
    steps = count // 4 * hour.tokens_per_step * RELEASED.kv_bytes_per_token(2)
    assert steps < alone.bytes - plain.bytes < 1.5 * steps
    vectors = count * vector_bytes(RELEASED, hour.width, hour.height)
    there = replace(RELEASED, demand=Demand(vectors_beside=True))
    for memory in (MemorySettings("window"), MemorySettings("retrieve")):
        filed, beside = (estimate(hour, spec, 2, memory=memory) for spec in (RELEASED, there))
        assert (filed.vectors, beside.vectors) == (0, vectors)
        assert filed.kept - beside.kept == (vectors if memory.policy == "retrieve" else 0)


def test_a_run_asks_for_its_sections_and_its_question(hour: SamplePlan) -> None:
    spec = read_spec(EMBEDDED)

    def demand(task: str, query: str, aligner: str = "auto") -> Demand:
        return demanding(hour, spec, Request(task, "x", query, DETAIL["max"], aligner=aligner)).demand

    assert demand("ask", "What happens?") == Demand()
    assert demand("ask", "What happens?", "text") == Demand(alone=spec.text_steps or 0)
    assert len(hour.steps) // 4 <= demand("summarize", "").alone <= len(hour.steps) // 4 + spec.block_steps
    assert demand("ask", "the red circle " * 100).prompt > 300


def test_a_question_that_does_not_fit_is_refused_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("qvl_cli.pipeline.load", None)
    flags = ("--model", "tiny", "--memory", "full", "--no-index")
    assert main(["ask", str(SAMPLES / "shapes-60s.mp4"), "What does the red circle do? " * 300, *flags]) == 5
    assert "positions" in capfd.readouterr().err.splitlines()[-1]
