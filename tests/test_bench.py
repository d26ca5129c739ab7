"""The harness of `qvl bench`, on tiny real child processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qvl_cli.bench import harness
from qvl_cli.bench.process import MEMORY, SAMPLED, measure
from qvl_cli.bench.row import Bench, Figures, Flag, Round, Run, Settings, Variant
from qvl_cli.bench.table import BENCHES
from qvl_cli.cli.app import main
from qvl_cli.errors import QvlError, UsageError

MIB = 2**20
needs_proc = pytest.mark.skipif(not SAMPLED, reason="no /proc: only the kernel's peak is known")


def last_document(row: Bench, settings: Settings, repeats: int) -> dict[str, Any]:
    *_, document = harness.run(row, settings, repeats)
    return document


def python(name: str, code: str, *arguments: str) -> Variant:
    return Variant(name, (sys.executable, "-P", "-c", code, *arguments))


LOGGING = """
import json, sys
path, name = sys.argv[1:]
with open(path, "a") as log: log.write(name)
lines = open(path).read()
print("not the last line")
print(json.dumps({"seen": len(lines), "device_bytes": 3 * 2**20}))
"""


@pytest.fixture
def logged(tmp_path: Path) -> Bench:
    """Two variants that write their letter into one log and report its length."""
    log = str(tmp_path / "log")
    return Bench(
        name="logged",
        measures="nothing",
        variants=lambda settings, folder: [python(name, LOGGING, log, name) for name in "AB"],
        figures=lambda runs: {
            "seen": {name: one.number("seen") for name, one in runs.items()},
            "ratio": runs["B"].number("seen") / runs["A"].number("seen"),
        },
        flags=(Flag("letters", "ab", "unused"),),
    )


def test_variants_take_turns_and_medians_are_over_rounds(logged: Bench, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    *_, document = harness.run(logged, {"letters": "ab"}, 5, lambda *where: told.append(where))
    assert (tmp_path / "log").read_text() == "ABABABABAB"
    assert told == [("AB"[i % 2], i, 10) for i in range(10)]
    results, ranges = document["results"], document["ci"]
    assert results["seen"] == {"A": 5, "B": 6}  # A: 1 3 5 7 9, B: 2 4 6 8 10
    assert ranges["seen"] == {"A": [1, 9], "B": [2, 10]}
    assert results["ratio"] == 1.2 and ranges["ratio"] == [1.111, 2]
    assert results["device_mb"] == {"A": 3, "B": 3}
    assert document["n"] == {"rounds": 5} and document["spread"] == "range"
    assert document["bench"] == "logged" and document["settings"] == {"letters": "ab"}
    assert {"machine", "versions", "memory"} <= set(document)
    assert results["cpu_s"]["A"] > 0 and results["wall_s"]["A"] > 0


def test_one_run_is_enough_and_none_is_not(logged: Bench) -> None:
    assert last_document(logged, {}, 1)["results"]["seen"] == {"A": 1, "B": 2}
    with pytest.raises(UsageError, match="0 times"):
        last_document(logged, {}, 0)


def test_one_round_has_no_range(logged: Bench) -> None:
    first, second = harness.run(logged, {}, 2)
    assert first["ci"]["ratio"] is None and first["ci"]["seen"] == {"A": None, "B": None}
    assert first["n"] == {"rounds": 1, "rounds_wanted": 2}
    assert second["ci"]["seen"] == {"A": [1, 3], "B": [2, 4]} and second["n"] == {"rounds": 2}


def test_figures_are_taken_before_the_next_round_overwrites_their_files(tmp_path: Path) -> None:
    adding = "import sys; open(sys.argv[1], 'a').write('x')"
    kept = tmp_path / "kept"
    row = Bench(
        "overwriting",
        "nothing",
        lambda settings, folder: [python("adds", adding, str(kept))],
        lambda runs: {"length": len(kept.read_text())},
    )
    document = last_document(row, {}, 3)
    assert document["results"]["length"] == 2 and document["ci"]["length"] == [1, 3]


def test_figures_may_read_what_runs_left_in_the_folder() -> None:
    seen: list[Path] = []

    def variants(settings: object, folder: Path) -> list[Variant]:
        seen.append(folder / "left")
        return [python("leaves", "import sys; open(sys.argv[1], 'w').write('42')", str(folder / "left"))]

    row = Bench("leaving", "nothing", variants, lambda runs: {"read": float(seen[0].read_text())})
    assert last_document(row, {}, 1)["results"]["read"] == 42
    assert not seen[0].parent.exists()


def test_a_figure_nobody_reported_is_named() -> None:
    with pytest.raises(QvlError, match="quick reported no 'tokens'"):
        Run("quick", 1.0, 1.0, 0).number("tokens")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; print('one\\ntwo', file=sys.stderr); sys.exit(3)", "bad failed with exit code 3: two"),
        ("raise ValueError('no such shape')", "bad failed with exit code 1: ValueError: no such shape"),
        ("import os; os.kill(os.getpid(), 9)", "bad was killed by SIGKILL: no word on stderr"),
    ],
)
def test_a_child_that_fails_is_one_line(code: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(QvlError) as failure:
        measure(python("bad", code), tmp_path)
    assert str(failure.value) == said
    assert failure.value.exit_code == 1


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QvlError, match="lost cannot start"):
        measure(Variant("lost", (str(tmp_path / "nothing"),)), tmp_path)


ALLOCATING = "import sys, time; held = b'x' * (int(sys.argv[1]) << 20); time.sleep(0.3)"


@needs_proc
def test_peak_memory_is_what_was_touched(tmp_path: Path) -> None:
    less, more = (measure(python("held", ALLOCATING, size), tmp_path).peak_bytes for size in ("20", "220"))
    assert abs(more - less - 200 * MIB) < 4 * MIB


@needs_proc
def test_children_of_the_child_count(tmp_path: Path) -> None:
    nested = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ALLOCATING!r}, '150'], check=True)"
    )
    run = measure(python("nested", nested), tmp_path)
    assert 150 * MIB < run.peak_bytes < 200 * MIB


@needs_proc
def test_mapped_files_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"w" * (100 * MIB))
    mapping = """
import mmap, sys, time
with open(sys.argv[1], "rb") as file:
    view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    print(sum(view[place] for place in range(0, len(view), 4096)))
time.sleep(0.3)
"""
    run = measure(python("mapping", mapping, str(path)), tmp_path)
    assert run.peak_bytes < 50 * MIB


def test_processor_time_is_the_childs(tmp_path: Path) -> None:
    busy = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    assert measure(python("busy", busy), tmp_path).cpu_s >= 0.3
    lazy = measure(python("lazy", "import time; time.sleep(0.3)"), tmp_path)
    assert lazy.wall_s >= 0.3 > lazy.cpu_s


def test_parent_and_child_read_one_clock(tmp_path: Path) -> None:
    clock = "import json, time; print(json.dumps({'now': time.monotonic()}))"
    run = measure(python("clock", clock), tmp_path)
    assert run.began <= run.number("now") <= run.began + run.wall_s


# The first round ends at once; in the second the child waits for a child of its own.
WAITING = """
import os, sys
from qvl_cli.bench.row import Bench, Variant
from qvl_cli.bench.table import BENCHES
from qvl_cli.cli.app import main
child = "import os, subprocess, sys\\n"
child += "if not os.path.exists(sys.argv[1] + '.once'): sys.exit(open(sys.argv[1] + '.once', 'w').close())\\n"
child += "grand = subprocess.Popen(['sleep', '60'])\\n"
child += "print(os.getpid(), grand.pid, file=open(sys.argv[1] + '.new', 'w'), flush=True)\\n"
child += "os.rename(sys.argv[1] + '.new', sys.argv[1]); grand.wait()"
wait = Variant("waits", (sys.executable, "-c", child, sys.argv[1]))
BENCHES["waiting"] = Bench("waiting", "", lambda settings, folder: [wait], lambda runs: {"one": 1.0})
sys.exit(main(["bench", "waiting", "-q"]))
"""


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_the_children_and_leaves_whole_rounds(
    number: int, code: int, word: str, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    root = str(Path(__file__).resolve().parents[1])
    owner = subprocess.Popen(
        [sys.executable, "-c", WAITING, str(pids)],
        env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(pids.exists)
    owner.send_signal(number)
    out, err = owner.communicate(timeout=60)
    assert owner.returncode == code
    assert err == f"qvl: stopped early: the figures stand on 1 of 5 rounds\nqvl: {word}\n"
    document = json.loads(out)
    assert document["results"]["one"] == 1 and document["n"] == {"rounds": 1, "rounds_wanted": 5}
    for pid in map(int, pids.read_text().split()):
        until(lambda pid=pid: not alive(pid))


def until(holds: object) -> None:
    assert callable(holds)
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Running: neither gone nor dead and waiting to be reaped by whoever inherits orphans here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_stdout_is_one_json_line_and_the_table_is_on_stderr(
    logged: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BENCHES, "logged", logged)
    assert main(["bench", "logged", "--repeats", "1"]) == 0
    out, err = capfd.readouterr()
    assert out.endswith("\n") and out.count("\n") == 1
    assert json.loads(out)["results"]["seen"] == {"A": 1, "B": 2}
    assert "seen A" in err and "median" in err and f"qvl: peak_mb is {MEMORY}" in err
    assert main(["bench", "logged", "--repeats", "1", "-q"]) == 0
    assert capfd.readouterr().err == ""


def test_without_a_name_the_benchmarks_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    out, _ = capfd.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == list(BENCHES)
    assert main(["bench", "nosuch"]) == 2


@pytest.mark.parametrize("name", BENCHES)
def test_few_rounds_by_default_are_explained(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", name, "--help"]) == 0
    said = " ".join(capfd.readouterr().out.split())
    few = BENCHES[name].repeats
    assert (f"takes minutes, so the default is {few}" in said) == (few < 5)


def test_a_row_brings_its_flags(
    logged: Bench, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BENCHES, "logged", logged)
    assert main(["bench", "logged", "--letters", "xy", "--repeats", "2", "-q"]) == 0
    assert json.loads(capfd.readouterr().out)["settings"] == {"letters": "xy"}
    assert main(["bench", "logged", "--repeats", "1", "-q"]) == 0
    assert json.loads(capfd.readouterr().out)["settings"] == {"letters": "ab"}


def test_a_failure_is_exit_code_one(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Bench(
        "bad", "nothing", lambda s, f: [python("bad", "raise SystemExit('no luck')")], lambda runs: {}
    )
    monkeypatch.setitem(BENCHES, "bad", row)
    assert main(["bench", "bad", "-q"]) == 1
    out, err = capfd.readouterr()
    assert (out, err) == ("", "qvl: bad failed with exit code 1: no luck\n")


@pytest.fixture
def failing(logged: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """`logged`, with a check of its figures that fails in the third round."""

    def checked(runs: Round) -> Figures:
        if runs["A"].number("seen") > 3:
            raise QvlError("A saw too much")
        return logged.figures(runs)

    monkeypatch.setitem(BENCHES, "logged", replace(logged, figures=checked))


@pytest.mark.usefixtures("failing")
def test_a_check_that_fails_later_leaves_the_rounds_before(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "logged"]) == 1
    out, err = capfd.readouterr()
    document = json.loads(out)
    assert document["ci"]["seen"] == {"A": [1, 3], "B": [2, 4]}
    assert document["n"] == {"rounds": 2, "rounds_wanted": 5}
    assert "seen A" in err and "qvl: stopped early: the figures stand on 2 of 5 rounds\n" in err
    assert err.endswith("qvl: A saw too much\n")


@pytest.mark.usefixtures("failing")
def test_a_reader_that_is_gone_hides_no_failure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise BrokenPipeError

    monkeypatch.setattr("qvl_cli.cli.bench.check_reader", gone)
    assert main(["bench", "logged", "-q"]) == 1
    assert capfd.readouterr().out == ""
