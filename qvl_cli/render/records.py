"""The machine formats: one JSON document, or JSON lines."""

from __future__ import annotations

import json
from typing import Any

from qvl_cli.answer import Answer


def write_json(answer: Answer, exit_code: int) -> str:
    return json.dumps(answer.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(answer: Answer, exit_code: int) -> str:
    """`text`, then every `moment` and `section`, then `done`, which carries the rest of the Answer."""
    document = answer.to_dict()
    text = document.pop("text")
    moments, sections = document.pop("moments"), document.pop("sections")
    records: list[dict[str, Any]] = [{"type": "text", "text": text}]
    records += [{"type": "moment", **moment} for moment in moments]
    records += [{"type": "section", **section} for section in sections]
    records.append({"type": "done", "status": answer.status, "exit_code": exit_code, **document})
    return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
