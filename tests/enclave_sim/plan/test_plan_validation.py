"""Every lie that a plan can tell is found by the enclave's own check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from yingbi.api.v1 import plan_pb2
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_BOOL,
    COLUMN_TYPE_FLOAT64,
    COLUMN_TYPE_INT64,
    COLUMN_TYPE_STRING,
    ColumnReference,
    ColumnType,
    Expression,
    GroupKey,
    Plan,
    RangeCounts,
    Relation,
    Value,
)

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.plan.validation import check_plan

from .conftest import price

VERSION = b"12345678901234567890123456789012"
Change = Callable[[Plan], Any]


def check(plan: Plan, declaration: DatasetDeclaration) -> None:
    check_plan(plan, declaration, dataset_version=VERSION)


def column(name: str, column_type: ColumnType.ValueType) -> Expression:
    return Expression(column=ColumnReference(name=name, type=column_type))


def test_a_good_plan_is_accepted(plan: Plan, declaration: DatasetDeclaration) -> None:
    check(plan, declaration)
    assert total_rho_units(plan) == sum(statistic.rho_units for statistic in plan.statistics)


def many_joint(plan: Plan) -> None:
    """More statistics than a joint vector has."""
    plan.statistics.extend([plan.statistics[0]] * 61)
    plan.clipping.joint_norm = 16


LIES: dict[str, tuple[str, Change]] = {
    "another language": ("language_version", lambda p: setattr(p, "language_version", 1)),
    "another dataset": ("dataset", lambda p: setattr(p, "dataset", "other")),
    "an old version of the data": ("dataset_version", lambda p: setattr(p, "dataset_version", b"1" * 32)),
    "another table": (
        "relation.selection.input.scan.table",
        lambda p: setattr(p.relation.selection.input.scan, "table", "VISITS"),
    ),
    "half the sigma": ("statistics[0].rho_units", lambda p: setattr(p.statistics[0], "sigma", 500_000)),
    "a sigma of 1": ("statistics[0].sigma", lambda p: setattr(p.statistics[0], "sigma", 1)),
    "a sigma of 0": ("statistics[3].sigma", lambda p: setattr(p.statistics[3], "sigma", 0)),
    "a price too low": ("statistics[1].rho_units", lambda p: setattr(p.statistics[1], "rho_units", 1)),
    "a price too high by 1": (
        "statistics[1].rho_units",
        lambda p: setattr(p.statistics[1], "rho_units", p.statistics[1].rho_units + 1),
    ),
    "larger clipping at the old price": ("statistics[0].rho_units", lambda p: setattr(p.clipping, "max_rows", 6)),
    "no clipping": ("clipping.max_rows", lambda p: setattr(p.clipping, "max_rows", 0)),
    "clipping out of range": ("clipping.max_rows", lambda p: setattr(p.clipping, "max_rows", 2**20 + 1)),
    "no groups": ("clipping.max_groups", lambda p: setattr(p.clipping, "max_groups", 0)),
    "more groups than there are": ("clipping.max_groups", lambda p: setattr(p.clipping, "max_groups", 3)),
    "another grid": ("fraction_bits", lambda p: setattr(p, "fraction_bits", 15)),
    "nobody to add noise": ("noise.parties", lambda p: setattr(p.noise, "parties", 0)),
    "more parties than price": ("statistics[0].rho_units", lambda p: setattr(p.noise, "parties", 4)),
    "units at more providers": ("noise.parties_per_unit", lambda p: setattr(p.noise, "parties_per_unit", 3)),
    "narrow slots": ("slot_bits", lambda p: setattr(p, "slot_bits", p.slot_bits - 1)),
    "wide slots": ("slot_bits", lambda p: setattr(p, "slot_bits", p.slot_bits + 1)),
    "a smaller epsilon than is spent": ("epsilon", lambda p: setattr(p, "epsilon", 0.001)),
    "an epsilon of NaN": ("epsilon", lambda p: setattr(p, "epsilon", float("nan"))),
    "a delta of 0": ("delta", lambda p: setattr(p, "delta", 0.0)),
    "no statistics": ("statistics", lambda p: p.ClearField("statistics")),
    "257 statistics": ("statistics", lambda p: p.statistics.extend([p.statistics[0]] * 253)),
    "65 joint statistics": ("statistics", many_joint),
    "a statistic without kind": ("statistics[0]", lambda p: p.statistics[0].ClearField("row_count")),
    "bounds upside down": (
        "statistics[1].bounded_sum.lower",
        lambda p: setattr(p.statistics[1].bounded_sum, "lower", 300.0),
    ),
    "bounds wider than the range": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "upper", 200.00000000000003),
    ),
    "a centre off the middle": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "centre", 114.0),
    ),
    "a half range of 0": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "half_range", 0.0),
    ),
    "an infinite half range": (
        "statistics[1].bounded_sum.half_range",
        lambda p: setattr(p.statistics[1].bounded_sum, "half_range", float("inf")),
    ),
    "a bound that is NaN": (
        "statistics[1].bounded_sum.lower",
        lambda p: setattr(p.statistics[1].bounded_sum, "lower", float("nan")),
    ),
    "the sum of a string": (
        "statistics[1].bounded_sum.term",
        lambda p: p.statistics[1].bounded_sum.term.CopyFrom(column("note", COLUMN_TYPE_STRING)),
    ),
    "the sum of the unit": (
        "statistics[1].bounded_sum.term.column",
        lambda p: p.statistics[1].bounded_sum.term.CopyFrom(column("id", COLUMN_TYPE_INT64)),
    ),
    "a count of the unit": (
        "statistics[2].non_null_count.term.column",
        lambda p: p.statistics[2].non_null_count.term.CopyFrom(column("id", COLUMN_TYPE_INT64)),
    ),
    "a count of nothing": (
        "statistics[2].non_null_count.term",
        lambda p: p.statistics[2].non_null_count.ClearField("term"),
    ),
    "a filter that is no condition": (
        "statistics[0].filter",
        lambda p: p.statistics[0].filter.CopyFrom(column("days", COLUMN_TYPE_INT64)),
    ),
    "a filter on the unit": (
        "statistics[3].filter.null_test.operand.column",
        lambda p: p.statistics[3].filter.null_test.operand.CopyFrom(column("id", COLUMN_TYPE_INT64)),
    ),
    "an empty filter": ("statistics[0].filter", lambda p: p.statistics[0].filter.SetInParent()),
    "ranges of a string": (
        "statistics[4].range_counts.term",
        lambda p: p.statistics[4].range_counts.term.CopyFrom(column("note", COLUMN_TYPE_STRING)),
    ),
    "ranges upside down": (
        "statistics[4].range_counts.lower",
        lambda p: setattr(p.statistics[4].range_counts, "lower", 8.0),
    ),
    "ranges without end": (
        "statistics[4].range_counts.upper",
        lambda p: setattr(p.statistics[4].range_counts, "upper", float("inf")),
    ),
    "ranges wider than a double": (
        "statistics[4].range_counts.upper",
        lambda p: p.statistics[4].range_counts.MergeFrom(RangeCounts(lower=-1e308, upper=1e308)),
    ),
    "a tree that does not branch": (
        "statistics[4].range_counts.branching",
        lambda p: setattr(p.statistics[4].range_counts, "branching", 1),
    ),
    "a tree of too many branches": (
        "statistics[4].range_counts.branching",
        lambda p: setattr(p.statistics[4].range_counts, "branching", 1025),
    ),
    "a tree without levels": (
        "statistics[4].range_counts.levels",
        lambda p: setattr(p.statistics[4].range_counts, "levels", 0),
    ),
    "a tree of too many levels": (
        "statistics[4].range_counts.levels",
        lambda p: setattr(p.statistics[4].range_counts, "levels", 2**32 - 1),
    ),
    "a tree of too many nodes": ("statistics", lambda p: setattr(p.statistics[4].range_counts, "levels", 17)),
    "another level at the old price": (
        "statistics[4].rho_units",
        lambda p: setattr(p.statistics[4].range_counts, "levels", 4),
    ),
    "groups by the unit": (
        "group_by[0].expression.column",
        lambda p: p.group_by[0].expression.CopyFrom(column("id", COLUMN_TYPE_INT64)),
    ),
    "groups by nothing": ("group_by[0].expression", lambda p: p.group_by[0].ClearField("expression")),
    "groups by a column of another type": (
        "group_by[0].expression.column",
        lambda p: setattr(p.group_by[0].expression.column, "type", COLUMN_TYPE_BOOL),
    ),
    "a group twice": ("group_by[0].values[2]", lambda p: p.group_by[0].values.add(string_value="east")),
    "a group of another type": ("group_by[0].values[2]", lambda p: p.group_by[0].values.add(bool_value=True)),
    "a group of a long name": ("group_by[0].values[2]", lambda p: p.group_by[0].values.add(string_value="x" * 1001)),
    "a group without value": ("group_by[0].values[2]", lambda p: p.group_by[0].values.add()),
    "a key without values": ("group_by[0].values", lambda p: p.group_by[0].ClearField("values")),
    "a key twice": ("group_by", lambda p: p.group_by.append(p.group_by[0])),
    "too many groups": (
        "group_by",
        lambda p: p.group_by[0].values.extend(Value(string_value=str(number)) for number in range(100_000)),
    ),
    "a statistic that is not computed": (
        "statistics[0].unit_norms",
        lambda p: p.statistics[0].unit_norms.edges.append(1),
    ),
    "a selection of keys": ("key_selection", lambda p: p.key_selection.SetInParent()),
    "no relation": ("relation", lambda p: p.ClearField("relation")),
}


@pytest.mark.parametrize(("path", "change"), LIES.values(), ids=LIES.keys())
def test_a_lie_is_refused(plan: Plan, declaration: DatasetDeclaration, path: str, change: Change) -> None:
    change(plan)
    with pytest.raises(PlanError) as caught:
        check(plan, declaration)
    assert caught.value.path == path


# All that `check_plan` looks at. A field that comes to the language comes here together with its check.
FIELDS: dict[str, set[str]] = {
    "Plan": {
        *("language_version", "dataset", "dataset_version", "relation", "group_by", "statistics", "clipping"),
        *("fraction_bits", "noise", "slot_bits", "outputs", "epsilon", "delta", "grouping_sets", "presentation"),
        *("key_selection", "program", "fit", "evaluation", "synthesis"),
    },
    "Program": {"sha256", "tables", "blocks", "block_millis"},
    "ProgramTable": {"table", "columns"},
    "BlockOutput": {"lower", "upper", "absent", "tree"},
    "Fit": {"model", "formula", "columns", "intercept", "moments", "alpha", "round", "classes"}
    | {"components", "response", "standardized", "class_weights"},
    "ClassWeights": {"balanced", "weights"},
    "ClassWeight": {"value", "weight"},
    "TrainingRound": {
        *(
            "number",
            "rounds",
            "centres",
            "scales",
            "transform",
            "parameters",
            "max_residual",
            "network",
            "max_gradient",
            "binned_gradient",
            "class_weights",
            "scored",
            "score_limit",
            "objective",
            "units",
            "units_error",
        )
    },
    "FitColumn": {"name", "factors", "centre", "half_range", "lower", "upper", "levels"},
    "FitFactor": {"variable", "level"},
    "Relation": {"scan", "selection", "projection", "unit_aggregation", "unit_ranking", "unit_join"},
    "UnitMeasure": {"name", "function", "argument", "filter"},
    "UnitRanking": {"input", "name", "partition_by", "order_by"},
    "UnitJoin": {"left", "right", "kind", "condition", "max_left_rows", "max_right_rows"},
    "Expression": {
        *("column", "literal", "comparison", "conjunction", "disjunction", "negation", "membership", "null_test"),
        *("call", "conditional", "pattern", "look_up"),
    },
    "LookUp": {"operand", "entries", "type"},
    "Statistic": {
        *("row_count", "non_null_count", "bounded_sum", "distinct_units", "range_counts", "unit_norms"),
        *("block_outputs", "model_vector", "sigma", "rho_units", "filter", "marginal"),
    },
    "ModelVector": {
        *("terms", "max_norm", "generalized_linear", "nearest_centre", "network", "binned_gradient"),
        *("second_moments", "class_weights", "score"),
    },
    "Score": {"limit"},
    "NearestCentre": {"centres", "max_distance"},
    "GeneralizedLinear": {
        *("family", "classes", "parameters", "transform", "max_length", "max_residual", "max_exponent"),
    },
    "SecondMoments": {"products"},
    "Network": {"family", "classes", "hidden", "parameters", "scales", "shifts"},
    "BinnedGradient": {"family", "features", "intercept", "scale", "shift"},
    "Bins": {"edges", "scores"},
    "Model": {"sha256", "inputs", "output", "width", "reading", "column"},
    "Evaluation": {"model", "task", "response", "by", "classes", "bins", "lower", "upper", "error"},
    "EvaluationKey": {"name", "values"},
    "Measure": {"count", "sum", "mean", "quantile", "distinct_values", "range_count", "block_mean", "block_median"},
    "Output": {"name", "key", "measure", "formula", "labels"},
    "Formula": {"measure", "constant", "operation", "window"},
    "Window": {"function", "operands", "partition_by", "order_by", "frame", "offset"},
    "Frame": {"start", "end", "peers"},
    "Presentation": {"having", "order_by", "limit", "offset", "qualify"},
    "OutputOrdering": {"output", "formula", "key", "descending", "nulls_first"},
}


@pytest.mark.parametrize(("message", "fields"), FIELDS.items(), ids=FIELDS.keys())
def test_the_check_knows_every_field(message: str, fields: set[str]) -> None:
    assert {field.name for field in plan_pb2.DESCRIPTOR.message_types_by_name[message].fields} == fields


def spread(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Units are at all three providers now; the noise still fits the stated ε."""
    declaration.units_disjoint = False
    plan.noise.parties_per_unit = 3
    for statistic in plan.statistics:
        statistic.sigma *= 3
    price(plan)


def test_units_at_several_providers_are_never_counted_as_distinct(plan: Plan, declaration: DatasetDeclaration) -> None:
    spread(plan, declaration)
    with pytest.raises(PlanError, match="distinct"):
        check(plan, declaration)


WHOLE_UNITS = {
    "an aggregation": "unit_aggregation { input { scan { table: 'visits' } } }",
    "a ranking": "unit_ranking { input { scan { table: 'visits' } } name: 'place' }",
    "a join": "unit_join { left { scan { table: 'visits' } } right { scan { table: 'patients' } } kind: KIND_INNER "
    "max_left_rows: 5 max_right_rows: 1 }",
}


@pytest.mark.parametrize("text", WHOLE_UNITS.values(), ids=WHOLE_UNITS.keys())
@pytest.mark.parametrize("disjoint", [True, False])
def test_nothing_is_made_of_all_rows_of_a_unit_that_is_at_several_providers(
    plan: Plan, declaration: DatasetDeclaration, text: str, disjoint: bool
) -> None:
    del plan.statistics[1:], plan.outputs[2:], plan.group_by[:], plan.outputs[0]
    plan.clipping.max_groups = 1
    plan.relation.CopyFrom(text_format.Parse(text, Relation()))
    price(plan)
    if not disjoint:
        spread(plan, declaration)
        with pytest.raises(PlanError, match="all rows of a unit") as caught:
            check(plan, declaration)
        assert caught.value.path == "relation"
        plan.relation.CopyFrom(
            text_format.Parse(
                "selection { input { scan { table: 'visits' } } condition { literal { bool_value: true } } }",
                Relation(),
            )
        )
    check(plan, declaration)


KEYS: dict[str, tuple[str, list[Value]]] = {
    "undeclared values": ('column { name: "note" type: COLUMN_TYPE_STRING }', [Value(string_value="")]),
    "whole numbers": ('column { name: "days" type: COLUMN_TYPE_INT64 }', [Value(int64_value=-7), Value(int64_value=8)]),
    "numbers": ('column { name: "pulse" type: COLUMN_TYPE_FLOAT64 }', [Value(float64_value=0.5)]),
    "dates": ('column { name: "day" type: COLUMN_TYPE_DATE }', [Value(date_days=0)]),
    "moments": ('column { name: "moment" type: COLUMN_TYPE_TIMESTAMP }', [Value(timestamp_micros=5)]),
    "truth values": ("null_test { operand { literal { int64_value: 0 } } }", [Value(bool_value=False)]),
}


@pytest.mark.parametrize(("text", "constants"), KEYS.values(), ids=KEYS.keys())
def test_groups_are_made_by_any_expression_and_any_listed_values(
    plan: Plan, declaration: DatasetDeclaration, text: str, constants: list[Value]
) -> None:
    plan.group_by[0].CopyFrom(GroupKey(expression=text_format.Parse(text, Expression()), values=constants))
    plan.clipping.max_groups = 1
    price(plan)
    check(plan, declaration)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -0.0])
def test_a_group_of_a_number_is_finite_and_there_once(
    plan: Plan, declaration: DatasetDeclaration, number: float
) -> None:
    values = [Value(float64_value=0.0), Value(float64_value=number)]
    plan.group_by[0].CopyFrom(GroupKey(expression=column("pulse", COLUMN_TYPE_FLOAT64), values=values))
    with pytest.raises(PlanError) as caught:
        check(plan, declaration)
    assert caught.value.path == "group_by[0].values[1]"


def test_cells_that_no_slot_holds_are_refused(plan: Plan, declaration: DatasetDeclaration) -> None:
    declaration.max_units = 2**43
    with pytest.raises(PlanError, match="bits"):
        check(plan, declaration)
