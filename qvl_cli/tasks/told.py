"""A summary as it is kept with a saved index, and what it depends on beside what was watched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from qvl_cli.answer import Section
from qvl_cli.generate import DecodeSettings
from qvl_cli.prompts import overview_prompt, reduce_prompt, section_prompt
from qvl_cli.tasks import Findings

_CUT = "at changes and holes"  # where sections begin


@dataclass(frozen=True, slots=True)
class Summary:
    """key: `summary_key` of when it was written."""

    key: str
    text: str
    sections: tuple[Section, ...]
    warnings: tuple[str, ...]

    @staticmethod
    def of(findings: Findings, key: str) -> Summary:
        return Summary(key, findings.text, findings.sections, findings.warnings)

    def findings(self) -> Findings:
        return Findings(self.text, bool(self.sections), sections=self.sections, warnings=self.warnings)


def summary_key(settings: DecodeSettings) -> str:
    """sha256 of the words a summary is asked for with, of how its tokens are chosen, and of how it is cut."""
    asked = [section_prompt(0, 1), overview_prompt(), reduce_prompt(["-"])]
    words = [[prompt.before, prompt.query, prompt.after] for prompt in asked]
    how = settings.choice
    chosen = [settings.max_new_tokens, how.temperature, how.top_p, how.top_k, settings.seed]
    return hashlib.sha256(json.dumps([words, chosen, _CUT]).encode()).hexdigest()
