"""The arena against a list of tensors: any history of forks, appends, rollbacks and releases."""

from __future__ import annotations

import gc

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qvl_cli.cache import ArenaCache
from qvl_cli.cache.arena import ArenaLayer

LAYERS, HEADS, WIDTH = 2, 2, 4
MOVES = st.sampled_from(["append", "fork", "shorten", "release", "drop"])


def states(count: int, value: int) -> Tensor:
    new = torch.arange(count * HEADS * WIDTH, dtype=torch.float32).view(1, HEADS, count, WIDTH)
    return new + 1000.0 * value


def append(cache: ArenaCache, count: int, value: int) -> Tensor:
    new = states(count, value)
    for layer in range(LAYERS):
        keys, values = cache.update(new + layer, -(new + layer), layer)
        assert torch.equal(keys, -values)
    return new


def held(cache: ArenaCache, layer: int) -> Tensor:
    keys = cache.layers[layer].keys
    assert keys is not None
    return keys


@settings(max_examples=80, deadline=None)
@given(
    reserve=st.sampled_from([0, 300]),
    moves=st.lists(st.tuples(MOVES, st.integers(0, 9), st.integers(1, 120)), max_size=30),
)
def test_nobody_ever_sees_anothers_tokens(reserve: int, moves: list[tuple[str, int, int]]) -> None:
    empty = torch.empty(1, HEADS, 0, WIDTH)
    alive: list[tuple[ArenaCache, Tensor]] = [(ArenaCache(LAYERS, reserve), empty)]
    for number, (move, which, amount) in enumerate(moves):
        if not alive:
            break
        place = which % len(alive)
        cache, truth = alive[place]
        if move == "append":
            alive[place] = (cache, torch.cat([truth, append(cache, amount, number)], dim=2))
        elif move == "fork":
            alive.append((cache.fork(), truth))
        elif move == "shorten":
            cache.shorten(amount)
            alive[place] = (cache, truth[:, :, :amount])
        elif move == "release":
            cache.release()
            alive.pop(place)
        else:
            alive.pop(place)
            del cache
        for one, wanted in alive:
            assert one.length == one.get_seq_length() == wanted.shape[2]
            for layer in range(LAYERS if wanted.shape[2] else 0):
                assert torch.equal(held(one, layer), wanted + layer)


def test_a_fork_appends_in_place_and_gives_its_tail_back() -> None:
    cache = ArenaCache(LAYERS, reserve=100)
    append(cache, 50, 0)
    place = held(cache, 0).data_ptr()
    for number in range(5):
        fork = cache.fork()
        append(fork, 30, number)
        assert held(fork, 0).data_ptr() == place
        fork.release()
    append(cache, 50, 9)
    assert held(cache, 0).data_ptr() == place


def test_a_forgotten_fork_is_a_released_fork() -> None:
    cache = ArenaCache(LAYERS, reserve=100)
    append(cache, 50, 0)
    place = held(cache, 0).data_ptr()
    fork = cache.fork()
    append(fork, 30, 1)
    del fork
    gc.collect()
    append(cache, 10, 2)
    assert held(cache, 0).data_ptr() == place


def test_two_live_forks_part_ways() -> None:
    cache = ArenaCache(LAYERS, reserve=100)
    append(cache, 10, 0)
    one, other = cache.fork(), cache.fork()
    append(one, 5, 1)
    append(other, 5, 2)
    assert held(one, 0).data_ptr() == held(cache, 0).data_ptr() != held(other, 0).data_ptr()


def test_growth_is_amortised() -> None:
    """Watching without a reserve copies each token a few times, however long it goes on."""
    layer = ArenaLayer()
    copied, capacity = 0, 0
    for length in range(12_000):
        layer.update(states(1, 0), states(1, 0))
        if layer.capacity != capacity:
            copied, capacity = copied + length, layer.capacity
    assert copied < 5 * 12_000
    assert capacity <= 12_000 * 5 // 4 + 256


def test_a_fork_that_outgrows_the_room_copies_little_more_than_it_holds() -> None:
    cache = ArenaCache(LAYERS, reserve=4000)
    append(cache, 3990, 0)
    fork = cache.fork()
    append(fork, 20, 1)
    assert held(fork, 0).data_ptr() != held(cache, 0).data_ptr()
    assert fork.nbytes <= 1.35 * cache.nbytes
    append(fork, 1200, 2)  # a second time, with nobody else on its buffer
    assert fork.layers[0].capacity <= 5210 * 5 // 4


def test_transformers_own_words() -> None:
    cache = ArenaCache(LAYERS)
    append(cache, 10, 0)
    assert cache.get_mask_sizes(3, 0) == (13, 0)
    for layer in cache.layers:
        layer.crop(-4)
    assert cache.length == 6
    cache.reset()
    assert cache.length == 0
    assert torch.equal(append(cache, 2, 3), held(cache, 0))
