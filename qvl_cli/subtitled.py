"""Request + video -> the subtitles a run reads along with the pictures, and a plan that carries them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qvl_cli.cache import exact
from qvl_cli.errors import MediaError
from qvl_cli.media.info import MediaInfo
from qvl_cli.media.subtitles.cue import Cue
from qvl_cli.registry import ModelSpec
from qvl_cli.request import Request
from qvl_cli.sampling import SamplePlan
from qvl_cli.weave import weave

if TYPE_CHECKING:
    from qvl_cli.media.subtitles.choice import Source


@dataclass(frozen=True, slots=True)
class Subtitles:
    """source: where the cues are from; None: none are read. notes: what must be told of them."""

    source: Source | None = None
    cues: tuple[Cue, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """sha256 of the cues, a part of the key of a saved index; empty where none are read."""
        return hashlib.sha256(exact.dump(self.cues)).hexdigest() if self.source else ""

    def woven(self, plan: SamplePlan, spec: ModelSpec) -> SamplePlan:
        """The plan with the cues in front of its steps, counted by the model's own tokenizer."""
        if self.source is None:
            return plan
        from qvl_cli.model.tokens import load_codec

        codec = load_codec(spec.folder)
        return weave(plan, self.cues, lambda text: len(codec.encode_text(text)))

    def use(self, plan: SamplePlan) -> tuple[str, ...]:
        """How much of them the woven plan reads, to be told while it runs."""
        if self.source is None:
            return ()
        used = sum(len(step.cues) for step in plan.steps)
        others = f"; also there: {', '.join(self.source.others)}" if self.source.others else ""
        count, name = len(self.cues), self.source.name
        return (f"subtitles: {used} of {count} cues of {name} lie in what is watched{others}",)


def choose_subtitles(request: Request, info: MediaInfo, spec: ModelSpec) -> Subtitles:
    """What `--subs` means for this video. Raises MediaError where the file the user named gives no cue."""
    from qvl_cli.media.subtitles.choice import find_subtitles, read_subtitles

    source, notes = find_subtitles(Path(request.path), info, request.subs)
    if source is None:
        return Subtitles(notes=notes)
    auto = request.subs == "auto"
    if auto and spec.has_world_gate:
        why = f"{spec.name} was not trained to read any; --subs FILE insists"
        return Subtitles(notes=(*notes, f"the subtitles in {source.name} are left out: {why}"))
    try:
        track = read_subtitles(source, info)
    except MediaError as error:
        if not auto:
            raise
        return Subtitles(notes=(*notes, f"no subtitles are used: {error.fact}"))
    return Subtitles(source, track.cues, (*notes, *track.told(source.name)))
