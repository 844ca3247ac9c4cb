"""How far one privacy unit can move a statistic, and how large the numbers can get.

Neighbours are two states of the data that differ by adding or removing **all rows of one unit**,
everywhere. Cells are integers on a grid of 2^-f, f = `fraction_bits`; a statistic is a vector with
`width` cells for each of its groups. The proof is in `delta2_squared`.
"""

from __future__ import annotations

from math import prod

from yingbi.api import model_vectors
from yingbi.api.v1.plan_pb2 import BlockOutput, Plan, Statistic

from enclave_sim.privacy.accounting import Charge
from enclave_sim.privacy.clipping import SIXTEENTHS

JOINABLE = ("row_count", "non_null_count", "bounded_sum")
"""Statistics that a joint vector is made of."""

_ONE_EACH = ("distinct_units", "unit_norms", "block_outputs")

MAX_SLOT_BITS = 62
"""Widest cell that packing takes."""

NOISE_DEVIATIONS = 64
"""A share of noise is bounded by this many σ; see `slot_bits_needed`."""


def groups(plan: Plan) -> int:
    """All combinations of the keys' values; 1 without keys."""
    return prod(len(key.values) for key in plan.group_by)


def width(statistic: Statistic) -> int:
    """Cells that the statistic has for each group: a tree's nodes, the cells between edges of norms, a
    program's outputs, a model's vector, else 1.

    `statistic` is one that `statistics.check_statistic` accepts: elsewhere the number is of any size.
    """
    if statistic.HasField("unit_norms"):
        return len(statistic.unit_norms.edges) + 1
    if statistic.HasField("block_outputs"):
        return sum(map(output_width, statistic.block_outputs.outputs))
    if statistic.HasField("model_vector"):
        return model_vectors.width(statistic.model_vector)
    if not statistic.HasField("range_counts"):
        return 1
    tree = statistic.range_counts
    return sum(tree.branching**level for level in range(1, tree.levels + 1))


def output_width(output: BlockOutput) -> int:
    """Cells of one output of a program: its tree's nodes, or one; `output` as for `width`."""
    if not output.HasField("tree"):
        return 1
    return sum(output.tree.branching**level for level in range(1, output.tree.levels + 1))


def groups_of(plan: Plan, statistic: Statistic) -> int:
    """The groups that a statistic has cells for: the plan's, or those of its marginal's keys alone."""
    if not statistic.HasField("marginal"):
        return groups(plan)
    return prod(len(plan.group_by[key].values) for key in statistic.marginal.keys)


def cells_of(plan: Plan, statistic: Statistic) -> int:
    """Cells of one statistic; `plan` as for `width`."""
    return groups_of(plan, statistic) * width(statistic)


def cells(plan: Plan) -> int:
    """Length of the vector that one unit contributes; `plan` as for `width`."""
    return sum(cells_of(plan, statistic) for statistic in plan.statistics)


def is_joint(plan: Plan, statistic: Statistic) -> bool:
    """Whether a statistic is part of the plan's joint vector: one clipping, one σ and one price for all of it."""
    return plan.clipping.joint_norm > 0 and statistic.WhichOneof("kind") in JOINABLE


def delta2_squared(plan: Plan, statistic: Statistic) -> int:
    """The squared L2 sensitivity of a statistic's vector of cells, in squared grid steps, rounded up.

    *Claim.* Adding or removing a unit moves the vector by at most the square root of

        (p · J · 2^f / 16)² for all joint statistics together (`is_joint`),
        (p · C · 2^f)²      for row_count, non_null_count and bounded_sum otherwise,
        L · (p · C · 2^f)²  for range_counts with L levels,
        p² · B · 2^(2f)     for distinct_units,
        p² · 2^(2f)         for unit_norms,
        p² · W · 2^(2f)     for block_outputs, W being 1 for each output without a tree and 2·L for one with L levels,
        (p · N)²            for model_vector, N being its own max_norm,

    with C = `clipping.max_rows`, B = `clipping.max_groups`, J = `clipping.joint_norm` and
    p = `noise.parties_per_unit`.

    *Proof.* A cell is a sum over units, and what a unit adds depends on that unit's rows alone: the rows of
    the relation that are its own are made of its own stored rows (`relations`), expressions, filters and
    group keys look at one row each, what a model says of a row is made of that row alone (`models`; with coins that
    are each row's own), its weight is made of its own row counts, and everything else in the plan (bounds,
    groups, ranges) is public. So the vector moves by exactly the unit's own vector u, and it
    is enough to bound ||u||. u = 0 for a unit that has no rows in any group.

    One provider, counts and sums. Let m_g be the number of the unit's rows of the relation in group g; a row
    is in one group at most, since a key's values are different. A row adds an integer in [-2^f, 2^f] to one
    cell: 2^f for row_count, 2^f or 0 for non_null_count, for bounded_sum the rounded term, which is cut to
    that interval, and 0 where the statistic's filter is not true. So |u_g| <= m_g·2^f before weighting;
    a filter takes away from u_g and leaves m_g as it is. With an integer s >= ||m||: if s <= C the unit
    keeps weight 1 and ||u|| <= 2^f·||m|| <= 2^f·s <= C·2^f. Otherwise every cell becomes u_g·C/s, rounded
    towards zero, which does not make it larger, and ||u|| <= (C/s)·2^f·||m|| <= C·2^f.

    One provider, a marginal. The statistic's groups are unions of the plan's groups, which do not overlap, and the
    rows are those that are in a group of the plan. So a row is in one of them at most, and what was said of counts
    and sums holds with m_g, u_g and s taken over these groups: a unit is weighed by the norm over the statistic's own
    groups. A marginal is a release by itself, whose price is added to the others'.

    One provider, the joint vector. Let v be the unit's cells before weighting, of all joint statistics in all
    groups, q = ⌈16·|v_i| / 2^f⌉ of each and s >= ||q|| an integer: ||v|| <= s·2^f / 16. If s <= J the unit keeps
    v; otherwise every cell becomes v_i·J/s, rounded towards zero, and the norm is (J/s)·||v|| at most. Either way
    it is within J·2^f / 16. Nothing was used of v but that it is made of this unit's rows alone.

    One provider, range counts. On one level a row adds 2^f to one node of its group, or nothing where x is
    NULL or the filter is not true. So the nodes' values v_j >= 0 in group g add up to m_g·2^f at most, and
    Σ_j v_j² <= (Σ_j v_j)² <= (m_g·2^f)²: the level's vector has the norm that u has above, is weighed by the
    same C/s and ends within C·2^f. The levels are different cells; their squares add up to L·(C·2^f)².

    One provider, distinct units. A unit that has rows for which the filter is true in k groups has the same w
    in each of them, and 0 elsewhere: w = 2^f if k <= B, so ||u||² = k·2^(2f) <= B·2^(2f); otherwise
    w = floor(sqrt(2^(2f)·B/k)), so ||u||² = k·w² <= B·2^(2f).

    One provider, unit norms. A unit with rows adds 2^f to one cell.

    One provider, block outputs (sample and aggregate: Nissim, Raskhodnikova, Smith 2007; GUPT: Mohan et al. 2012).
    Here a cell is no sum over units but over a public number of blocks, and a unit does not add a vector of its own: it
    changes what a block adds, made of that block's units' rows alone, whatever the program is and does; a block without
    units adds a constant of the plan. To the cell of an output without a tree a block adds an integer in [0, 2^f];
    of one with a tree, 2^f to one node of each level and 0 to all others, also where it has no units or no result.
    Where the unit is, and in which order units come, is drawn for each unit by itself (`engine.programs`). So with the
    same draws for everybody else, a unit changes what one block adds, and nothing else. A cell without a tree changes
    by at most 2^f. On one level of a tree the block is at another node than before, or at the same: two cells change by
    2^f, or none does. Over all cells ||difference||² <= W·2^(2f).

    One provider, a model's vector. What a unit adds is made of its own rows and of constants of the plan: its rows'
    vectors, their mean, and integers of that. The last step cuts these to a norm of N whatever they are
    (`enclave_sim.privacy.vector_clipping` has the proof), so ||u|| <= N; of the kernel and of floats nothing is
    used but that what they make of a unit does not depend on who else is there, bit for bit: products and lengths
    are exact (`enclave_sim.engine.models.exact_products`), means are of numbers on a grid, the rest is done number
    by number. Of some kinds a unit with few rows has products of factors that are cut so
    (`enclave_sim.privacy.product_clipping`), and products of terms are cut as a matrix is
    (`enclave_sim.privacy.square_clipping`); a unit's own rows say which way it goes. Parameters of a later round are
    constants of its plan, and public.

    Several providers. A unit that appears at p providers is clipped at each by itself; its vectors
    add, and by the triangle inequality the norm is at most p times the norm at one: p² in the square. ∎

    Outputs, grouping sets and the presentation are computed from the opened cells and are no part of this.
    """
    if statistic.HasField("model_vector"):
        return (plan.noise.parties_per_unit * statistic.model_vector.max_norm) ** 2
    step_squared = 1 << (2 * plan.fraction_bits)
    if is_joint(plan, statistic):
        in_sixteenths = (plan.noise.parties_per_unit * plan.clipping.joint_norm) ** 2 * step_squared
        return -(-in_sixteenths // SIXTEENTHS**2)
    return plan.noise.parties_per_unit**2 * _at_one_provider(plan, statistic) * step_squared


def slot_bits_needed(plan: Plan, *, max_units: int) -> int:
    """The width, sign included, in which no opened cell overflows.

    Args:
        plan: a plan whose statistics have their σ.
        max_units: the declared public bound on the dataset's units; >= 1.

    A cell is the sum over at most `parties` providers, each with at most `max_units` units, of what one
    unit adds to one cell (at most C·2^f, or J·2^f / 16, or N, or 2^f for distinct units: one coordinate of the vectors
    in `delta2_squared`), or, of block outputs, each with `blocks` blocks of at most 2^f; plus a share of noise
    from each party. A share is a discrete Gaussian, which is
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
    """What the plan costs, in units of 10^-12 of ρ: all statistics and the key selection (zCDP composes so)."""
    return sum(statistic.rho_units for statistic in plan.statistics) + plan.key_selection.rho_units


def delta0_units(plan: Plan) -> int:
    """What the plan costs in δ₀ of approximate zCDP, in units of 10^-18: that of its key selection."""
    return plan.key_selection.delta0_units


def charge_of(plan: Plan) -> Charge:
    """What the plan takes from every budget."""
    return Charge(total_rho_units(plan), delta0_units(plan))


def is_first_stage(plan: Plan) -> bool:
    """Whether what is released is not an answer, but keys and bounds for the plan of one."""
    return plan.HasField("key_selection") or any(each.HasField("unit_norms") for each in plan.statistics)


def _at_one_provider(plan: Plan, statistic: Statistic) -> int:
    match statistic.WhichOneof("kind"):
        case "distinct_units":
            return plan.clipping.max_groups
        case "unit_norms":
            return 1
        case "block_outputs":
            return sum(2 * each.tree.levels or 1 for each in statistic.block_outputs.outputs)
        case "range_counts":
            return statistic.range_counts.levels * plan.clipping.max_rows**2
        case "row_count" | "non_null_count" | "bounded_sum":
            return plan.clipping.max_rows**2
        case other:
            raise ValueError(f"nothing is known of the sensitivity of {other}")


def _largest_cell(plan: Plan, statistic: Statistic, max_units: int) -> int:
    # What one provider adds up: units, or blocks.
    terms = plan.program.blocks if statistic.HasField("block_outputs") else max_units
    signal = (terms * _most_rows(plan, statistic)) << plan.fraction_bits
    if statistic.HasField("model_vector"):
        signal = terms * statistic.model_vector.max_norm
    return plan.noise.parties * (signal + NOISE_DEVIATIONS * statistic.sigma)


def _most_rows(plan: Plan, statistic: Statistic) -> int:
    """That one unit counts for in one cell."""
    if is_joint(plan, statistic):
        return -(-plan.clipping.joint_norm // SIXTEENTHS)
    return 1 if statistic.WhichOneof("kind") in _ONE_EACH else plan.clipping.max_rows
