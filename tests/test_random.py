"""Counter-based draws: the published generator, seekable, independent of order, and equal in distribution."""

from __future__ import annotations

import hashlib
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.harness import raises
from xpnet.errors import ConfigError
from xpnet.random import Key, keep_mask, normal, permutation, random_bits, uniform

LIMIT = 1 << 64


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox-4x64-10 on Python integers, as the paper gives it: ten rounds, the key bumped between them."""
    x0, x1, x2, x3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = divmod(0xD2E7470EE14C6C93 * x0, LIMIT)
        high1, low1 = divmod(0xCA5A826395121157 * x2, LIMIT)
        x0, x1, x2, x3 = high1 ^ x1 ^ k0, low1, high0 ^ x3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) % LIMIT, (k1 + 0xBB67AE8584CAA73B) % LIMIT
    return [x0, x1, x2, x3]


def numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


# known answers published with Random123
KNOWN = {
    "zeros": ("0 0 0 0", "0 0", "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
    "ones": (
        "ffffffffffffffff ffffffffffffffff ffffffffffffffff ffffffffffffffff",
        "ffffffffffffffff ffffffffffffffff",
        "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0",
    ),
    "pi": (
        "243f6a8885a308d3 13198a2e03707344 a4093822299f31d0 082efa98ec4e6c89",
        "452821e638d01377 be5466cf34e90c6c",
        "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_philox_of_this_test_gives_the_published_answers(name):
    counter, key, answer = KNOWN[name]
    assert philox(numbers(counter), numbers(key)) == numbers(answer)


@pytest.mark.parametrize("name", KNOWN)
def test_numpys_philox_gives_the_published_answers(name):
    counter, key, answer = (numbers(text) for text in KNOWN[name])
    before = (sum(c << (64 * i) for i, c in enumerate(counter)) - 1) % (1 << 256)
    generator = np.random.Philox(key=key[0] | (key[1] << 64), counter=before)
    assert generator.random_raw(4).tolist() == answer


def expected(key: Key, n: int, start: int = 0) -> list[int]:
    """What words documents: key (seed, hash of purpose), block i at counter (i, 0, step, epoch)."""
    purpose = int.from_bytes(hashlib.blake2b(key.purpose.encode(), digest_size=8).digest(), "little")
    found = []
    for block in range(start // 4, (start + n + 3) // 4):
        counter = [block % LIMIT, block // LIMIT, key.step, key.epoch]
        found += philox(counter, [key.seed, purpose])
    return found[start % 4 :][:n]


LARGE = st.one_of(st.integers(0, 100), st.integers(0, LIMIT - 1), st.just(LIMIT - 1))


@hypothesis.given(LARGE, st.text(max_size=20), LARGE, LARGE, st.integers(0, 20), st.one_of(st.integers(0, 20), LARGE))
def test_words_are_philox_of_the_key_wherever_they_start(seed, purpose, epoch, step, n, start):
    key = Key(seed, purpose, epoch, step)
    got = random_bits(key, n, start)
    assert got.dtype == np.uint64
    assert got.tolist() == expected(key, n, start)


def test_a_longer_draw_begins_with_the_shorter_one():
    key = Key(7, "shuffle", 2, 3)
    for draw in (uniform, normal, lambda key, shape: keep_mask(key, shape, 0.5)):
        assert draw(key, (6,)).tolist() == draw(key, (9,)).tolist()[:6]


def test_draws_do_not_depend_on_what_was_drawn_before():
    keys = [Key(1, "a"), Key(2, "a"), Key(1, "b"), Key(1, "a", 1), Key(1, "a", 0, 1)]
    forwards = [normal(k, (5,)).tolist() for k in keys]
    backwards = [normal(k, (5,)).tolist() for k in reversed(keys)][::-1]
    assert forwards == backwards


def test_each_part_of_a_key_gives_other_draws():
    keys = [Key(1, "a"), Key(2, "a"), Key(1, "b"), Key(1, "a", 1), Key(1, "a", 0, 1)]
    everything = np.concatenate([random_bits(k, 1000) for k in keys])
    assert len(np.unique(everything)) == len(everything)


@hypothesis.given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 9))
def test_a_mask_drawn_in_parts_equals_the_whole(rows, width, cut):
    key, cut = Key(3, "dropout", 1, 4), min(cut, rows)
    whole = keep_mask(key, (rows, width), 0.4)
    first = keep_mask(key, (cut, width), 0.4)
    rest = keep_mask(key, (rows - cut, width), 0.4, start=cut * width)
    assert np.array_equal(whole, np.concatenate([first, rest]))


def within(got: float, want: float, spread: float, n: int) -> None:
    """A mean of n draws lies within four standard errors: fixed keys, so it always does or never."""
    assert abs(got - want) < 4 * spread / math.sqrt(n), (got, want)


N = 100_000


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 5.0)])
def test_uniform_draws_fill_their_interval_evenly(low, high):
    u = uniform(Key(11, "uniform"), (N,), low, high)
    assert u.dtype == np.float32
    assert u.min() >= low
    assert u.max() < high
    within(u.mean(dtype=np.float64), (low + high) / 2, (high - low) / math.sqrt(12), N)
    counts = np.histogram(u, 20, (low, high))[0]
    assert ((counts - N / 20) ** 2 / (N / 20)).sum() < 45  # chi-squared, 19 degrees of freedom: p = 0.0007


def test_normal_draws_have_the_moments_and_tails_of_the_normal_distribution():
    z = normal(Key(12, "normal"), (N,)).astype(np.float64)
    for power, want, spread in [(1, 0, 1), (2, 1, math.sqrt(2)), (3, 0, math.sqrt(15)), (4, 3, math.sqrt(96))]:
        within((z**power).mean(), want, spread, N)
    for sigma, share in [(1, 0.317311), (2, 0.045500), (3, 0.002700)]:
        within((np.abs(z) > sigma).mean(), share, math.sqrt(share * (1 - share)), N)


def test_neighbouring_normal_draws_are_uncorrelated():
    z = normal(Key(13, "normal"), (N,)).astype(np.float64)
    for lag in (1, 2, 3, 4, 8):
        within((z[lag:] * z[:-lag]).mean(), 0, 1, N - lag)


def test_normal_draws_take_a_mean_and_a_standard_deviation():
    z = normal(Key(14, "normal"), (3, 5))
    moved = normal(Key(14, "normal"), (3, 5), mean=10.0, std=0.5)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, 10 + 0.5 * z, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_a_mask_drops_at_its_rate(rate):
    mask = keep_mask(Key(15, "dropout"), (N,), rate)
    assert mask.dtype == np.bool_
    within(1 - mask.mean(), rate, math.sqrt(rate * (1 - rate)) + 1e-9, N)


def test_a_permutation_holds_each_number_once():
    order = permutation(Key(16, "shuffle"), 1000)
    assert np.array_equal(np.sort(order), np.arange(1000))
    assert not np.array_equal(order, np.arange(1000))


def test_every_order_of_three_is_equally_likely():
    orders = [tuple(permutation(Key(17, "shuffle", 0, step), 3).tolist()) for step in range(6000)]
    counts = np.array([orders.count(order) for order in sorted(set(orders))])
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20  # chi-squared, 5 degrees of freedom: p = 0.001


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,), (2, 5, 7)], ids=str)
def test_draws_have_the_shape_asked_for(shape):
    key = Key(18, "shape")
    assert uniform(key, shape).shape == normal(key, shape).shape == keep_mask(key, shape, 0.5).shape == shape


def test_a_draw_reaches_every_backend_bit_for_bit(backend):
    key = Key(19, "any")
    for draw in (normal(key, (3, 5)), uniform(key, (3, 5)), keep_mask(key, (3, 5), 0.5), permutation(key, 9)):
        back = backend.to_numpy(backend.from_numpy(draw))
        assert back.dtype == draw.dtype
        assert back.tobytes() == draw.tobytes()


@pytest.mark.parametrize("value", [-1, LIMIT])
@pytest.mark.parametrize("name", ["seed", "epoch", "step"])
def test_a_key_outside_64_bits_is_an_error(name, value):
    with raises(ConfigError, "random", name, value):
        random_bits(Key(0, "a")._replace(**{name: value}), 1)
