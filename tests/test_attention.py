"""The registered attention against the textbook."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qvl_cli.model.attention import _exact, attend


class Module(torch.nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.is_causal = causal


def textbook(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """[1, heads, q, d] in float64, KV heads repeated, the causal diagonal ending in the lower right
    corner."""
    group = query.shape[1] // key.shape[1]
    k, v = (t.repeat_interleave(group, 1).double() for t in (key, value))
    scores = query.double() @ k.mT * scale
    count, total = scores.shape[-2:]
    hidden = torch.ones(count, total, dtype=torch.bool).triu(total - count + 1)
    return scores.masked_fill(hidden, -torch.inf).softmax(-1) @ v


CASES = [
    (1, 1, 4, 2),
    (1, 40, 4, 2),
    (7, 7, 4, 2),
    (7, 40, 4, 2),
    (33, 34, 6, 1),
    (5, 300, 4, 4),
    (64, 1000, 8, 2),
]


@pytest.mark.parametrize(("count", "total", "heads", "kv_heads"), CASES)
@pytest.mark.parametrize("sharpness", [1.0, 30.0])
def test_past_and_present_merge_exactly(
    count: int, total: int, heads: int, kv_heads: int, sharpness: float
) -> None:
    torch.manual_seed(count + total)
    query = torch.randn(1, heads, count, 128) * sharpness
    # views into a longer buffer, as the cache gives them
    key, value = (torch.randn(1, kv_heads, total + 9, 128)[:, :, :total] for _ in range(2))
    wanted = textbook(query, key, value, 128**-0.5)
    got, _ = attend(Module(True), query, key, value, None, scaling=128**-0.5)
    assert got.shape == (1, count, heads, 128)
    assert float((got.transpose(1, 2) - wanted).abs().max()) < 5e-6 * sharpness
    plain = _exact(query, key, value, 128**-0.5)
    assert float((plain - wanted).abs().max()) < 5e-6 * sharpness


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(1, 4, 20, 64), torch.randn(1, 2, 200, 64), torch.randn(1, 2, 200, 64)
    wanted = textbook(query, key, value, 0.125)
    low = [t.to(dtype) for t in (query, key, value)]
    got, _ = attend(Module(True), low[0], low[1], low[2], None, scaling=0.125)
    assert got.dtype == dtype
    assert float((got.transpose(1, 2) - wanted).abs().max()) < 0.05


def test_steps_do_not_see_each_other() -> None:
    torch.manual_seed(1)
    query, key, value = (torch.randn(1, 2, 12, 64) for _ in range(3))
    got, _ = attend(Module(False), query, key, value, None, scaling=0.125, qvl_steps=3)
    assert got.shape == (1, 12, 2, 64)
    for step in range(3):
        own = slice(4 * step, 4 * step + 4)
        scores = query[:, :, own] @ key[:, :, own].mT * 0.125
        wanted = (scores.softmax(-1) @ value[:, :, own]).transpose(1, 2)
        assert torch.allclose(got[:, own], wanted, atol=1e-5)


def test_a_mask_is_refused() -> None:
    one = torch.randn(1, 2, 3, 64)
    with pytest.raises(ValueError, match="mask"):
        attend(Module(True), one, one, one, torch.zeros(1, 1, 3, 3))
