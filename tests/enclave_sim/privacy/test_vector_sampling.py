"""The vector sampler: every stage against exact values, the whole against a slow sampler and against OpenDP.

The slow sampler here decides in `Decimal` at 150 digits and shares no code with the fast one. Statistical
tests draw afresh; a right sampler fails each of them with probability at most `ALARM`.
"""

import itertools
import math
import os
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri  # type: ignore[import-untyped]
from scipy.stats import binomtest, chi2, chi2_contingency, chisquare  # type: ignore[import-untyped]

from enclave_sim.privacy import sampling, vector_sampling
from enclave_sim.privacy.exact_uniform import LazyUniform, exp_bounds, half_gaussian_bounds
from enclave_sim.privacy.gaussian import MAX_SIGMA, MIN_SIGMA
from enclave_sim.privacy.sampling import sample_by_opendp, sample_share
from enclave_sim.privacy.vector_sampling import (
    MARGIN,
    Candidates,
    Decided,
    Words,
    acceptance,
    accepted,
    block_table,
    decide,
    exp_minus,
    keystream,
    sample_vector,
    settle,
)

ALARM = 1e-6
DIGITS = 150
TOP = 2**64 - 1
SIGMAS = [2, 3, 10, 1000, 10**6]

Draws = NDArray[np.int64]

words_ = st.integers(0, TOP)
sigmas = st.one_of(st.integers(MIN_SIGMA, 50), st.integers(MIN_SIGMA, MAX_SIGMA), st.just(MAX_SIGMA))


# ---- exact values, slowly


def exact_exp(numerator: int, denominator: int) -> Decimal:
    with localcontext(prec=DIGITS):
        return (Decimal(-numerator) / Decimal(denominator)).exp()


@cache
def exact_cdf(k: int) -> Decimal:
    """F(k); the sum stops at e^-800 < 10^-347 relative to the first term."""
    with localcontext(prec=DIGITS):
        terms = [exact_exp(j * j, 2) for j in range(41)]
        return sum(terms[: k + 1], Decimal(0)) / sum(terms, Decimal(0))


def is_below(digits: list[int], p: Decimal, more: Callable[[], int]) -> bool:
    """Whether the number 0.d₁d₂… in base 2^64 is below p; `digits` grows where those at hand leave it open."""
    with localcontext(prec=DIGITS):
        while True:
            unit = Decimal(2) ** (-64 * len(digits))
            known = sum((digit * Decimal(2) ** (-64 * i) for i, digit in enumerate(digits, 1)), Decimal(0))
            if known + unit <= p or known >= p:
                return known < p
            digits.append(more())


def slow_draw(candidate: tuple[int, int, int, int], sigma: int, more: Callable[[], int]) -> int | None:
    """The algorithm as the docstring of `vector_sampling` has it, for one candidate."""
    first, word, sign, coin = candidate
    if word >= 2**64 // sigma * sigma:
        return None
    digits = [first]
    block = next(k for k in itertools.count() if is_below(digits, exact_cdf(k), more))
    offset = word % sigma
    value = sigma * block + offset
    if value == 0 and sign % 2 == 1:
        return None
    if not is_below([coin], exact_exp(value**2 - (sigma * block) ** 2, 2 * sigma**2), more):
        return None
    return -value if sign % 2 else value


def no_more() -> int:
    raise AssertionError("64 bits were enough")


def replayed(seed: int) -> Words:
    """A keystream that is the same each time: for comparing samplers, never for noise."""
    encryptor = Cipher(AES(seed.to_bytes(32)), ECB()).encryptor()
    counter = itertools.count()

    def words(count: int) -> NDArray[np.uint64]:
        blocks = b"".join(next(counter).to_bytes(16) for _ in range(-(-count // 2)))
        return np.frombuffer(encryptor.update(blocks), dtype="<u8")[:count]

    return words


def candidates(*rows: tuple[int, int, int, int]) -> Candidates:
    return Candidates(*np.array(rows, dtype=np.uint64).T)


def rows_of(drawn: Candidates) -> Iterator[tuple[int, int, int, int]]:
    columns = (drawn.block, drawn.offset, drawn.sign, drawn.coin)
    return zip(*(column.tolist() for column in columns), strict=True)


# ---- bounds in integers


@given(st.integers(0, 10**40), st.integers(1, 10**40), st.sampled_from([1, 8, 64, 128, 320]))
@example(0, 1, 64)
@example(1, 2, 64)
@example(10**6, 1, 64)
def test_exp_bounds_enclose_the_value_closely(numerator: int, denominator: int, bits: int) -> None:
    numerator = min(numerator, 10**6 * denominator)
    low, high = exp_bounds(numerator, denominator, bits)
    with localcontext(prec=DIGITS):
        # The reference itself is rounded at its 150th digit.
        assert low <= exact_exp(numerator, denominator) * 2**bits * (1 + Decimal(10) ** -140)
        assert exact_exp(numerator, denominator) * 2**bits * (1 - Decimal(10) ** -140) <= high
    assert 0 <= low <= high <= low + 2


@pytest.mark.parametrize("bits", [64, 128, 256])
@pytest.mark.parametrize("k", range(25))
def test_bounds_of_the_block_distribution_enclose_it_closely(k: int, bits: int) -> None:
    low, high = half_gaussian_bounds(k, bits)
    with localcontext(prec=DIGITS):
        assert low < exact_cdf(k) * 2**bits < high
    assert high <= low + 2


def test_no_block_is_cut_off() -> None:
    """However far the table reaches, the next block has a probability that enough bits show."""
    for k in (9, 12, 20):
        assert half_gaussian_bounds(k, 64 + 2 * k * k)[1] < 2 ** (64 + 2 * k * k)


@given(words_, st.lists(words_, min_size=3, max_size=3), st.integers(1, 10**6))
@example(exp_bounds(1, 3, 64)[0], [exp_bounds(1, 3, 128)[0] % 2**64, 0, 0], 3)
@example(exp_bounds(1, 3, 64)[0], [exp_bounds(1, 3, 128)[0] % 2**64 + 1, 0, 0], 3)
@example(exp_bounds(1, 3, 64)[0] + 1, [0, 0, 0], 3)
def test_a_lazy_uniform_is_compared_as_its_full_expansion(first: int, rest: list[int], denominator: int) -> None:
    used = iter(rest)
    below = LazyUniform(first, lambda: next(used)).is_below(lambda bits: exp_bounds(1, denominator, bits))
    with localcontext(prec=DIGITS):
        whole = sum(Decimal(word) / Decimal(2) ** (64 * i) for i, word in enumerate([first, *rest], 1))
        assert below == (whole < exact_exp(1, denominator))


# ---- floats that decide comparisons


def test_exp_minus_is_as_accurate_as_claimed() -> None:
    grid = np.concatenate([np.linspace(0, 9.5, 5_000), np.geomspace(2.0**-106, 9.5, 1_000), [0.0, 9.5]])
    for exponent, found in zip(grid.tolist(), exp_minus(grid).tolist(), strict=True):
        numerator, denominator = exponent.as_integer_ratio()
        low, high = exp_bounds(numerator, denominator, 100)
        assert low - 2**58 < int(found * 2**100) < high + 2**58


@given(st.integers(0, 9), words_, sigmas)
@example(0, 0, MAX_SIGMA)
@example(9, MAX_SIGMA - 1, MAX_SIGMA)
@example(9, MAX_SIGMA - 2, MAX_SIGMA - 1)
@example(0, 1, 2)
def test_the_probability_of_acceptance_is_as_accurate_as_claimed(block: int, word: int, sigma: int) -> None:
    offset = word % sigma
    estimate = float(acceptance(np.array([block]), np.array([offset], dtype=np.uint64), sigma)[0])
    exact = exact_exp(offset * (offset + 2 * sigma * block), 2 * sigma**2)
    with localcontext(prec=DIGITS):
        assert abs(Decimal(estimate) - exact) < Decimal(2) ** -41


def test_the_table_of_blocks_leaves_everything_open_that_it_does_not_cover() -> None:
    table = block_table()
    assert int(table.last[-1]) == TOP
    assert len(table.low) == 10
    assert all(low <= last for low, last in zip(table.low, table.last, strict=True))
    assert all(last < low for last, low in itertools.pairwise([*table.last[:-1], table.low[-1]]))
    # `acceptance` is proven for blocks up to 9, and these are the ones that are decided.
    block, is_open = vector_sampling.blocks(np.array([0, TOP - 1, TOP], dtype=np.uint64))
    assert block.tolist() == [0, 9, 9]
    assert is_open.tolist() == [False, False, True]


# ---- one candidate


def near(center: int) -> st.SearchStrategy[int]:
    return st.integers(-3, 3).map(lambda step: min(max(center + step, 0), TOP))


@st.composite
def delicate_candidates(draw: st.DrawFn) -> tuple[tuple[int, int, int, int], int]:
    """Words next to where each of the decisions turns, and any words."""
    sigma = draw(sigmas)
    edges = [near(half_gaussian_bounds(k, 64)[0]) for k in range(10)]
    first = draw(st.one_of(words_, *edges))
    word = draw(st.one_of(words_, st.just(0), near(2**64 // sigma * sigma), st.integers(0, 2).map(lambda n: n * sigma)))
    block, offset = sum(first >= half_gaussian_bounds(k, 64)[1] for k in range(10)), word % sigma
    turn = exp_bounds(offset * (offset + 2 * sigma * block), 2 * sigma**2, 64)[0]
    within_margin = st.integers(-(2**29), 2**29).map(lambda step: min(max(turn + step, 0), TOP))
    coin = draw(st.one_of(words_, near(turn), within_margin))
    return (first, word, draw(st.integers(0, 3)), coin), sigma


@settings(max_examples=400)
@given(delicate_candidates(), st.lists(words_, min_size=10, max_size=10))
@example(((TOP, 0, 1, 0), 2), [TOP, 0, 0, 0])
@example(((TOP, 0, 0, TOP), 2), [TOP] * 2 + [0] * 8)
@example(((0, 0, 1, 0), 2), [0])
@example(((0, 0, 0, TOP), 2), [0])
# Between the first two blocks, and of an offset that makes 0 of the first: its negative would start again.
@example(((half_gaussian_bounds(0, 64)[0], 0, 1, 0), MAX_SIGMA), [TOP] + [0] * 9)
def test_a_candidate_is_decided_as_the_real_numbers_would(
    case: tuple[tuple[int, int, int, int], int], more: list[int]
) -> None:
    candidate, sigma = case
    slow_bits, bits = iter(more), iter(more)
    expected = slow_draw(candidate, sigma, lambda: next(slow_bits))
    assert settle(candidate, sigma, lambda: next(bits)) == expected
    decided = decide(candidates(candidate), sigma)
    if not decided.open[0]:
        assert (int(decided.values[0]) if decided.accepted[0] else None) == expected


def test_far_in_the_tail_more_bits_tell_the_block() -> None:
    """The first 640 bits of F(25), as a uniform number, are in block 25 or 26 by the bit that follows."""
    sigma, low = MAX_SIGMA, half_gaussian_bounds(25, 640)[0]
    first, *rest = [low >> 64 * i & TOP for i in reversed(range(10))]
    for last, block in ((0, 25), (TOP, 26)):
        follow = iter([*rest, last])
        assert settle((first, 1, 1, 0), sigma, lambda follow=follow: next(follow)) == -(block * sigma + 1)  # type: ignore[misc]


# ---- the whole


@pytest.mark.parametrize("sigma", [2, 3, 10, 1000, 10**9 + 7, MAX_SIGMA - 1, MAX_SIGMA])
def test_the_sampler_equals_a_slow_one_on_the_same_bits(sigma: int) -> None:
    cells, recorded = 1_000, []
    words = replayed(sigma)

    def recording(count: int) -> NDArray[np.uint64]:
        recorded.append(words(count))
        return recorded[-1]

    noise = sample_vector(cells, sigma, recording)
    rows = [row for block in recorded for row in rows_of(Candidates(*block.reshape(4, -1)))]
    slow = [value for row in rows if (value := slow_draw(row, sigma, no_more)) is not None]
    assert noise == slow[:cells]


@pytest.mark.parametrize("sigma", [2, 1000, MAX_SIGMA])
def test_settling_every_candidate_gives_the_same_values_in_the_same_order(sigma: int) -> None:
    drawn = Candidates(*replayed(1)(4 * 700).reshape(4, 700))
    fast, settled = decide(drawn, sigma), decide(drawn, sigma, margin=2.0)
    assert not fast.open.any()
    assert not settled.accepted.any()
    assert settled.open.sum() >= fast.accepted.sum()
    assert accepted(drawn, fast, sigma, replayed(2)) == accepted(drawn, settled, sigma, replayed(2))


def test_a_settled_value_takes_its_place_and_may_exceed_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_sampling, "settle", lambda candidate, *_: 2**70 if candidate[0] else None)
    decided = Decided(
        values=np.array([5, 0, 6, 0, 7, 0]),
        accepted=np.array([True, False, True, False, False, False]),
        open=np.array([False, True, False, True, False, True]),
    )
    drawn = candidates(*[(first, 0, 0, 0) for first in (0, 1, 0, 0, 0, 1)])
    assert accepted(drawn, decided, 2, replayed(0)) == [5, 2**70, 6, 2**70]


def test_what_is_not_a_number_is_settled_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Candidates(*replayed(3)(4 * 300).reshape(4, 300))
    right = accepted(drawn, decide(drawn, 10), 10, replayed(4))
    monkeypatch.setattr(vector_sampling, "acceptance", lambda block, *_: np.full(len(block), np.nan))
    assert accepted(drawn, decide(drawn, 10), 10, replayed(4)) == right


def test_hardly_anything_needs_settling() -> None:
    drawn = Candidates(*keystream()(4 * 100_000).reshape(4, -1))
    # P[open] < 2^-34 for one candidate: two among 100,000 have a probability below 1e-10.
    assert decide(drawn, 1000).open.sum() < 2
    assert 2.0**-40 < MARGIN <= 2.0**-35


@pytest.mark.parametrize("cells", [0, 1, 2, 256, 257, 40_000])
def test_there_is_a_draw_for_every_cell(cells: int) -> None:
    for sample in (sample_vector, sample_share):
        noise = sample(cells, MAX_SIGMA)
        # Among 40,000 draws at this σ two are equal with a probability below 1e-7.
        assert len(noise) == len(set(noise)) == cells
        assert all(type(draw) is int for draw in noise)


def test_few_cells_come_from_opendp_and_many_from_the_vector_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "sample_by_opendp", lambda cells, _: [-1] * cells)
    monkeypatch.setattr(sampling, "sample_vector", lambda cells, _: [1] * cells)
    assert sample_share(256, 2) == [-1] * 256
    assert sample_share(257, 2) == [1] * 257


# ---- where bits come from


def test_the_keystream_is_aes_in_counter_mode_under_a_key_from_the_operating_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int] = []

    def urandom(size: int) -> bytes:
        asked.append(size)
        return bytes([7] * size)

    monkeypatch.setattr(os, "urandom", urandom)
    words = keystream()
    blocks = b"".join((int.from_bytes(bytes([7] * 16)) + i).to_bytes(16) for i in range(4))
    expected = Cipher(AES(bytes([7] * 32)), ECB()).encryptor().update(blocks)
    assert words(5).tobytes() + words(3).tobytes() == expected
    assert asked == [32, 16]


def test_every_call_has_bits_of_its_own() -> None:
    drawn = [*sample_vector(300, MAX_SIGMA), *sample_vector(300, MAX_SIGMA)]
    assert len(set(drawn)) == 600


# ---- the distribution


def cdf(values: NDArray[np.int64], sigma: int) -> NDArray[np.float64]:
    """P[X <= v]: a sum up to σ = 1000; above, the normal law between integers is off by less than 1/(12σ²)."""
    if sigma > 1000:
        return np.asarray(ndtr((values + 0.5) / sigma), dtype=np.float64)
    support = np.arange(-12 * sigma, 12 * sigma + 1)
    weights = np.exp(-(support.astype(float) ** 2) / (2 * sigma**2))
    return np.asarray((np.cumsum(weights) / weights.sum())[values + 12 * sigma])


def edges_of(sigma: int) -> NDArray[np.int64]:
    return np.unique(np.round(np.linspace(-2.5, 2.5, 25) * sigma).astype(np.int64))


def histogram(draws: Draws, sigma: int) -> NDArray[np.int64]:
    """How many draws are in (edge, next edge], the two outer bins included."""
    edges = edges_of(sigma)
    return np.bincount(np.searchsorted(edges, draws, side="left"), minlength=len(edges) + 1)


def p_values(draws: Draws, sigma: int) -> dict[str, float]:
    """How surprising independent draws of N_Z(0, σ²) would be in several ways, each uniform or above it."""
    size, scaled = len(draws), draws / sigma
    expected = np.diff(cdf(edges_of(sigma), sigma), prepend=0, append=1) * size
    squares = float((scaled**2).sum())
    beyond = 2 * float(cdf(np.array([-4 * sigma - 1]), sigma)[0])
    normal_scores = {
        "mean": scaled.sum() / math.sqrt(size),
        "neighbours": (scaled[1:] * scaled[:-1]).sum() / math.sqrt(size - 1),
    }
    return {
        "histogram": float(chisquare(histogram(draws, sigma), expected).pvalue),
        "variance": 2 * min(float(chi2.cdf(squares, size)), float(chi2.sf(squares, size))),
        "tail": float(binomtest(int((np.abs(draws) > 4 * sigma).sum()), size, beyond).pvalue),
        **{name: 2 * float(ndtr(-abs(score))) for name, score in normal_scores.items()},
    }


def caught(draws: Draws, sigma: int) -> set[str]:
    """The tests that fail. Limit laws are good at these sizes; a tenth of `ALARM` leaves room for their error."""
    found = p_values(draws, sigma)
    return {name for name, p in found.items() if p < ALARM / 10 / len(found)}


SAMPLES = 1_000_000


def draw(sigma: int, samples: int = SAMPLES) -> Draws:
    return np.array(sample_vector(samples, sigma), dtype=np.int64)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_draws_have_the_distribution(sigma: int) -> None:
    assert not caught(draw(sigma), sigma)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_draws_and_opendps_are_of_one_distribution(sigma: int) -> None:
    opendp = np.array(sample_by_opendp(15_000, sigma), dtype=np.int64)
    table = [histogram(opendp, sigma), histogram(draw(sigma, 300_000), sigma)]
    assert chi2_contingency(table).pvalue > ALARM / 10


@pytest.mark.parametrize(("sigma", "wrong"), [(1000, 1010), (1000, 990), (10**6, 1_010_000)])
def test_a_sigma_off_by_one_percent_is_caught(sigma: int, wrong: int) -> None:
    assert {"histogram", "variance"} <= caught(draw(wrong), sigma)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_a_cut_tail_is_caught(sigma: int) -> None:
    drawn = draw(sigma, 3 * SAMPLES)
    assert "tail" in caught(drawn[np.abs(drawn) <= 4 * sigma], sigma)


def test_a_wrong_probability_of_acceptance_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_the_square(block: Draws, offset: NDArray[np.uint64], sigma: int) -> NDArray[np.float64]:
        return exp_minus(block * offset.astype(float) / sigma)

    monkeypatch.setattr(vector_sampling, "acceptance", without_the_square)
    assert "histogram" in caught(draw(1000, 200_000), 1000)


def test_a_zero_of_both_signs_is_caught() -> None:
    drawn = draw(10)
    doubled = np.concatenate([drawn, drawn[drawn == 0]])
    assert "histogram" in caught(doubled, 10)


def test_continuous_noise_cut_to_integers_is_caught() -> None:
    normal = np.asarray(ndtri((keystream()(SAMPLES) >> np.uint64(11)).astype(float) * 2.0**-53 + 2.0**-54))
    assert caught((normal * 10).astype(np.int64), 10)
