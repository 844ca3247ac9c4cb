"""The mechanism: a vector of integers plus the sum of n discrete Gaussian shares in every cell.

Each of n parties adds noise drawn from N_Z(0, σ²), P[x] ∝ exp(−x² / 2σ²) over the integers,
independently per cell; only the sum is opened. With d cells and squared L2 sensitivity Δ² (between
neighbours: all rows of one privacy unit added or removed) the release is ρ-zCDP for

    ρ = ½ · (Δ / (√n·σ) + τ·√d)²,     τ = 10 · Σ_{k=1}^{n−1} exp(−2π²σ²·k / (k + 1)),  σ >= ½ .

Source: Kairouz, Liu, Steinke, "The Distributed Discrete Gaussian Mechanism for Federated Learning
with Secure Aggregation" (ICML 2021, arXiv 2102.06387), Theorem 1 and Proposition 14 (third bound).
For n = 1 it is the plain discrete Gaussian: Canonne, Kamath, Steinke (arXiv 2004.00010), Theorem 4.

Why it holds; S_n is the sum of n shares, Q_n is N_Z(0, nσ²):

1. N_Z(0, a) + N_Z(0, b), compared with N_Z(0, a + b): completing the square, the ratio of
   probabilities at z is, up to a constant, Σ_x exp(−(x − z·a/(a+b))² / 2s²) with s² = ab / (a+b). By
   Poisson summation that is proportional to 1 + 2·Σ_{j>=1} exp(−2π²s²j²)·cos(2πj·za/(a+b)), which
   lies in 1 ± 2R, R = Σ_{j>=1} exp(−2π²s²j²). After normalising, the log ratio is at most
   log((1 + 2R) / (1 − 2R)) <= 5·exp(−2π²s²) for s² >= 1/8.
2. Adding an independent share keeps a pointwise bound on the log ratio, so with a = kσ², b = σ² and
   s² = σ²·k/(k + 1), induction gives |log P[S_n = z] − log P[Q_n = z]| <= τ/2 at every z.
3. Two distributions within τ/2 of each other in that sense are ½(τ/2)²-close at every order of zCDP
   (Bun, Steinke, arXiv 1605.02065, Proposition 3.3); over d independent cells ½(τ√d/2)².
4. Q_n shifted by Δ against Q_n is ½(Δ/√n·σ)² (arXiv 2004.00010, Proposition 5).
5. Closeness of the form ½ε² obeys a triangle inequality in ε (arXiv 1605.02065, Lemma 5.2 with the
   best split). The path shifted S_n → shifted Q_n → Q_n → S_n has length τ√d/2 + Δ/(√n·σ) + τ√d/2.

`parties` is the number of shares that an observer does *not* know: with t curious among n parties,
n − t. Shares beyond that are post-processing. Everything in this module that is part of the claim is
an integer or a `Fraction`, rounded up.
"""

from fractions import Fraction
from functools import lru_cache
from math import ceil, isqrt

from yingbi.api.zcdp import RHO_UNITS

MIN_SIGMA = 2
"""Here τ is 7e-17 for two parties and below 2e-16 for five; at σ = ½ it would already be 0.8."""

MAX_SIGMA = 2**53
"""The largest σ up to which every integer is a float, as OpenDP takes it.

OpenDP's i64 arithmetic saturates, which would truncate the noise. A discrete Gaussian is sub-Gaussian,
E[e^{tX}] = e^{t²σ²/2} · Σ_x e^{−(x − tσ²)²/2σ²} / Σ_x e^{−x²/2σ²} <= e^{t²σ²/2} (by Poisson summation the
shifted sum is not the larger one), so P[|X| >= m] <= 2·exp(−m²/2σ²), and at σ <= 2^53 a share reaches
2^62 with probability at most 2·exp(−2^17) < 2^-189,000: for 2^64 cells still below 2^-188,000.
"""

MAX_PARTIES = 10_000

# A rational below 2π²/ln 2 = 28.47765…, so that exp(−2π²x) <= 2^(−_EXPONENT·x).
_EXPONENT = Fraction(284_776, 10_000)
# Smaller powers of two are replaced by this one: still an upper bound, and numbers stay short.
_LARGEST_EXPONENT = 1024
# Square roots are bounded above to this many binary places.
_ROOT_BITS = 64


class SigmaTooLargeError(ValueError):
    """The noise asked for is beyond what is sampled exactly: use a coarser grid or more budget."""

    def __init__(self, sigma: int) -> None:
        super().__init__(f"sigma per share must be at most 2^53, not {sigma}")
        self.sigma = sigma


def rho_units_of(delta2_squared: int, sigma: int, parties: int, cells: int) -> int:
    """The ρ of the mechanism, in 1 / `RHO_UNITS`, rounded up.

    Args:
        delta2_squared: Δ² >= 1, in squared grid steps.
        sigma: σ of one share, from `MIN_SIGMA`, in grid steps.
        parties: shares in the sum, 1 to `MAX_PARTIES`.
        cells: d >= 1.

    Raises:
        ValueError: an argument is out of range.
    """
    _check_query(delta2_squared, parties, cells)
    check_sigma(sigma)
    main = Fraction(delta2_squared, parties * sigma**2)
    tau = deviation(sigma, parties)
    cross = 2 * tau * _root_above(main * cells)
    return ceil((main + cross + tau**2 * cells) * RHO_UNITS / 2)


def sigma_for(delta2_squared: int, rho_units: int, parties: int, cells: int) -> int:
    """The smallest integer σ >= `MIN_SIGMA` per share that costs at most `rho_units`.

    Where a smaller σ than `MIN_SIGMA` would do, `MIN_SIGMA` is the answer: more noise is always
    valid, and `rho_units_of` then tells the lower price.

    Args:
        delta2_squared, parties, cells: as in `rho_units_of`.
        rho_units: >= 1.

    Raises:
        SigmaTooLargeError: σ would exceed `MAX_SIGMA`.
        ValueError: an argument is out of range.
    """
    _check_query(delta2_squared, parties, cells)
    if rho_units < 1:
        raise ValueError(f"rho_units must be at least 1, not {rho_units}")
    # With τ = 0 the answer would be √(Δ² / 2nρ), and τ > 0 cannot make it smaller.
    sigma = max(MIN_SIGMA, _ceil_root(ceil(Fraction(delta2_squared * RHO_UNITS, 2 * parties * rho_units))))
    # τ is so small from σ = 2 on that this loop takes a step or two, if any.
    while sigma <= MAX_SIGMA and rho_units_of(delta2_squared, sigma, parties, cells) > rho_units:
        sigma += 1
    if sigma > MAX_SIGMA:
        raise SigmaTooLargeError(sigma)
    return sigma


@lru_cache(maxsize=1024)
def deviation(sigma: int, parties: int) -> Fraction:
    """An upper bound of τ, the deviation of the sum from one discrete Gaussian; 0 for one party."""
    check_sigma(sigma)
    _check_parties(parties)
    exponents = (int(_EXPONENT * sigma**2 * k / (k + 1)) for k in range(1, parties))
    return 10 * sum((Fraction(1, 2 ** min(e, _LARGEST_EXPONENT)) for e in exponents), Fraction(0))


def mechanism_name(parties: int, curious: int = 0) -> str:
    """How releases and receipts name the mechanism that is charged: the sum of the shares that nobody curious knows.

    Args:
        parties: shares in the released sum, 1 to `MAX_PARTIES`.
        curious: how many parties may subtract their own, from 0 and below `parties`.

    Raises:
        ValueError: an argument is out of range.
    """
    _check_parties(parties)
    _check_parties(parties - curious)
    unknown = parties - curious
    name = "discrete Gaussian" if unknown == 1 else f"sum of {unknown} discrete Gaussian shares"
    return f"{name}, of {parties} added, against {curious} curious" if curious else name


def _root_above(value: Fraction) -> Fraction:
    """A rational at or above √value, at most 2^-64 too large."""
    scaled = ceil(value * 4**_ROOT_BITS)
    return Fraction(_ceil_root(scaled), 2**_ROOT_BITS)


def _ceil_root(value: int) -> int:
    """⌈√value⌉ for value >= 1."""
    return isqrt(value - 1) + 1


def _check_query(delta2_squared: int, parties: int, cells: int) -> None:
    if delta2_squared < 1:
        raise ValueError(f"the squared sensitivity must be at least 1, not {delta2_squared}")
    _check_parties(parties)
    if cells < 1:
        raise ValueError(f"cells must be at least 1, not {cells}")


def _check_parties(parties: int) -> None:
    if not 1 <= parties <= MAX_PARTIES:
        raise ValueError(f"parties must be from 1 to {MAX_PARTIES}, not {parties}")


def check_sigma(sigma: int) -> None:
    """Raise ValueError or SigmaTooLargeError unless `MIN_SIGMA` <= σ <= `MAX_SIGMA`."""
    if sigma < MIN_SIGMA:
        raise ValueError(f"sigma must be at least {MIN_SIGMA}, not {sigma}")
    if sigma > MAX_SIGMA:
        raise SigmaTooLargeError(sigma)
