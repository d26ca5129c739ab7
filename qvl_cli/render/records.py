"""The machine formats: one JSON document, or JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from qvl_cli.answer import Answer, Moment


def write_json(answer: Answer, exit_code: int) -> str:
    return json.dumps(answer.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(answer: Answer, exit_code: int) -> str:
    """`text`, then every `moment` and `section`, then `done`, which carries the rest of the Answer."""
    records: list[dict[str, Any]] = [{"type": "text", "text": answer.text}]
    records += [moment_record(moment) for moment in answer.moments]
    records += [{"type": "section", **asdict(section)} for section in answer.sections]
    records.append(done_record(answer, answer.status, exit_code))
    return "".join(map(write_record, records))


def moment_record(moment: Moment) -> dict[str, Any]:
    return {"type": "moment", **asdict(moment)}


def done_record(answer: Answer, status: str, exit_code: int) -> dict[str, Any]:
    """The last one: all of the Answer but its text, moments and sections."""
    document = answer.to_dict()
    for key in ("text", "moments", "sections"):
        del document[key]
    return {"type": "done", "status": status, "exit_code": exit_code, **document}


def write_record(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
