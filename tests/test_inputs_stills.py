"""Pictures, folders of pictures, and PDF pages: times by number, one step each."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qvl_cli.answer import Answer
from qvl_cli.coverage import cover
from qvl_cli.errors import EncryptedMedia, MediaError, UsageError
from qvl_cli.index.opened import video_digest
from qvl_cli.media import InputSettings, info_dict, open_video
from qvl_cli.registry import read_spec, resolve
from qvl_cli.render import WRITERS
from qvl_cli.sampling import SamplingSettings, plan_samples, sampled_range
from qvl_cli.timeline import TimeSpan, merge
from tests.clips import numbered, read_number
from tests.test_answer import ANSWER


def _pdf(path: Path, count: int) -> Path:
    """Page p says p."""
    first, *rest = (Image.fromarray(numbered(page)) for page in range(1, count + 1))
    first.save(path, save_all=True, append_images=rest)
    return path


def _read_page(pixels: np.ndarray) -> int:
    return read_number(np.asarray(Image.fromarray(pixels).resize((160, 64))))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_a_picture_is_a_video_of_one_frame(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(numbered(77)).save(path)
    with open_video(path) as video:
        assert (video.info.duration, len(video.info.frame_times)) == (1, 1)
        assert [read_number(frame.pixels) for frame in video.frames([Fraction(0), Fraction(1, 2)])] == [
            77,
            77,
        ]
        assert video.content_hash() == hashlib.sha256(path.read_bytes()).hexdigest()
        assert video.warnings == []


@pytest.mark.parametrize("name", ["long.jpg", "100%d.jpg", "what?.jpg", "a{b}*.png"])
def test_a_picture_is_one_whatever_its_name_and_headers(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a long description" * 300  # libav looks no further than 2 KB
    Image.fromarray(numbered(5)).save(tmp_path / name, exif=exif)
    Image.fromarray(numbered(6)).save(tmp_path / "1007.jpg")  # what the pattern would mean
    for path, count in ((tmp_path / name, 1), (tmp_path, 2)):
        with open_video(path) as video:
            assert (video.info.duration, video.info.alone) == (count, True)
            read = {read_number(frame.pixels) for frame in video.frames(video.info.frame_times)}
            assert 5 in read and len(read) == count


def test_another_rate_of_pictures_is_another_video(tmp_path: Path) -> None:
    for n in range(6):
        Image.fromarray(numbered(n)).save(tmp_path / f"{n}.png")
    digests = set()
    for rate in (None, Fraction(1), Fraction(2)):
        with open_video(tmp_path, settings=InputSettings(picture_rate=rate)) as video:
            digests.add(video_digest(video))
    assert len(digests) == 3


def test_a_turned_photo_comes_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: stored lying, shown standing
    Image.fromarray(np.ascontiguousarray(np.rot90(numbered(9)))).save(tmp_path / "a.jpg", exif=exif)
    with open_video(tmp_path / "a.jpg") as video:
        assert read_number(next(video.frames([Fraction(0)])).pixels) == 9


def test_a_moving_png_stays_a_film(tmp_path: Path) -> None:
    first, *rest = (Image.fromarray(numbered(n)) for n in range(3))
    first.save(tmp_path / "a.png", save_all=True, append_images=rest, duration=500)
    with open_video(tmp_path / "a.png") as video:
        assert [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)] == [0, 1, 2]
        assert video.info.frame_times[1] == Fraction(1, 2)


def test_a_folder_is_read_in_the_natural_order_of_names(tmp_path: Path) -> None:
    names = ["a10.png", "a2.png", "A1.jpg", "b.png", "a9b3.png"]
    order = ["A1.jpg", "a2.png", "a9b3.png", "a10.png", "b.png"]
    for name in names:
        Image.fromarray(numbered(order.index(name))).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with open_video(tmp_path) as video:
        assert video.info.frame_times == (0, 1, 2, 3, 4) and video.info.duration == 5
        assert [read_number(frame.pixels) for frame in video.frames(video.info.frame_times)] == [
            0,
            1,
            2,
            3,
            4,
        ]
        assert "each is shown for 1 s" in video.warnings[0]
        assert "2 entries" in video.warnings[1]
        before = video.content_hash()
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    with open_video(tmp_path) as video:
        assert video.content_hash() != before


def test_every_picture_is_a_step_unless_a_rate_is_asked_for(tmp_path: Path) -> None:
    for n in range(6):
        Image.fromarray(numbered(n)).save(tmp_path / f"{n}.png")
    spec = read_spec(resolve("tiny"), "tiny")
    for fps in (1, 2):
        with open_video(tmp_path) as video:
            plan = plan_samples(video.info, SamplingSettings(fps=Fraction(fps)), spec)
        assert [(step.t0, step.t1) for step in plan.steps] == [(n, n) for n in range(6)]
    with open_video(tmp_path, settings=InputSettings(picture_rate=Fraction(4))) as video:
        assert video.info.duration == Fraction(3, 2)
        plan = plan_samples(video.info, SamplingSettings(fps=Fraction(4)), spec)
    assert [step.t0 for step in plan.steps] == [0, Fraction(1, 2), 1]


def test_pictures_of_other_shapes_keep_their_own(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 80, 3), 200, np.uint8)).save(tmp_path / "1.png")
    Image.fromarray(np.full((60, 60, 3), 200, np.uint8)).save(tmp_path / "2.png")
    Image.fromarray(np.full((80, 160, 3), 200, np.uint8)).save(tmp_path / "3.png")
    with open_video(tmp_path) as video:
        frames = [frame.pixels for frame in video.frames(video.info.frame_times)]
        assert [frame.shape for frame in frames] == [(40, 80, 3), (60, 120, 3), (80, 160, 3)]
        assert (frames[1][:, 30:90] == 200).all() and (frames[1][:, :30] == 0).all()
        assert sum("padded" in warning for warning in video.warnings) == 1


def test_damaged_pictures_are_lost_alone_and_told_once(tmp_path: Path) -> None:
    for n in range(4):
        Image.fromarray(numbered(n)).save(tmp_path / f"{n}.png")
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    with open_video(tmp_path) as video:
        for _ in range(2):
            assert [frame.time for frame in video.frames(video.info.frame_times)] == [0, 3]
            assert video.lost == [TimeSpan(Fraction(1), Fraction(3))]
        for name in ("1.png", "2.png"):
            assert sum(f"{name} cannot be" in warning for warning in video.warnings) == 1


def test_what_holds_no_picture_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="directory without pictures"):
        open_video(tmp_path)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    with pytest.raises(MediaError):
        open_video(tmp_path)


def test_pages_are_steps_and_their_numbers_the_times(tmp_path: Path) -> None:
    path = _pdf(tmp_path / "paper.pdf", 4)
    with open_video(path) as video:
        info = video.info
        assert (info.begins, info.duration, info.unit, info.frame_times) == (1, 5, "page", (1, 2, 3, 4))
        told = info_dict(info)
        assert (told["start"], told["duration"]) == (1, 4)  # as an answer says it
        frames = list(video.frames(info.frame_times))
        assert [_read_page(frame.pixels) for frame in frames] == [1, 2, 3, 4]
        assert max(frames[0].pixels.shape) == 1536
        plan = plan_samples(info, SamplingSettings(), read_spec(resolve("tiny"), "tiny"))
        assert [(step.t0, step.t1) for step in plan.steps] == [(p, p) for p in (1, 2, 3, 4)]
        assert plan.range == TimeSpan(Fraction(1), Fraction(5))
        some = SamplingSettings(start=Fraction(2), end=Fraction(4))
        plan = plan_samples(info, some, read_spec(resolve("tiny"), "tiny"))
        assert [step.interval for step in plan.steps] == [
            TimeSpan(Fraction(p), Fraction(p + 1)) for p in (2, 3)
        ]
        assert video.content_hash() == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("settings", "looked_at", "skipped"),
    [
        (SamplingSettings(fps=Fraction(1, 2)), (1, 2, 3, 4, 5), ()),  # pages have no rate
        (SamplingSettings(fps=Fraction(1, 2), start=Fraction(2), end=Fraction(4)), (2, 3), ()),
        (SamplingSettings(max_frames=5), (1, 2, 3, 4, 5), ()),
        (SamplingSettings(max_frames=2), (1, 3), ((2, 3), (4, 6))),
        (SamplingSettings(max_frames=1), (1,), ((2, 6),)),
    ],
)
def test_pages_that_are_left_out_are_not_called_seen(
    tmp_path: Path, settings: SamplingSettings, looked_at: tuple[int, ...], skipped: tuple[tuple[int, int]]
) -> None:
    with open_video(_pdf(tmp_path / "paper.pdf", 5)) as video:
        plan = plan_samples(video.info, settings, read_spec(resolve("tiny"), "tiny"))
        assert [(step.t0, step.interval.end) for step in plan.steps] == [(p, p + 1) for p in looked_at]
        session: Any = SimpleNamespace(steps=plan.steps)
        coverage = cover(plan, session, video, settings.end)
    seen = merge(step.interval for step in plan.steps)
    assert coverage.seen == tuple((float(span.start), float(span.end)) for span in seen)
    assert (coverage.gaps, coverage.skipped) == ((), skipped)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (9, None, "--from 9 is past the end: the last page is 4"),
        (3, 3, "--to 3 is not after --from 3"),
        (None, -1, "--from and --to are page numbers"),
    ],
)
def test_a_senseless_range_of_pages_is_told_in_pages(
    tmp_path: Path, start: int | None, end: int | None, says: str
) -> None:
    asked = SamplingSettings(
        start=None if start is None else Fraction(start), end=None if end is None else Fraction(end)
    )
    with open_video(_pdf(tmp_path / "paper.pdf", 4)) as video, pytest.raises(UsageError) as raised:
        sampled_range(video.info, asked)
    told = f"{raised.value.fact} {raised.value.remedy}"
    assert says in told and ":0" not in told and "video" not in told and "time" not in told


def test_bad_documents_are_refused(tmp_path: Path) -> None:
    data = _pdf(tmp_path / "a.pdf", 1).read_bytes()
    (tmp_path / "cut.pdf").write_bytes(data[:40])
    with pytest.raises(MediaError, match="damaged PDF"):
        open_video(tmp_path / "cut.pdf")
    locked = data.replace(
        b"trailer\n<<",
        b"trailer\n<< /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 "
        b"/O (" + b"o" * 32 + b") /U (" + b"u" * 32 + b") >> /ID [(i) (i)]",
    )
    assert locked != data
    (tmp_path / "locked.pdf").write_bytes(locked)
    with pytest.raises(EncryptedMedia, match="password"):
        open_video(tmp_path / "locked.pdf")


def test_answers_about_pages_speak_of_pages() -> None:
    document = ANSWER.to_dict()
    document["media"] |= {"unit": "page"}
    document["moments"] = [
        {"start": 3.0, "end": 4.0, "score": 0.9, "text": "a table"},
        {"start": 5.0, "end": 8.0, "score": 0.5, "text": "a chart"},
    ]
    answer = Answer.from_dict(document)
    said = WRITERS["txt"](answer, 0)
    assert "  page 3   90%  a table\n" in said and "  pages 5 - 7   50%  a chart\n" in said
    assert Answer.from_dict(ANSWER.to_dict()).media.unit == "s"
