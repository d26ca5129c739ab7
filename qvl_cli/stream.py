"""StreamSession: a video is watched once, chunk by chunk, and forked for each question."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from qvl_cli.budget import turn_tokens
from qvl_cli.cache import Block, Memory, Question, Watched
from qvl_cli.chunks import FrameChunk
from qvl_cli.errors import OverBudget
from qvl_cli.generate import DecodeSettings, TokenStep, decode, no_numbers
from qvl_cli.model.language import advance, last_logits
from qvl_cli.model.load import LoadedModel
from qvl_cli.model.memory import memory_errors
from qvl_cli.model.preprocess import ChunkTokens, merged_grid, step_text, step_tokens, text_positions
from qvl_cli.model.regions import step_features
from qvl_cli.model.vision import encode_steps
from qvl_cli.prompts import Prompt
from qvl_cli.sampling import Step


class StreamSession:
    """A growing prefix of watched steps, and questions about it.

    With the full policy the logits equal one forward over the whole prompt, whatever the chunks were. `ask`
    and `read` run on a fork of their own: they never change what was watched, and the session can go on
    watching afterwards.
    """

    def __init__(
        self, model: LoadedModel, reserve_tokens: int | None = None, memory: Memory | None = None
    ) -> None:
        """memory: an empty one (`make_memory`); None keeps everything.

        reserve_tokens: without a memory, tokens the whole video will take, where the plan knows; more still
        fits. Room for a question and its longest answer is added, so that a fork appends in place.
        """
        reserve = 0 if reserve_tokens is None else reserve_tokens + turn_tokens(model.spec)
        self.model = model
        self.answer_ids: tuple[int, ...] = ()
        self._memory = memory or Memory(model, reserve)
        self._answer: list[Tensor] = []
        self.told_tokens: int | None = None  # vision tokens of steps that are only told of, not held

    @classmethod
    def from_blocks(
        cls,
        model: LoadedModel,
        blocks: Sequence[Block],
        reserve_tokens: int | None = None,
        memory: Memory | None = None,
    ) -> StreamSession:
        """A session that has watched `blocks`, which are those of a session of the same checkpoint, from the
        first on. It goes on watching where they end: with an unfinished last block, in the middle of it.
        """
        session = cls(model, reserve_tokens, memory)
        session._feed_prefix()
        session._memory.restore(blocks)
        return session

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps watched so far."""
        return tuple(self._memory.trail.steps)

    @property
    def tokens(self) -> int:
        """Tokens watched so far and still in the cache, the template's prefix included."""
        return self._memory.tokens

    @property
    def vision_tokens(self) -> int:
        """Vision tokens that the language model has read, those of steps that left the cache included."""
        if self.told_tokens is not None:
            return self.told_tokens
        return sum(each.vision for each in self._memory.trail.watched)

    @property
    def features(self) -> Tensor:
        """float32 [steps, regions + 1, hidden]: final-norm hidden states of each step, as `step_features`
        gathers them: of the regions of its picture, and last at its `<|vision_end|>`."""
        return self._memory.trail.features.view()

    @property
    def durations(self) -> Tensor:
        """float32 [steps]: seconds of each step's interval."""
        return self._memory.trail.durations()

    @property
    def vision_means(self) -> Tensor:
        """float32 [steps, hidden]: mean of each step's merged vision tokens, before the language model and
        before any of them is dropped."""
        return self._memory.trail.vision_means.view()

    @property
    def answer_states(self) -> Tensor:
        """float32 [tokens, hidden]: final-norm hidden state at each token of the last `ask`'s answer
        (`answer_ids`)."""
        if not self._answer:
            return torch.empty((0, self.model.spec.hidden_size), device=self.model.device)
        return torch.cat(self._answer)

    def blocks(self, start: int = 0, tail: bool = False) -> Iterator[Block]:
        """The watched steps as blocks, from block number `start` on: every whole one, and with `tail` (at the
        end of a video) the unfinished last one too.

        Called after each `watch` with the number of blocks already taken, it gives those newly completed.
        Watching on does not change them. What they hold does not depend on how the video was cut into chunks.
        """
        with memory_errors("cutting blocks"):
            yield from self._memory.blocks(start, tail)

    def settle(self, blocks: Sequence[Block]) -> None:
        """Go on from `blocks`, the last ones watched, as they were stored: what is watched and asked after
        this is bit for bit what a session `from_blocks` gives.
        """
        with memory_errors("putting blocks back"):
            self._memory.settle(blocks)

    def watch(self, chunk: FrameChunk) -> None:
        """Append a chunk: vision, then one forward over its tokens, or where the memory lets blocks go, one
        for each block. A forward is all or nothing: a failure leaves the session as it was before it.

        Raises OverBudget where memory or the checkpoint's positions run out.
        """
        first, count = 0, len(chunk.steps)
        while first < count:
            with memory_errors("watching the video"):
                room = self._memory.room(chunk.steps[first])
            last = count if room is None else min(first + room, count)
            self._watch(chunk.part(first, last))
            first = last

    def _watch(self, chunk: FrameChunk) -> None:
        model = self.model
        _, _, height, width, _ = chunk.frames.shape
        rows, columns = merged_grid(model.spec, width, height)
        memory = self._memory
        held = memory.cache.length
        try:
            with memory_errors("watching the video"):
                start = self._feed_prefix()
                texts = [model.codec.encode_text(step_text(step)) for step in chunk.steps]
                ids = (model.vision_start_id, model.video_token_id, model.vision_end_id)
                kept = None if chunk.kept is None else torch.from_numpy(chunk.kept).flatten(1)
                prompt = step_tokens(texts, rows, columns, ids, start, kept)
                self._check_positions(prompt.next_position)
                vision = encode_steps(model, chunk.frames)
                hidden = advance(model, memory.cache, prompt.ids, prompt.positions, vision.rows(kept))
                before = memory.trail.features.view()[-1] if len(memory.trail) else None
                features = step_features(hidden, prompt, rows, columns, kept, before)
                means = vision.tokens.float().mean(dim=1)
                if model.dtype == torch.float16 and not features[-1].isfinite().all():
                    raise no_numbers(model)
        except BaseException:  # Ctrl-C in the middle of a forward too
            memory.cache.shorten(held)
            raise
        with memory_errors("keeping what was watched"):
            memory.add(_watched(chunk.steps, prompt), features, means, prompt.next_position)

    def forget(self) -> None:
        """Let go of the steps that a window has passed: `steps`, `features` and `vision_means` are then those
        of the sinks' blocks and of the window, and stay as short however long the video is."""
        self._memory.forget()

    def fork(self) -> StreamSession:
        """A session with the same past, sharing its memory; what either does next, the other never sees."""
        return self._with(self._memory.fork())

    def release(self) -> None:
        """Let the cache go now (the garbage collector would later). The session must not be used after
        this."""
        self._memory.release()

    def ask(self, prompt: Prompt, settings: DecodeSettings | None = None) -> Iterator[TokenStep]:
        """Yield the answer to `prompt` token by token; `answer_states` grows with it.

        Raises OverBudget where memory or positions run out.
        """
        self._answer, self.answer_ids = [], ()
        fork = self._reader(prompt)
        try:
            logits = fork._logits(prompt)

            def feed(token: int) -> Tensor:
                hidden = fork._run_text([token])
                self._answer.append(hidden.float())
                self.answer_ids += (token,)
                return last_logits(fork.model, hidden)

            yield from decode(self.model, logits, feed, settings or DecodeSettings())
        finally:
            fork.release()

    def read(self, prompt: Prompt) -> Tensor:
        """float32 [tokens of prompt.query, hidden]: final-norm hidden states of the user's own words."""
        fork = self._reader(prompt)
        try:
            hidden, query = fork._run_prompt(prompt, whole=False)
            return hidden[query].float()
        finally:
            fork.release()

    def logits(self, prompt: Prompt) -> Tensor:
        """float32 [vocabulary]: of what the first token of an answer to `prompt` is."""
        fork = self._reader(prompt)
        try:
            return fork._logits(prompt)
        finally:
            fork.release()

    def focus(self, first: int, last: int) -> StreamSession:
        """A fork that sees steps [first, last) alone, or as much of them as the memory can show."""
        return self._with(self._memory.focus(first, last))

    @property
    def views(self) -> list[range]:
        """The steps that `focus` can show, as ranges that can be shown at once."""
        return self._memory.views()

    def shown_with(self, view: range) -> tuple[Step, ...]:
        """The steps that `focus` shows where it is asked for those of `view`."""
        memory = self._memory
        kept = memory.shown_sinks if view in memory.views() else range(0)
        return tuple(memory.trail.steps[number] for number in (*kept, *view))

    @property
    def overlapping_views(self) -> list[range]:
        """The same, every step but the outermost in two of them: what one cuts in two the next one shows."""
        return self._memory.views(overlap=True)

    @property
    def selects(self) -> bool:
        """Whether what a question sees depends on the question."""
        return self._memory.selects

    @property
    def sees_all(self) -> bool:
        """Whether a question sees every step watched."""
        return self.views == [range(len(self._memory.trail))]

    def _reader(self, prompt: Prompt) -> StreamSession:
        """A fork that sees what `prompt` needs."""
        self._feed_prefix()
        return self._with(self._memory.recall(lambda memory: self._with(memory)._question(prompt)))

    def _question(self, prompt: Prompt) -> Question:
        """`prompt` as it is read here; this session is let go."""
        try:
            hidden, query = self._run_prompt(prompt, whole=False)
            place = self._memory.cache.length - (len(hidden) - query.start)
            keys = self._memory.text_keys(place, query.stop - query.start)
            return Question(hidden[query].float(), keys)
        finally:
            self.release()

    def _with(self, memory: Memory) -> StreamSession:
        """A session with this past and another memory of it."""
        twin = copy.copy(self)
        twin._memory = memory
        twin._answer, twin.answer_ids = [], ()
        return twin

    def _logits(self, prompt: Prompt) -> Tensor:
        return last_logits(self.model, self._run_prompt(prompt, whole=True)[0])

    def _run_prompt(self, prompt: Prompt, whole: bool) -> tuple[Tensor, slice]:
        """Run `prompt` behind everything so far, the whole of it or as far as the user's own words: hidden
        states [n, hidden], and which of them are those of these words."""
        codec, template = self.model.codec, self.model.template
        start = self._feed_prefix()
        assert start == self._memory.position
        before = codec.encode_template(template.bridge) + codec.encode_text(prompt.before)
        until = before + codec.encode_text(prompt.query)
        ids = list(until)
        if whole or not until:  # a forward takes at least one token
            ids += codec.encode_text(prompt.after) + codec.encode_template(template.suffix)
        return self._run_text(ids), slice(len(before), len(until))

    def _feed_prefix(self) -> int:
        """Feed the template's prefix where nothing was fed yet; returns the next position."""
        memory = self._memory
        if memory.cache.length == 0:
            memory.position = 0
            self._run_text(self.model.codec.encode_template(self.model.prefix))
            memory.begin()
        return memory.position

    def _run_text(self, ids: list[int]) -> Tensor:
        """Run text tokens behind everything so far; hidden states [n, hidden]."""
        start = self._memory.position
        end = start + len(ids)
        self._check_positions(end)
        positions = text_positions(len(ids), start)
        with memory_errors("reading the prompt"):
            hidden = advance(self.model, self._memory.cache, torch.tensor(ids), positions)
        self._memory.position = end
        return hidden

    def _check_positions(self, end: int) -> None:
        limit, seen = self.model.spec.max_positions, end - self._memory.origin
        if seen > limit:
            raise OverBudget(
                f"the prompt would take {seen:,} positions, {self.model.spec.name} holds {limit:,}",
                "lower --fps, --max-tokens or --window",
            )


def _watched(steps: Sequence[Step], prompt: ChunkTokens) -> list[Watched]:
    """The steps of a chunk with their own parts of its positions, each from its own first one."""
    lasts = [end + 1 for end in prompt.ends.tolist()]
    firsts = [0, *lasts[:-1]]
    bases = [*prompt.positions[0, firsts].tolist(), prompt.next_position]
    positions = prompt.positions.to(torch.int32)
    return [
        Watched(step, positions[:, first:last] - base, after - base, int(prompt.vision[first:last].sum()))
        for step, first, last, (base, after) in zip(steps, firsts, lasts, pairwise(bases), strict=True)
    ]
