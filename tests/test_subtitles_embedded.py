"""Subtitle streams inside a video: found, chosen, read on the video's own clock. Real streams, muxed here."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from qvl_cli.media import probe
from qvl_cli.media.subtitles.choice import find_subtitles, read_subtitles
from tests.clips import write_clip, x264

F = Fraction
FILES = {
    "a.srt": "1\n00:00:11,000 --> 00:00:12,500\n{\\an8}<i>From</i> srt\n\n"
    "2\n00:00:13,000 --> 00:00:14,000\nlast\n",
    "a.vtt": "WEBVTT\n\n00:11.000 --> 00:12.500\nFrom <b>vtt</b> &amp; co\n",
    "a.ass": "[Script Info]\nScriptType: v4.00+\n\n[Events]\n"
    "Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\n"
    "Dialogue: 0,0:00:11.00,0:00:12.50,Default,,0,0,0,,{\\b1}From{\\b0},\\Nass\n",
}
SAID = {"a.srt": ["From srt", "last"], "a.vtt": ["From vtt & co"], "a.ass": ["From, ass"]}


def mux(folder: Path, names: list[str], marks: dict[int, Disposition] | None = None) -> Path:
    """A film that begins at 10 s on its container's clock, with these subtitle files as its streams."""
    film = write_clip(folder / "film.mkv", [10_000 + 200 * n for n in range(25)], options=x264(bframes=0))
    path = folder / "subtitled.mkv"
    for name in names:
        (folder / name).write_text(FILES[name])
    inputs = [av.open(str(film)), *(av.open(str(folder / name)) for name in names)]
    try:
        with av.open(str(path), "w") as out:
            streams = [out.add_stream_from_template(each.streams[0]) for each in inputs]
            for number, mark in (marks or {}).items():
                streams[number].disposition = mark
            packets = [
                (packet, stream)
                for each, stream in zip(inputs, streams, strict=True)
                for packet in each.demux()
                if packet.dts is not None
            ]
            for packet, stream in sorted(packets, key=lambda pair: pair[0].dts * pair[0].time_base):
                packet.stream = stream
                out.mux(packet)
    finally:
        for each in inputs:
            each.close()
    return path


@pytest.mark.parametrize("name", FILES)
def test_each_format_is_read_on_the_videos_clock(tmp_path: Path, name: str) -> None:
    info = probe(mux(tmp_path, [name]))
    assert info.start == 10
    source, notes = find_subtitles(info.path, info, "auto")
    assert source is not None
    assert notes == ()
    track = read_subtitles(source, info)
    assert [cue.text for cue in track.cues] == SAID[name]
    assert (track.cues[0].span.start, track.cues[0].span.end) == (F(1), F(5, 2))
    assert track.told("x") == ()


def test_which_stream(tmp_path: Path) -> None:
    marks = {1: Disposition.forced, 2: Disposition(0), 3: Disposition.default}
    info = probe(mux(tmp_path, ["a.srt", "a.vtt", "a.ass"], marks))
    source, _ = find_subtitles(info.path, info, "auto")
    assert source is not None
    assert source.name == "stream 3 (ass)"
    assert source.others == ("stream 2 (webvtt)", "stream 1 (subrip)")
    beside = tmp_path / "subtitled.en.srt"
    beside.write_text(FILES["a.srt"])
    source, _ = find_subtitles(info.path, info, "auto")
    assert source is not None
    assert (source.name, source.others[0]) == ("subtitled.en.srt", "stream 3 (ass)")
    assert find_subtitles(info.path, info, "none") == (None, ())


def test_real_files(shared: Path) -> None:
    info = probe(shared / "media" / "awkward" / "sample_with_overlapping_srt.mkv")
    source, _ = find_subtitles(info.path, info, "auto")
    assert source is not None
    cues = read_subtitles(source, info).cues
    assert [cue.text.split()[0] for cue in cues] == ["First", "Third", "Second"]
    assert cues[0].span.start == F(100, 1000) - info.start == F(33, 1000)
    info = probe(shared / "media" / "content" / "nasa_13013.mp4")
    source, _ = find_subtitles(info.path, info, "auto")
    assert source is not None
    assert source.name == "stream 2 (mov_text eng)"
    assert read_subtitles(source, info).cues[2].text.startswith("at NASA’s Goddard")


def test_captions_that_are_no_text_are_named(tmp_path: Path) -> None:
    """DVD subtitles are pictures; a stream of them without any packet is enough to be found."""
    film = write_clip(tmp_path / "film.mkv", [200 * n for n in range(10)], options=x264(bframes=0))
    path = tmp_path / "dvd.mkv"
    with av.open(str(film)) as source, av.open(str(path), "w") as out:
        video = out.add_stream_from_template(source.streams[0])
        out.add_stream("dvdsub")
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = video
                out.mux(packet)
    info = probe(path)
    found, notes = find_subtitles(info.path, info, "auto")
    assert found is None
    assert notes == ("subtitles cannot be read: stream 1 (dvd_subtitle) holds no text",)
