"""Times as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from qvl_cli.errors import UsageError
from qvl_cli.timeline import parse_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", Fraction(90)),
        (" 12.5s ", Fraction(25, 2)),
        ("1m30s", Fraction(90)),
        ("2H", Fraction(7200)),
        ("1h30", Fraction(5400)),
        ("1h30.5", Fraction(5430)),
        ("1m30", Fraction(90)),
        ("1h2m3", Fraction(3723)),
        ("1h30s", Fraction(3630)),
        ("1h90m", Fraction(9000)),
        ("1:30", Fraction(90)),
        ("90:00", Fraction(5400)),
        ("01:02:03,5", Fraction(7447, 2)),
        ("0.1", Fraction(1, 10)),
    ],
)
def test_times_are_read_exactly(text: str, seconds: Fraction) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "soon",
        "-1",
        "1:60",
        "1:60:00",
        "1h90",
        "1m60",
        "1h2m60.5",
        "h30",
        "m5",
        "1s5",
        "1.2.3",
        "1e3",
        "nan",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="as a time"):
        parse_time(text)


@pytest.mark.parametrize("text", ["9" * 5000, "1:" * 3 + "9" * 5000, "0." + "9" * 5000, "9" * 5000 + ":00"])
def test_endless_digits_are_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(UsageError, match="as a time") as raised:
        parse_time(text)
    assert len(str(raised.value)) < 200 and raised.value.remedy
