"""Subtitle files in every format and encoding, the broken ones too: no cue is lost without being counted."""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from qvl_cli.errors import MediaError
from qvl_cli.media.subtitles.ass import read_ass
from qvl_cli.media.subtitles.cue import Track
from qvl_cli.media.subtitles.encoding import decode
from qvl_cli.media.subtitles.sidecar import find_sidecars, is_sidecar, read_sidecar
from qvl_cli.media.subtitles.srt import read_srt
from qvl_cli.media.subtitles.vtt import read_vtt

F = Fraction


def rows(track: Track) -> list[tuple[Fraction, Fraction, str]]:
    return [(cue.span.start, cue.span.end, cue.text) for cue in track.cues]


def texts(track: Track) -> list[str]:
    return [cue.text for cue in track.cues]


def test_srt_times_are_exact_and_markup_is_gone() -> None:
    track = read_srt(
        "1\n00:00:01,001 --> 00:00:02,500 X1:40\n"
        "{\\an8}<i>Caf&eacute;</i> <font color='#fff'>1 < 2</font>\nR&D\n\n"
        "2\n100:00:03.25 --> 100:00:04,000\n<|video_pad|> a -->  b\n"
    )
    assert rows(track) == [
        (F(1001, 1000), F(5, 2), "Café 1 < 2 R&D"),
        (F(360_003) + F(25, 1000), F(360_004), "<|video_pad|> a --> b"),
    ]
    assert track.told("x.srt") == ()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_srt_keeps_what_pysrt_would_drop_or_cut(end: str) -> None:
    """A blank line inside a cue, no blank line between cues, no numbers, and line ends of other systems."""
    lines = [
        "1", "00:00:01,000 --> 00:00:02,000", "one", "", "still\u2028one", "",
        "2", "00:00:03,000 --> 00:00:04,000", "two",
        "3", "00:00:05,000 --> 00:00:06,000", "1984", "",
        "00:00:07,000 --> 00:00:08,000", "four",
    ]  # fmt: skip
    track = read_srt(end.join(lines))
    assert texts(track) == ["one still one", "two", "1984", "four"]
    assert not track.faults


def test_srt_cues_that_cannot_be_read_are_counted_and_named() -> None:
    track = read_srt(
        "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:xx,000 --> 00:00:04,000\ntwo\n\n"
        "3\n00:00:05,000 -> 00:00:06,000\nthree\n\n4\nsoon --> later\nfour\n\n"
        "5\n00:00:09,000 --> 00:00:08,000\nfive\n"
    )
    assert rows(track) == [(F(1), F(2), "one"), (F(9), F(9), "five")]
    assert [fault.split()[:2] for fault in track.faults] == [["line", "6"], ["line", "10"], ["line", "14"]]
    left_out, backward = track.told("talk.srt")
    assert left_out.startswith("talk.srt: 3 cues cannot be read and left out: line 6 has no times")
    assert backward == "talk.srt: cues that end before they start, read as instants: 1"


def test_a_cue_that_says_nothing_is_none() -> None:
    track = read_srt("1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:03,000 --> 00:00:04,000\nthere\n")
    assert (rows(track), track.faults) == ([(F(3), F(4), "there")], ())


def test_equal_texts_that_touch_are_one_cue() -> None:
    track = read_srt(
        "".join(
            f"{n}\n00:00:0{start},000 --> 00:00:0{end},000\n{text}\n\n"
            for n, (start, end, text) in enumerate(
                [(3, 4, "b"), (1, 2, "a"), (1, 2, "a"), (2, 3, "a"), (5, 6, "a")]
            )
        )
    )
    assert rows(track) == [(F(1), F(3), "a"), (F(3), F(4), "b"), (F(5), F(6), "a")]


def test_rolling_captions_say_each_line_once() -> None:
    """YouTube's own: each line is said word by word under the one before, then stands alone for 10 ms."""
    track = read_vtt(
        "WEBVTT\nKind: captions\n\n"
        "00:00.160 --> 00:03.429 align:start position:0%\n \nso<00:00:00.960><c> we</c> go\n\n"
        "00:03.429 --> 00:03.439 align:start position:0%\nso we go\n \n\n"
        "00:03.439 --> 00:05.749 align:start position:0%\nso we go\nto<00:00:03.760><c> the</c> sea\n\n"
        "00:05.749 --> 00:05.759 align:start position:0%\nto the sea\n \n\n"
        "00:05.759 --> 00:07.000 align:start position:0%\nto the sea\nand swim\n\n"
        "00:07.000 --> 00:08.000 align:start position:0%\nto the sea\nand swim\n\n"
        "00:09.000 --> 00:10.000 align:start position:0%\nand swim\nagain\n",
        "x.vtt",
    )
    assert rows(track) == [
        (F(16, 100), F(3439, 1000), "so we go"),
        (F(3439, 1000), F(5759, 1000), "to the sea"),
        (F(5759, 1000), F(8), "and swim"),
        (F(9), F(10), "and swim again"),  # there was a pause
    ]


ASS_BREAK = r"\N"


def test_rolling_captions_of_three_lines_in_other_formats() -> None:
    lines = ["one", "two", "three", "four", "five"]
    windows = [lines[max(0, n - 2) : n + 1] for n in range(5)]
    srt = "".join(
        f"{n}\n00:00:0{n},000 --> 00:00:0{n + 1},100\n" + "\n".join(shown) + "\n\n"
        for n, shown in enumerate(windows)
    )
    ass = "[Events]\n" + "".join(
        f"Dialogue: 0,0:00:0{n}.00,0:00:0{n + 1}.10,D,,0,0,0,,{ASS_BREAK.join(shown)}\n"
        for n, shown in enumerate(windows)
    )
    wanted = [(F(n), n + F(11, 10), line) for n, line in enumerate(lines)]
    assert rows(read_srt(srt)) == rows(read_ass(ass)) == wanted


def test_lines_that_are_said_again_stay() -> None:
    """Not the last line, not the first one, not the whole line, not at once: none of them rolls."""
    said = ["No!\nWait.", "No!", "Stop.\nNo!", "No! No!", "go on\nNo! No!"]
    track = read_srt(
        "".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n + 1},000\n{text}\n\n" for n, text in enumerate(said))
        + "9\n00:00:05,001 --> 00:00:06,000\nNo! No!\nand on\n"
    )
    assert texts(track) == ["No! Wait.", "No!", "Stop. No!", "No! No!", "go on No! No!", "No! No! and on"]


# (cues with a text, blocks whose times cannot be read), counted by hand from the WebVTT parser's rules.
WPT = {
    "arrows": (6, 9), "entities": (17, 0), "header-garbage": (1, 0), "header-space": (1, 0),
    "header-tab": (1, 0), "header-timings": (1, 0), "ids": (5, 0), "newlines": (4, 0), "regions-id": (1, 0),
    "regions-old": (2, 0), "settings-align": (13, 0), "settings-line": (46, 0), "settings-multiple": (2, 0),
    "settings-position": (22, 0), "settings-region": (9, 0), "settings-size": (16, 0),
    "settings-vertical": (8, 0), "signature-bom": (0, 0), "signature-no-newline": (0, 0),
    "signature-space": (0, 0), "signature-tab": (0, 0), "signature-timings": (0, 0), "stylesheets": (1, 0),
    "text": (5, 0), "timestamps": (1, 0), "timings-60": (2, 4), "timings-eof": (0, 1),
    "timings-negative": (4, 0), "timings-omitted-hours": (3, 0), "whitespace-chars": (3, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", WPT)
def test_webvtt_conformance(shared: Path, name: str) -> None:
    data = (shared / "subs" / "wpt_webvtt" / f"{name}.vtt").read_bytes()
    track = read_vtt(data.removeprefix(b"\xef\xbb\xbf").decode(), name)
    assert (len(track.cues), len(track.faults)) == WPT[name]


@pytest.mark.parametrize(
    "name", ["nulls", "timings-60", "timings-garbage", "timings-too-long", "timings-too-short"]
)
def test_webvtt_times_that_are_invalid_lead_to_no_cue(shared: Path, name: str) -> None:
    """These files call such cues `invalid`; the valid ones they number from text0 or text1 on."""
    text = (shared / "subs" / "wpt_webvtt" / f"{name}.vtt").read_bytes().decode()
    track = read_vtt(text, name)
    assert "invalid" not in texts(track)
    valid = [line.strip("\ufffd\0 ") for line in text.replace("\0", "\ufffd").splitlines() if "text" in line]
    assert sorted(t.strip("\ufffd") for t in texts(track)) == sorted(set(valid))
    assert len(track.faults) == text.count("\ninvalid")


def test_webvtt_notes_ids_and_voices() -> None:
    track = read_vtt(
        "WEBVTT - talk\nKind: captions\n\nNOTE\nnot said\n\nintro\n00:01.500 --> 00:02.000 align:start\n"
        "<v.loud Ann Lee>Hi <c.red>th<00:01.700>ere</c> &amp; you\n\nNOTE not said either\n\n"
        "00:03.000 --> 00:04.000\n- A\n- B\n",
        "x.vtt",
    )
    assert rows(track) == [(F(3, 2), F(2), "Ann Lee: Hi there & you"), (F(3), F(4), "- A - B")]


def test_ass_by_its_own_columns() -> None:
    track = read_ass(
        "[Script Info]\nTitle: x\n[V4+ Styles]\nFormat: Name, Bold\nStyle: D,what\n[Events]\n"
        "Format: Layer, End, Start, Style, Text\n"
        "Dialogue: 0,0:00:02.50,0:00:01.25,D,{\\an8\\i1}Hello,{\\i0}\\Nworld\n"
        "Comment: 0,0:00:09.00,0:00:08.00,D,not shown\n"
        "Dialogue: 0,0:00:05.00,0:00:04.00,D,{\\p1}m 0 0 l 1 1{\\p0}after\n"
        "Dialogue: 0,late,0:00:04.00,D,lost\n"
    )
    assert rows(track) == [(F(5, 4), F(5, 2), "Hello, world"), (F(4), F(5), "after")]
    assert [fault.split(" has ")[0] for fault in track.faults] == ["line 11"]


CYRILLIC = "1\n00:00:01,000 --> 00:00:02,000\nЭто русский текст субтитров, который надо прочитать.\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1251"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.srt"
    path.write_bytes(CYRILLIC.encode(encoding))
    track = read_sidecar(path, path.name)
    assert texts(track) == ["Это русский текст субтитров, который надо прочитать."]
    assert len(track.notes) == (encoding == "cp1251")  # a guess, and told
    if track.notes:
        assert "read as Windows-1251, which is a guess" in track.notes[0]


@pytest.mark.parametrize(
    ("encoding", "lines"),
    [
        (
            "cp1252",
            [
                "Où est-il passé ?",
                "J'ai déjà mangé, c'était très bon.",
                "Tu n'as pas répondu à ma lettre.",
                "Les élèves étaient à l'école hier après-midi.",
                "Ça suffit, arrêtez-vous là !",
                "Elle préfère le café brûlant, même en été.",
                "Voilà, c'est terminé. Bonne nuit, mon frère.",
            ],
        ),
        ("cp1252", ["Ich habe überall gesucht.", "Das Mädchen läuft über die Straße.", "Können wir später?"]),
        ("cp1250", ["Kde jsi byl včera večer?", "Nevím, co se stalo.", "Děkuji vám, to je velmi milé."]),
    ],
)
def test_a_guess_is_right_for_a_few_lines(tmp_path: Path, encoding: str, lines: list[str]) -> None:
    path = tmp_path / "x.srt"
    cues = [f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{line}\n\n" for n, line in enumerate(lines)]
    path.write_bytes("".join(cues).encode(encoding))
    track = read_sidecar(path, path.name)
    assert texts(track) == lines
    assert "which is a guess" in track.notes[0]


ENGLISH = ["I’m not sure about that.", "“Don’t go,” she said.", "We’ll see – it’s late…", "Isn’t it?"]


@pytest.mark.parametrize(
    ("encoding", "lines", "told"),
    [
        ("cp1252", ENGLISH[:1], "Windows-1252"),
        ("cp1252", ENGLISH, "Windows-1252"),
        ("cp1252", [*ENGLISH * 12, "Señor, a cliché.", "It’s £5."], "Windows-1252"),
        ("cp1251", ["Он сказал: «Не знаю…»", "– Я не люблю это, – ответил он."], "Windows-1251"),
        ("cp1253", ["Δεν ξέρω τι έγινε…", "– Πού ήσουν χθες το βράδυ;", "Άννα, έλα εδώ."], "Windows-1253"),
        ("cp1254", ["Nasılsın?", "İyi günler…", "Teşekkür ederim, çok güzel."], "Windows-1254"),
        ("cp1255", ["איפה היית אתמול?", "אני לא יודע מה קרה."], "Windows-1255"),
        ("cp1256", ["أين كنت أمس؟", "لا أعرف ماذا حدث."], "Windows-1256"),
        ("iso8859-2", ["Gdzie byłeś wczoraj?", "Nie wiem, co się stało.", "Idź już, proszę."], "ISO-8859-2"),
        ("cp932", ["昨日どこにいたの？", "何が起きたのか分からない。"], "CP932"),
        ("cp949", ["어제 어디 있었어?", "무슨 일이 있었는지 모르겠어."], "CP949"),
        ("big5", ["你昨天在哪裡？", "我不知道發生了什麼事。"], "Big5"),
    ],
)
def test_curly_quotes_do_not_mislead_a_guess(encoding: str, lines: list[str], told: str) -> None:
    text = "".join(f"{n}\n00:00:01,000 --> 00:00:02,000\n{line}\n\n" for n, line in enumerate(lines))
    assert decode(text.encode(encoding), "x.srt") == (text, told)


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        (
            [
                "Où est-il passé ? Déjà à la fête.",
                "\udcffC'était très bon, même ça. Voilà où ça mène.",
            ],
            1,
        ),
        (["Это русский текст, \udcd1который надо прочитать."], 1),
        ([*ENGLISH[:2], "and then it’s cut of\udce2\udc80"], 1),
    ],
)
def test_utf8_with_a_broken_byte_stays_utf8(tmp_path: Path, lines: list[str], lost: int) -> None:
    path = tmp_path / "x.srt"
    cues = "\n\n".join(f"{n}\n00:00:0{n},000 --> 00:00:0{n},900\n{line}" for n, line in enumerate(lines))
    path.write_bytes(cues.encode("utf-8", "surrogateescape"))
    track = read_sidecar(path, path.name)
    whole = [re.sub("[\udc80-\udcff]+", "\ufffd", line) for line in lines]
    assert texts(track) == whole
    assert track.notes == (f"x.srt: characters that are no UTF-8 and were left out: {lost}",)


def test_lines_that_end_twice_say_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    text = "1\n00:00:01,000 --> 00:00:02,000\nhi\n\n2\n\n00:00:03,000 --> 00:00:04,000\nthere\n"
    for end in (b"\n", b"\r\n", b"\r\r\n"):
        path.write_bytes(text.encode().replace(b"\n", end))
        assert texts(read_sidecar(path, path.name)) == ["hi", "there"]


def test_files_of_others(shared: Path) -> None:
    folder = shared / "subs" / "srt"
    assert texts(read_sidecar(folder / "ascii.srt", "ascii.srt")) == ["ascii", "oh look", "ascii everywhere"]
    chinese = read_sidecar(folder / "gb2312.srt", "gb2312.srt")
    assert texts(chinese)[2] == "轻轻一跳就能飞跃高楼"
    assert "GB18030" in chinese.notes[0]


@pytest.mark.parametrize(
    ("name", "data", "fact"),
    [
        ("x.srt", b"", "no cue in x.srt"),
        ("x.srt", b"Hello\n\nWorld\n", "no line of times"),
        ("x.srt", b"\0\0\0\x20ftypisom\xff\xfe\x80", "not a text file"),
        ("x.srt", "1\n00:00:01,000 --> 00:00:02,000\nx\n".encode("utf-16-le"), "UTF-16 or UTF-32 without"),
        ("x.srt", b"1\n00:00:01,000 --> 00:00:02,000\n\xfe\x81\n", "its encoding cannot be told"),
        ("x.srt", b"\xff\xfea", "marked as utf-16-le and is not"),
        ("x.vtt", b"1\n00:00:01,000 --> 00:00:02,000\nx\n", "does not begin with WEBVTT"),
        ("gone.srt", None, "cannot be read: No such file"),
    ],
)
def test_a_file_without_cues_is_one_line(tmp_path: Path, name: str, data: bytes | None, fact: str) -> None:
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MediaError, match=fact) as error:
        read_sidecar(path, name)
    assert error.value.remedy


def test_the_suffix_does_not_decide(tmp_path: Path) -> None:
    path = tmp_path / "x.srt"
    path.write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nx\n")
    assert texts(read_sidecar(path, path.name)) == ["x"]


def test_which_file_beside_a_video(tmp_path: Path) -> None:
    order = [
        "a.b.srt", "a.b.vtt", "a.b.en.ass", "a.b.en-US.SRT", "a.b.de.srt", "a.b.pt-BR.vtt",
        "a.b.en.forced.srt",
    ]  # fmt: skip
    for name in [*order, "a.srt", "a.b.part two.srt", "a.b2.srt", "a.b.txt", "a.b.mp4"]:
        (tmp_path / name).touch()
    wanted = ["a.b.srt", "a.b.vtt", "a.b.en-US.SRT", "a.b.en.ass", "a.b.de.srt", "a.b.pt-BR.vtt", order[-1]]
    assert [path.name for path in find_sidecars(tmp_path / "a.b.mp4")] == wanted
    assert find_sidecars(tmp_path / "gone.mp4") == []


def test_a_file_of_a_longer_named_video_is_not_taken(tmp_path: Path) -> None:
    names = ["talk.mp4", "talk.cut.MKV", "talk.cut.srt", "talk.cut.en.srt", "talk.de.srt", "talk.de.json"]
    for name in [*names, "talk.fr.vtt"]:
        (tmp_path / name).touch()
    (tmp_path / "talk.fr.mp4").mkdir()
    talk, short = tmp_path / "talk.mp4", tmp_path / "talk.cut.MKV"
    assert [path.name for path in find_sidecars(talk)] == ["talk.de.srt", "talk.fr.vtt"]
    assert [path.name for path in find_sidecars(short)] == ["talk.cut.srt", "talk.cut.en.srt"]
    for name in ["talk.cut.srt", "talk.cut.vtt", "talk.cut.en.srt", "talk.de.srt", "talk.it.srt"]:
        assert is_sidecar(tmp_path / name, talk) != is_sidecar(tmp_path / name, short)
        assert is_sidecar(tmp_path / name, short) == name.startswith("talk.cut.")
