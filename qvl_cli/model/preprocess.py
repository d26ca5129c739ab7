"""Frames to patches, and one step's tokens and positions: upstream's processor, reproduced.

Source: transformers' Qwen3VLVideoProcessor and Qwen3VLModel.get_rope_index (5.23); the form without the outer
vision pair, as the checkpoints were trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qvl_cli.registry import ModelSpec
from qvl_cli.sampling import Step
from qvl_cli.timeline import prompt_seconds
from qvl_cli.weave import cue_text


def resize_frames(frames: Sequence[npt.NDArray[np.uint8]], width: int, height: int) -> npt.NDArray[np.uint8]:
    """Resize uint8 RGB frames [h, w, 3] (any sizes) to [n, height, width, 3].

    Bicubic and antialiased on uint8: bit for bit what upstream's video processor gives.
    """
    resized = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for index, frame in enumerate(frames):
        if frame.shape[:2] == (height, width):
            resized[index] = frame
            continue
        picture = as_tensor(frame).permute(2, 0, 1)[None].contiguous()
        scaled = torch.nn.functional.interpolate(picture, (height, width), mode="bicubic", antialias=True)
        resized[index] = scaled[0].permute(1, 2, 0).numpy()
    return resized


def as_tensor(frames: npt.NDArray[np.uint8] | Tensor) -> Tensor:
    """The same pixels for torch; a read-only array is copied, which torch would warn about."""
    if isinstance(frames, Tensor):
        return frames
    return torch.from_numpy(frames if frames.flags.writeable else frames.copy())


def patchify(frames: npt.NDArray[np.uint8] | Tensor, patch_size: int = 16, merge_size: int = 2) -> Tensor:
    """uint8 [steps, 2, height, width, 3] -> float32 patches [steps * height * width / patch_size**2, 3 * 2 *
    patch_size**2].

    Order, slowest first: step, merged row, merged column, row and column within the merge, channel, frame,
    pixel row, pixel column. Values (x - 127.5) / 127.5, the released mean and deviation of 0.5.
    """
    pixels = as_tensor(frames)
    steps, pair, height, width, channels = pixels.shape
    rows, columns = height // patch_size, width // patch_size
    blocks = pixels.reshape(
        steps, pair,
        rows // merge_size, merge_size, patch_size,
        columns // merge_size, merge_size, patch_size,
        channels,
    )  # fmt: skip
    order = blocks.permute(0, 2, 5, 3, 6, 8, 1, 4, 7)
    flat = order.reshape(steps * rows * columns, channels * pair * patch_size**2)
    # upstream folds rescaling into the normalisation: (x - mean * 255) / (deviation * 255), in float32
    return flat.to(torch.float32).sub_(127.5).div_(127.5)


@dataclass(frozen=True, slots=True)
class ChunkTokens:
    """The prompt of some steps.

    ids: int64 [n]; positions: int64 [3, n] (T, H, W); vision: bool [n], true on `<|video_pad|>`;
    ends: int64 [steps], where each step's `<|vision_end|>` is; next_position: of the token after these.
    """

    ids: Tensor
    positions: Tensor
    vision: Tensor
    ends: Tensor
    next_position: int


def text_positions(count: int, start: int) -> Tensor:
    """int64 [3, count]: a run of text moves all three axes together."""
    return torch.arange(start, start + count).expand(3, count)


def step_tokens(
    texts: Sequence[Sequence[int]],
    rows: int,
    columns: int,
    ids: tuple[int, int, int],
    start: int,
    kept: Tensor | None = None,
) -> ChunkTokens:
    """Tokens and positions of consecutive steps from position `start` on.

    texts: ids of each step's `<12.5 seconds>`; rows, columns: merged grid; ids: of vision start, pad and end.
    A step's pads: T constant, H + row, W + column; then the next token is max(rows, columns) further.
    kept: bool [steps, rows * columns], the pads there are; the others leave, and the rest stays in its place.
    """
    begin, pad, end = ids
    count = rows * columns
    row = torch.arange(rows).repeat_interleave(columns)
    column = torch.arange(columns).repeat(rows)
    grid = torch.stack([torch.zeros(count, dtype=torch.int64), row, column])
    tokens: list[int] = []
    positions: list[Tensor] = []
    ends: list[int] = []
    cursor = start
    for number, text in enumerate(texts):
        shown = grid if kept is None else grid[:, kept[number]]
        tokens += [*text, begin, *[pad] * shown.shape[1], end]
        positions += [text_positions(len(text) + 1, cursor), shown + (cursor + len(text) + 1)]
        cursor += len(text) + 1 + max(rows, columns)
        positions.append(text_positions(1, cursor))
        cursor += 1
        ends.append(len(tokens) - 1)
    all_ids = torch.tensor(tokens, dtype=torch.int64)
    return ChunkTokens(all_ids, torch.cat(positions, dim=1), all_ids == pad, torch.tensor(ends), cursor)


def step_text(step: Step) -> str:
    """How a step says its time, behind the subtitles that belong in front of it."""
    return cue_text(step.cues) + time_text(step)


def time_text(step: Step) -> str:
    """`<12.5 seconds>`."""
    return f"<{prompt_seconds(step.t0, step.t1)} seconds>"


def merged_grid(spec: ModelSpec, width: int, height: int) -> tuple[int, int]:
    """Rows and columns of a frame's vision tokens. Raises ValueError where the size is no multiple of a
    token's."""
    side = spec.patch_size * spec.merge_size
    if width % side or height % side or not (width and height):
        raise ValueError(f"frames of {width}x{height} pixels are not whole {side}-pixel tokens")
    return height // side, width // side
