"""Keys and values in fewer bits: int8 and int4 codes, or bfloat16.

Keys of a head share their outliers channel by channel, values do not: so keys are scaled per channel over the
block's tokens, values per token over its channels (KIVI, arXiv 2402.02750). Keys are coded without rotation,
which would smear a channel over two. int8 is symmetric, int4 has an offset: sixteen levels cannot waste half.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BITS = {"bf16": 16, "int8": 8, "int4": 4}


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """A tensor [layers, kv_heads, tokens, head_dim] in fewer bits.

    codes: bfloat16 or int8 of that shape, or uint8 [..., head_dim / 2], channel i in the low and channel
    i + head_dim / 2 in the high half of a byte. scale, offset: float16, broadcast over it; value = code *
    scale + offset. bfloat16 has neither, int8 no offset.
    """

    codes: Tensor
    scale: Tensor | None = None
    offset: Tensor | None = None

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in (self.codes, self.scale, self.offset) if each is not None)

    def mapped(self, put: Callable[[Tensor], Tensor]) -> Codes:
        """The same with every tensor where `put` puts it."""
        return Codes(*(None if t is None else put(t) for t in (self.codes, self.scale, self.offset)))  # type: ignore[arg-type]

    def read(self, layer: int, out: Tensor) -> None:
        """Write one layer's values to `out` [kv_heads, tokens, head_dim], in its dtype."""
        codes = self.codes[layer]
        if self.scale is None:
            out.copy_(codes)
            return
        scale = self.scale[layer].to(out.device, out.dtype)
        if self.offset is None:
            torch.mul(codes.to(out.device), scale, out=out)
            return
        offset = self.offset[layer].to(out.device, out.dtype)
        half = out.shape[-1] // 2
        codes = codes.to(out.device)
        for part, nibbles in ((slice(None, half), codes & 15), (slice(half, None), codes >> 4)):
            own = slice(None) if scale.shape[-1] == 1 else part
            torch.addcmul(offset[..., own], nibbles, scale[..., own], out=out[..., part])

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """All layers: [layers, kv_heads, tokens, head_dim]."""
        layers, heads, tokens, width = self.codes.shape
        width *= 2 if self.offset is not None else 1
        out = torch.empty((layers, heads, tokens, width), dtype=dtype, device=self.codes.device)
        for layer in range(layers):
            self.read(layer, out[layer])
        return out


def encode(tensor: Tensor, kind: str, over: int) -> Codes:
    """Code `tensor` [layers, kv_heads, tokens, head_dim] as one of BITS; one scale for all of axis `over`:
    2 gives one per channel, 3 one per token."""
    if kind == "bf16":
        return Codes(tensor.bfloat16())
    wide = tensor.float()
    if kind == "int8":
        scale = _half(wide.abs().amax(dim=over, keepdim=True) / 127)
        return Codes((wide / scale.float()).round().clamp(-127, 127).to(torch.int8), scale)
    least, most = wide.amin(dim=over, keepdim=True), wide.amax(dim=over, keepdim=True)
    scale, offset = _half((most - least) / 15), least.half()
    levels = ((wide - offset.float()) / scale.float()).round().clamp(0, 15).to(torch.uint8)
    low, high = levels.chunk(2, dim=-1)
    return Codes(low | (high << 4), scale, offset)


def _half(scale: Tensor) -> Tensor:
    """A scale in float16, never 0: what is all the same has the code 0."""
    return scale.clamp_min(6e-8).half().clamp_min(6e-8)
