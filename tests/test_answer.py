import json
from dataclasses import replace

import pytest

from qvl_cli.answer import SCHEMA, Answer, Coverage, Media, ModelUse, Moment, Sampling, Section, Usage
from qvl_cli.errors import UsageError

ANSWER = Answer(
    task="locate",
    media=Media("clips/größe.mp4", 61.4, "ab" * 32),
    model=ModelUse("tiny", "0123abcd", "head"),
    query="a red circle appears",
    text="A red circle appears: 12.5-20.0 s, 40.0-41.5 s",
    found=True,
    sampling=Sampling(61, 123, 2.0, (192, 128), 1525, True),
    coverage=Coverage(((0.0, 61.4),)),
    usage=Usage(2.1, 0.2, 512.0),
    moments=(
        Moment(40.0, 41.5, 0.93, "a red circle appears"),
        Moment(12.5, 20.0, 0.4, "a red circle appears", True),
    ),
    sections=(Section(0.0, 30.0, "Nothing."), Section(30.0, 61.4, "A circle.")),
    thinking="hm",
    warnings=("coarsened",),
)


def test_an_answer_survives_json() -> None:
    assert Answer.from_dict(json.loads(json.dumps(ANSWER.to_dict()))) == ANSWER


def test_the_document_has_the_agreed_shape() -> None:
    document = json.loads(json.dumps(ANSWER.to_dict()))
    assert document["schema"] == SCHEMA == "qvl.answer/1"
    assert document["moments"][0] == {
        "start": 40.0, "end": 41.5, "score": 0.93, "text": "a red circle appears", "refined": False,
    }  # fmt: skip
    assert document["sampling"]["frame"] == [192, 128]
    assert document["coverage"] == {"seen": [[0.0, 61.4]], "gaps": [], "skipped": [], "cut_off": False}


def test_fields_of_later_versions_are_passed_over() -> None:
    document = ANSWER.to_dict()
    later = {**document, "mood": 1, "media": {**document["media"], "fps": 25}}
    later["moments"] = tuple({**moment, "box": [0, 0, 1, 1]} for moment in document["moments"])
    assert Answer.from_dict(later) == ANSWER


@pytest.mark.parametrize(
    "damage",
    [
        {"schema": "qvl.answer/2"},
        {"schema": None},
        {"media": {"path": "x"}},
        {"moments": [{"start": 1.0}]},
        {"coverage": {"seen": [[1.0]]}},
        {"sampling": 3},
        {"usage": None},
    ],
)
def test_another_schema_or_a_missing_field_is_refused(damage: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Answer.from_dict({**ANSWER.to_dict(), **damage})


def test_what_is_no_document_at_all_is_refused() -> None:
    with pytest.raises(UsageError):
        Answer.from_dict([])  # type: ignore[arg-type]


def test_exit_codes_and_status() -> None:
    missing = replace(ANSWER, found=False, moments=())
    holed = replace(missing, coverage=Coverage(((0.0, 30.0),), ((30.0, 61.4),)))
    assert [ANSWER.status, missing.status, holed.status] == ["ok", "empty", "partial"]
    assert [a.exit_code(False) for a in (ANSWER, missing, holed)] == [0, 0, 6]
    assert [a.exit_code(True) for a in (ANSWER, missing, holed)] == [0, 10, 6]
