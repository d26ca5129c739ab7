from fractions import Fraction
from pathlib import Path

import pytest

from qvl_cli.cache.place import user_cache
from qvl_cli.config import KEYS, load_config, user_file
from qvl_cli.errors import UsageError
from tests.indexing import limited


@pytest.fixture
def places(tmp_path: Path) -> tuple[dict[str, str], Path, Path]:
    """An environment whose user file lies in tmp_path, that user file, and a working folder."""
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    user = user_file(environ)
    user.parent.mkdir(parents=True)
    folder = tmp_path / "here"
    folder.mkdir()
    return environ, user, folder


def test_the_stronger_source_wins_key_by_key(places: tuple[dict[str, str], Path, Path]) -> None:
    environ, user, folder = places
    user.write_text('model = "8b"\nfps = 1\nmax_frames = 10\nmax_tokens = 1000\n')
    (folder / "qvl.toml").write_text("fps = 0.1\nmax_frames = 20\nmax_tokens = 2000\n")
    environ |= {"QVL_MAX_FRAMES": "30", "QVL_MAX_TOKENS": "3000", "QVL_DEVICE": ""}
    config = load_config({"max_tokens": 4000, "detail": None}, environ, folder)
    assert config.text("model", "auto") == "8b"
    assert config.rate("fps") == Fraction(1, 10)  # not the binary neighbour of 0.1
    assert config.count("max_frames") == 30
    assert config.count("max_tokens") == 4000
    assert config.text("detail", "default") == "default"
    assert config.text("device", "auto") == "auto"  # an empty variable is an unset one
    sources = [config.source(key) for key in ("model", "fps", "max_frames", "max_tokens", "detail")]
    assert sources == [str(user), str(folder / "qvl.toml"), "QVL_MAX_FRAMES", "--max-tokens", "default"]


def test_a_preset_replaces_what_weaker_places_say_of_its_keys(
    places: tuple[dict[str, str], Path, Path],
) -> None:
    environ, user, folder = places
    user.write_text('fps = 1\nmax_tokens = 1000\nmodel = "8b"\n')
    (folder / "qvl.toml").write_text('detail = "high"\nmax_frames = 7\nmax_pixels = 9\n')
    config = load_config({}, environ, folder)
    assert (config.rate("fps"), config.count("max_tokens")) == (None, None)  # those of `high` hold
    assert (config.count("max_frames"), config.text("model", "auto")) == (7, "8b")
    config = load_config({"detail": "low", "fps": 3}, environ | {"QVL_MAX_TOKENS": "50"}, folder)
    assert (config.text("detail", "default"), config.rate("fps")) == ("low", 3)
    assert (config.count("max_tokens"), config.count("max_frames"), config.count("max_pixels")) == (
        None,
        None,
        9,
    )


@pytest.mark.parametrize(
    ("environ", "toml", "says"),
    [
        ({"QVL_MODLE": "2b"}, "", ["QVL_MODLE", "'model'"]),
        ({}, "max_framse = 3", ["max_framse", "'max_frames'", "qvl.toml"]),
        ({}, "zzz = 3", ["zzz", "known: model"]),
        ({}, "[sampling]\nfps = 2", ["sampling"]),
        ({"QVL_FPS": "fast"}, "", ["QVL_FPS", "above 0"]),
        ({"QVL_FPS": "0"}, "", ["QVL_FPS", "above 0"]),
        ({"QVL_FPS": "1/0"}, "", ["QVL_FPS", "above 0"]),
        ({}, "max_tokens = -1", ["max_tokens", "above 0"]),
        ({}, "max_tokens = true", ["max_tokens", "above 0"]),
        ({}, "quiet = 'perhaps'", ["quiet", "true or false"]),
        ({}, "model = 3", ["model", "a text"]),
        ({}, "model = ", ["qvl.toml", "correct or remove"]),
    ],
)
def test_a_bad_source_is_one_clear_usage_error(
    places: tuple[dict[str, str], Path, Path], environ: dict[str, str], toml: str, says: list[str]
) -> None:
    base, _, folder = places
    (folder / "qvl.toml").write_text(toml)
    with pytest.raises(UsageError) as caught:
        load_config({}, base | environ, folder)
    assert all(part in str(caught.value) for part in says)
    assert "\n" not in caught.value.fact.split(" in ")[0]


def test_every_key_can_come_from_the_environment(tmp_path: Path) -> None:
    samples = {
        "_text": "x",
        "_path": "x",
        "_count": "3",
        "_rate": "1/3",
        "_switch": "yes",
        "_size": "8G",
        "_cap": "0",
        "_share": "15%",
    }
    environ = {f"QVL_{key.upper()}": samples[parse.__name__] for key, parse in KEYS.items()}
    config = load_config({}, environ | {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)
    assert set(config.settings) == set(KEYS)
    assert config.rate("fps") == Fraction(1, 3)
    assert config.switch("quiet") is True


@pytest.mark.parametrize(
    ("platform", "part"), [("linux", ".config"), ("darwin", "Application Support"), ("win32", "Roaming")]
)
def test_the_user_file_lies_where_the_platform_keeps_settings(platform: str, part: str) -> None:
    path = user_file({}, platform)
    assert path is not None and part in str(path)
    assert path.parts[-2:] == ("qvl", "qvl.toml")


def test_a_folder_that_may_not_be_entered_holds_no_settings_and_that_is_told(
    places: tuple[dict[str, str], Path, Path],
) -> None:
    environ, user, folder = places
    user.write_text("fps = 1\n")
    (folder / "qvl.toml").write_text("max_frames = 7\n")
    for shut in (user.parent, user.parents[1]):
        with limited(shut, 0o600):
            config = load_config({}, environ, folder)
        assert set(config.settings) == {"max_frames"}
        assert len(config.notes) == 1 and str(user) in config.notes[0]
    # A file that is there and may not be read is a mistake; what is no folder holds nothing.
    with limited(user, 0o200), pytest.raises(UsageError, match="correct or remove"):
        load_config({}, environ, folder)
    assert load_config({}, {"XDG_CONFIG_HOME": str(user)}, folder).notes == ()


def test_a_file_saved_with_a_mark_and_a_home_that_nobody_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "qvl.toml").write_bytes(b"\xef\xbb\xbfquiet = true\n")
    assert load_config({}, {}, tmp_path).switch("quiet")

    def unknown(path: object = None) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert user_file({}) is None and load_config({}, {}, tmp_path).switch("quiet")
    with pytest.raises(UsageError, match="no home folder"):
        user_cache({})


def test_paths_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load_config({"subs": "~/x.srt"}, {"QVL_CACHE_DIR": "~/qvl"}, tmp_path)
    assert config.text("subs", "") == str(tmp_path / "x.srt")
    assert config.text("cache_dir", "") == str(tmp_path / "qvl")
    with pytest.raises(UsageError, match="~nobody-of-this-name/x"):
        load_config({"subs": "~nobody-of-this-name/x"}, {}, tmp_path)
