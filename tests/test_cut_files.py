"""Files that break off, through the real command: answered from what is there, and said to be partial."""

# ruff: noqa: F811 - tests take fixtures that are imported here
import json
from pathlib import Path

import av
import pytest

from qvl_cli.answer import Answer
from tests.clips import write_clip, x264
from tests.test_answering import Run, checkpoint, run  # noqa: F401 - fixtures


def test_a_cut_off_file_is_answered_and_exit_6(run: Run, tmp_path: Path) -> None:
    whole = write_clip(
        tmp_path / "whole.mp4",
        [200 * number for number in range(60)],
        options=x264(),
        mux={"movflags": "faststart"},
    )
    data = whole.read_bytes()
    cut = tmp_path / "cut.mp4"
    start = data.index(b"mdat")
    cut.write_bytes(data[: start + (len(data) - start) // 2])
    code, out, err = run("locate", str(cut), "x", "-f", "json")
    assert code == 6, err
    answer = Answer.from_dict(json.loads(out))
    assert answer.coverage.gaps
    assert answer.coverage.seen[0][0] == 0.0
    assert answer.warnings[-1] in err
    assert answer.status == "partial"
    seen = sum(end - start for start, end in answer.coverage.seen)
    lost = sum(end - start for start, end in answer.coverage.gaps)
    assert seen + lost == pytest.approx(answer.media.duration)
    assert answer.media.duration == pytest.approx(12.0, abs=0.2)


def test_the_lost_end_of_a_file_without_other_damage_is_a_gap(run: Run, tmp_path: Path) -> None:
    cut = _first_half(tmp_path, "faststart")
    document = _partial(run, str(cut))
    (seen,), (gap,) = document.coverage.seen, document.coverage.gaps
    assert seen[0] == 0.0 and seen[1] == gap[0] and gap[1] == pytest.approx(10.0, abs=0.11)
    assert document.media.duration == gap[1]
    assert _partial(run, str(cut), "--to", "9").coverage.gaps[-1][1] == 9.0
    assert run.answer("locate", str(cut), "x", "--to", "1", "-q").coverage.gaps == ()


def test_a_file_that_breaks_off_without_a_promise_is_partial(run: Run, tmp_path: Path) -> None:
    cut = _first_half(tmp_path, "frag_keyframe+empty_moov")
    document = _partial(run, str(cut))
    assert document.coverage.cut_off and document.coverage.seen[-1][1] < 10
    assert any("cut off in the middle" in warning for warning in document.warnings)
    assert not run.answer("locate", str(cut), "x", "--to", "1", "-q").coverage.cut_off


def _first_half(folder: Path, movflags: str) -> Path:
    """Of the bytes of a ten-second MP4."""
    whole = write_clip(
        folder / "whole.mp4",
        [100 * number for number in range(100)],
        options=x264(bframes=0, keyint=10),
        mux={"movflags": movflags},
    )
    cut = folder / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return cut


def _partial(run: Run, *arguments: str) -> Answer:
    code, out, err = run("locate", arguments[0], "x", "-f", "json", *arguments[1:])
    assert code == 6 and ("could not be read" in err or "cut off in the middle" in err)
    return Answer.from_dict(json.loads(out))


@pytest.mark.parametrize("more", [[], ["--memory", "window", "--window", "20"], ["--from", "25"]])
def test_no_section_of_a_summary_goes_on_over_a_hole(run: Run, tmp_path: Path, more: list[str]) -> None:
    whole = write_clip(
        tmp_path / "whole.ts", [100 * number for number in range(600)], options=x264(bframes=0, keyint=10)
    )
    packets = whole.read_bytes()
    count = len(packets) // 188
    cut = tmp_path / "cut.ts"
    cut.write_bytes(packets[: count // 3 * 188] + packets[(count * 3 // 4 + 5) * 188 :])
    code, out, err = run("summarize", str(cut), "-f", "json", *more)
    assert code == 6, err
    answer = Answer.from_dict(json.loads(out))
    ((lost, found),) = answer.coverage.gaps
    assert lost <= 25 < found - 1 and answer.sections
    assert all(section.end <= lost or section.start >= found for section in answer.sections)
    times = [time for section in answer.sections for time in (section.start, section.end)]
    assert times == sorted(times) and times[-1] == pytest.approx(60.0, abs=0.2)
    behind = min(section.start for section in answer.sections if section.start >= found)
    assert behind == pytest.approx(found, abs=0.5)


def test_a_section_that_a_hole_ends_is_written_before_the_window_lets_go_of_it(
    run: Run, tmp_path: Path
) -> None:
    # The hole begins where a block of steps ends, and is longer than the window.
    whole, torn = tmp_path / "whole.mp4", tmp_path / "torn.mp4"
    write_clip(whole, [100 * number for number in range(600)], options=x264(bframes=0, keyint=10))
    with av.open(str(whole)) as source, av.open(str(torn), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.pts is None or packet.time_base is None:
                continue
            if 8 <= packet.pts * packet.time_base < 36:
                blank = av.Packet(b"\xff" * packet.size)
                blank.pts, blank.dts, blank.time_base = packet.pts, packet.dts, packet.time_base
                blank.is_keyframe = packet.is_keyframe
                packet = blank
            packet.stream = stream
            target.mux(packet)
    code, out, err = run("summarize", str(torn), "-f", "json", "--memory", "window", "--window", "20")
    assert code == 6, err
    sections = json.loads(out)["sections"]
    assert (sections[0]["start"], sections[0]["end"]) == (0.0, 8.0)
    assert all(each["start"] >= 36 for each in sections[1:]) and sections[-1]["end"] == pytest.approx(
        60.0, abs=0.1
    )
