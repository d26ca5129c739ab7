import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pysubs2
import pytest
from PIL import Image

from qvl_cli.answer import Answer, Moment
from qvl_cli.errors import UsageError
from qvl_cli.render import WRITERS, writer_for
from qvl_cli.render.output import check_writable, write_file
from qvl_cli.render.srt import format_srt
from tests.test_answer import ANSWER


def test_json_is_the_whole_answer_in_one_line() -> None:
    written = WRITERS["json"](ANSWER, 0)
    assert written.count("\n") == 1
    assert Answer.from_dict(json.loads(written)) == ANSWER


def test_jsonl_ends_with_done_and_loses_nothing() -> None:
    records = [json.loads(line) for line in WRITERS["jsonl"](ANSWER, 6).splitlines()]
    assert [record.pop("type") for record in records] == [
        "text",
        "moment",
        "moment",
        "section",
        "section",
        "done",
    ]
    done = records[-1]
    assert (done.pop("status"), done.pop("exit_code")) == ("ok", 6)
    again = {**done, **records[0], "moments": records[1:3], "sections": records[3:5]}
    assert Answer.from_dict(again) == ANSWER


def test_txt_gives_text_ranges_and_scores() -> None:
    assert ANSWER.thinking and WRITERS["txt"](ANSWER, 0).startswith(f"{ANSWER.thinking}\n\n{ANSWER.text}\n")
    lines = WRITERS["txt"](replace(ANSWER, thinking=None), 0).splitlines()
    assert lines[0] == ANSWER.text
    assert lines[1].split() == ["00:40.000", "-", "00:41.500", "93%", "a", "red", "circle", "appears"]
    assert lines[-1].split() == ["00:30.000", "-", "01:01.400", "A", "circle."]


def test_hours_are_printed_where_the_media_has_them() -> None:
    long = replace(ANSWER, media=replace(ANSWER.media, duration=7200.0))
    assert "00:00:40.000" in WRITERS["txt"](long, 0)


def test_srt_cues_are_in_time_order_and_an_independent_reader_agrees() -> None:
    subs = pysubs2.SSAFile.from_string(WRITERS["srt"](replace(ANSWER, sections=()), 0), format_="srt")
    assert [(e.start, e.end, e.plaintext) for e in subs] == [
        (12500, 20000, "a red circle appears"),
        (40000, 41500, "a red circle appears"),
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("one\n\n\ntwo", "one\ntwo"),
        ("  \n \n", "…"),
        ("a\r\n\r\nb\rc", "a\nb\nc"),
        ("00:00:01,000 --> 00:00:02,000", "00∶00∶01,000 → 00∶00∶02,000"),
        ("7\n00:00:01,000 --> 00:00:02,000\nx", "7\n00∶00∶01,000 → 00∶00∶02,000\nx"),
        ("bell\x07 and\ttab \x1b[31mred", "bell  and tab  [31mred"),
        ("größer 世界 🎬", "größer 世界 🎬"),
        ("a\u2028\u2028b", "a\nb"),
    ],
)
def test_no_text_can_break_a_cue(text: str, read: str) -> None:
    subs = pysubs2.SSAFile.from_string(format_srt([(1.0, 2.0, text), (3.0, 4.0, "next")]), format_="srt")
    assert [event.plaintext for event in subs] == [read, "next"]


def test_srt_times_are_whole_milliseconds_and_never_empty() -> None:
    subs = pysubs2.SSAFile.from_string(
        format_srt([(0.0005, 0.0005, "a"), (356400.1, 356401.0, "b")]), format_="srt"
    )
    assert [(event.start, event.end) for event in subs] == [(1, 2), (356400100, 356401000)]


def test_nothing_found_is_an_empty_srt() -> None:
    assert WRITERS["srt"](replace(ANSWER, moments=(), sections=()), 0) == ""


def test_a_not_a_number_score_never_reaches_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        WRITERS["json"](replace(ANSWER, moments=(Moment(0.0, 1.0, float("nan"), "x"),)), 0)


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="txt, json, jsonl, srt"):
        writer_for("vtt2")


def test_a_file_appears_whole_and_follows_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    old = os.umask(0o027)
    try:
        write_file(str(target), "one\n")
    finally:
        os.umask(old)
    assert target.read_bytes() == b"one\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    write_file(str(target), "two\n")
    assert target.read_text() == "two\n"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.json"
    write_file(str(target), "old\n")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        write_file(str(target), "new\n")
    assert target.read_text() == "old\n"
    assert list(tmp_path.iterdir()) == [target]


def test_odd_bytes_are_written_as_question_marks(tmp_path: Path) -> None:
    write_file(str(tmp_path / "out.txt"), "b\udcff.mp4\n")
    assert (tmp_path / "out.txt").read_bytes() == b"b?.mp4\n"


def test_a_link_that_leads_nowhere_but_to_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    for refused in (check_writable, lambda target: write_file(target, "text")):
        with pytest.raises(UsageError, match=r"cannot write .*one"):
            refused(str(tmp_path / "one"))


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    write_file(str(tmp_path / "head"), b"\xff\x00\n\r")
    assert (tmp_path / "head").read_bytes() == b"\xff\x00\n\r"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_file(str(tmp_path / "link.txt"), "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_a_device_is_written_straight() -> None:
    check_writable("/dev/null", "video.mp4")
    write_file("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("target", ["", "missing/out.json"])
def test_a_hopeless_target_is_refused_beforehand(tmp_path: Path, target: str) -> None:
    with pytest.raises(UsageError):
        check_writable(str(tmp_path / target), "video.mp4")


def test_nothing_that_is_read_is_overwritten(tmp_path: Path) -> None:
    (album := tmp_path / "album").mkdir()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(album / "1.png")
    (album / "notes.txt").write_text("mine")
    (list_of := tmp_path / "list.m3u8").write_text('#EXTM3U\n#EXT-X-MAP:URI="0.mp4"\n#EXTINF:4,\nsub/1.ts\n')
    (variants := tmp_path / "all.m3u8").write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlist.m3u8\n")
    (tmp_path / "sub").mkdir()
    for name in ("0.mp4", "sub/1.ts", "a.srt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "link.ts").symlink_to("sub/1.ts")
    parts = {
        album: ["album/1.png"],
        list_of: ["0.mp4", "sub/1.ts", "link.ts"],
        variants: ["list.m3u8", "0.mp4"],
    }
    for source, names in parts.items():
        for name in names:
            with pytest.raises(UsageError, match="is a part of"):
                check_writable(str(tmp_path / name), str(source))
    with pytest.raises(UsageError, match="it is what is read"):
        check_writable(str(tmp_path / "a.srt"), "video.mp4", str(tmp_path / "a.srt"))
    for free in ("album/notes.txt", "album/2.png", "a.srt"):
        check_writable(str(tmp_path / free), str(album))


def test_what_is_open_already_is_written_to_and_not_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with log.open("w") as file:
        file.write("first\n")
        file.flush()
        for name in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}"):
            check_writable(name)
            write_file(name, "more\n")
        file.write("last\n")
    assert log.read_text() == "first\nmore\nmore\nlast\n"
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write_file(f"/dev/fd/{writer}", "nobody reads")
    os.close(writer)


def test_a_long_name_is_written_and_a_hopeless_one_refused_at_once(tmp_path: Path) -> None:
    longest = tmp_path / ("長" * 83 + ".srt")
    check_writable(str(longest))
    write_file(str(longest), "x\n")
    assert longest.read_text() == "x\n" and list(tmp_path.iterdir()) == [longest]
    (link := tmp_path / "link.srt").symlink_to("nowhere/x.srt")
    for hopeless, why in ((link, "no folder"), (tmp_path / ("x" * 300), "name too long")):
        with pytest.raises(UsageError, match=f"(?i){why}"):
            check_writable(str(hopeless))
