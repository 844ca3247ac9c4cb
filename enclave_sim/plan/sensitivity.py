"""How far one privacy unit can move a statistic, and how large the numbers can get.

Neighbours are two states of the data that differ by adding or removing **all rows of one unit**,
everywhere. Cells are integers on a grid of 2^-f, f = `fraction_bits`; a statistic is a vector with one
cell per group. The proof is in `delta2_squared`.
"""

from __future__ import annotations

from math import prod

from yingbi.api.v1.plan_pb2 import Plan, Statistic

MAX_SLOT_BITS = 62
"""Widest cell that packing takes."""

NOISE_DEVIATIONS = 64
"""A share of noise is bounded by this many σ; see `slot_bits_needed`."""


def groups(plan: Plan) -> int:
    """All combinations of the keys' values; 1 without keys."""
    return prod(len(key.values) for key in plan.group_by)


def cells(plan: Plan) -> int:
    """Length of the vector that one unit contributes: statistics times groups."""
    return groups(plan) * len(plan.statistics)


def delta2_squared(plan: Plan, statistic: Statistic) -> int:
    """The squared L2 sensitivity of a statistic's vector of cells, in squared grid steps; exact.

    *Claim.* Adding or removing a unit moves the vector by at most the square root of

        (p · C · 2^f)²      for row_count, non_null_count and bounded_sum,
        p² · B · 2^(2f)     for distinct_units,

    with C = `clipping.max_rows`, B = `clipping.max_groups`, p = `noise.parties_per_unit`.

    *Proof.* A cell is a sum over units, and what a unit adds depends on that unit's rows alone: its
    weight is made of its own row counts, the bounds and the groups are public. So the vector moves by
    exactly the unit's own vector u, and it is enough to bound ||u||.

    One provider, counts and sums. Let m_g be the number of the unit's rows in group g after the filter.
    A row adds an integer in [-2^f, 2^f] to one cell: 2^f for row_count, 2^f or 0 for non_null_count,
    and for bounded_sum the rounded term, which is cut to that interval. So |u_g| <= m_g·2^f before
    weighting. With an integer s >= ||m||: if s <= C the unit keeps weight 1 and
    ||u|| <= 2^f·||m|| <= 2^f·s <= C·2^f. Otherwise every cell becomes u_g·C/s, rounded towards zero,
    which does not make it larger, and ||u|| <= (C/s)·2^f·||m|| <= C·2^f.

    One provider, distinct units. A unit with rows in k groups has the same w in each of them: 2^f if
    k <= B, so ||u||² = k·2^(2f) <= B·2^(2f); otherwise w = floor(sqrt(2^(2f)·B/k)), so
    ||u||² = k·w² <= B·2^(2f).

    Several providers. A unit that appears at p providers is clipped at each by itself; its vectors
    add, and by the triangle inequality the norm is at most p times the norm at one: p² in the square. ∎
    """
    step_squared = 1 << (2 * plan.fraction_bits)
    at_one = plan.clipping.max_groups if statistic.WhichOneof("kind") == "distinct_units" else plan.clipping.max_rows**2
    return plan.noise.parties_per_unit**2 * at_one * step_squared


def slot_bits_needed(plan: Plan, *, max_units: int) -> int:
    """The width, sign included, in which no opened cell overflows.

    Args:
        plan: a plan whose statistics have their σ.
        max_units: the declared public bound on the dataset's units; >= 1.

    A cell is the sum over at most `parties` providers, each with at most `max_units` units, of what one
    unit adds to one cell (at most C·2^f, or 2^f for distinct units: one coordinate of the vectors in
    `delta2_squared`), plus a share of noise from each party. A share is a discrete Gaussian, which is
    subgaussian: P(|X| > 64σ) <= 2·exp(-64²/2) < 2^-2900 (Canonne, Kamath, Steinke 2020, Corollary 17),
    so over all cells and parties of any plan the probability that 64σ does not suffice is below
    2^-1000. That failure would give a wrong number and reveal nothing: a sum modulo 2^width is a
    function of the sum.

    Returns:
        b with |cell| <= 2^(b-1) - 1. Callers refuse more than `MAX_SLOT_BITS`.
    """
    largest = max((_largest_cell(plan, statistic, max_units) for statistic in plan.statistics), default=0)
    return largest.bit_length() + 1


def total_rho_units(plan: Plan) -> int:
    """What the plan costs, in units of 10^-12 of ρ: the sum over its statistics (zCDP composes so)."""
    return sum(statistic.rho_units for statistic in plan.statistics)


def _largest_cell(plan: Plan, statistic: Statistic, max_units: int) -> int:
    per_unit = 1 if statistic.WhichOneof("kind") == "distinct_units" else plan.clipping.max_rows
    signal = (max_units * per_unit) << plan.fraction_bits
    return plan.noise.parties * (signal + NOISE_DEVIATIONS * statistic.sigma)
