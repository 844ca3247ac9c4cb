"""From a model to evaluate to a plan that every enclave accepts, or to a reason why not, and where."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import text_format
from yingbi.api import zcdp
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import EvaluateQuery
from yingbi.api.v1.plan_pb2 import Evaluation, Plan, Value

from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.sensitivity import delta2_squared, total_rho_units
from enclave_sim.plan.statistics import MAX_BRANCHING
from enclave_sim.plan.validation import check_plan
from gateway.planning.evaluation import evaluation_notes, plan_evaluation, words_of
from tests.evaluated import VERSION, asked, declaration, plan_of
from tests.onnx_models import linear, logistic, softmax

MODEL = logistic([1.0, 2.0, 3.0])
FILES = {"binary": MODEL, "multiclass": softmax([[1.0] * 3] * 3), "regression": linear([1.0, 2.0, 3.0])}


@pytest.mark.parametrize("task", FILES)
@pytest.mark.parametrize("by", ["", "male", "male, age > 50"])
@pytest.mark.parametrize("disjoint", [True, False])
def test_plans_are_accepted_and_cost_what_was_asked(task: str, by: str, disjoint: bool) -> None:
    plan = plan_of(asked(FILES[task], task, by=by), units_disjoint=disjoint)
    check_plan(plan, declaration(units_disjoint=disjoint), dataset_version=VERSION)
    bought = zcdp.rho_units_for(1.0, 1e-6, zcdp.kept_delta0_units(1e-6))
    assert 0.99 * bought < total_rho_units(plan) <= bought
    # A person counts once: a table of any size moves by 1 at each provider that a person may be at.
    for statistic in plan.statistics:
        assert delta2_squared(plan, statistic) == (1 if disjoint else 9) * 2**32
    assert evaluation_notes(plan, declaration())


def test_a_larger_table_has_no_more_noise_in_a_cell() -> None:
    small, large = (plan_of(asked(MODEL, "binary", by=by, bins=20)) for by in ("", "male, age > 50, bmi > 30"))
    sigmas = [plan.statistics[0].sigma for plan in (small, large)]
    assert large.statistics[0].range_counts.branching == 8 * small.statistics[0].range_counts.branching
    # But for the smoothing of so many more cells.
    assert sigmas[1] == pytest.approx(sigmas[0], rel=1e-3)


def test_scores_are_told_apart_more_finely_where_there_are_more_people() -> None:
    bins = [plan_of(asked(MODEL, "binary"), max_units=units).evaluation.bins for units in (100, 10_000, 10_000_000)]
    assert bins == sorted(set(bins))
    assert all(each % 2 == 0 and 10 <= each <= 100 for each in bins)
    many = plan_of(asked(MODEL, "binary", by="FLOOR(age / 5)", where="age >= 0 AND age < 100"), max_units=10**7)
    assert many.statistics[0].range_counts.branching <= MAX_BRANCHING


def test_declared_classes_are_in_ascending_order_or_as_they_are_named() -> None:
    file = FILES["multiclass"]
    assert [each.string_value for each in plan_of(asked(file, "multiclass")).evaluation.classes] == [
        "alive",
        "dead",
        "lost",
    ]
    named = [Value(string_value=each) for each in ("lost", "alive", "dead")]
    assert list(plan_of(asked(file, "multiclass", classes=named)).evaluation.classes) == named


def test_what_is_asked_stands_in_one_line() -> None:
    query = asked(MODEL, "binary", by="male", where="age > 20", rows="people")
    said = words_of(query)
    assert said.startswith(f"EVALUATE binary {query.sha256.hex()} ON age, bmi, male FOR status = 'dead'")
    assert said.endswith("FROM people WHERE age > 20 BY male")


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "an unknown input": ("unknown_column", "inputs", {"inputs": "age, bmi, weight"}),
    "an unknown response": ("unknown_column", "response", {"response": "outcome = 1"}),
    "no inputs": ("inputs", "inputs", {"inputs": "  "}),
    "two responses": ("response", "response", {"response": "male, age"}),
    "an input that is text": ("not_numeric", "inputs", {"inputs": "age, bmi, status"}),
    "a response that is a number": ("not_binary", "response", {"response": "age"}),
    "a response that is text": ("not_binary", "response", {"response": "status"}),
    "groups without values": ("undeclared_values", "by", {"by": "note"}),
    "groups of numbers": ("undeclared_values", "by", {"by": "age"}),
    "too many groups": ("too_many_groups", "by", {"by": "FLOOR(age / 0.1) :: INT", "where": "age >= 0 AND age <= 100"}),
    "too many ranges for the groups": ("too_many_groups", "by", {"by": "male, status", "bins": 400}),
    "another statement": ("inputs", "inputs", {"inputs": "age FROM people"}),
    "groups in where": ("not_supported", "where", {"where": "age > 1 GROUP BY male"}),
    "a syntax error in where": ("sql_syntax", "where", {"where": "age >"}),
    "an unknown table": ("unknown_table", "rows", {"rows": "visits"}),
    "a wrong width": ("output", "output", {"width": 3}),
    "no output": ("output", "output", {"output": ""}),
    "no hash": ("model", "model", {"sha256": b"x"}),
    "scores upside down": ("scores", "scores", {"lower": 1.0, "upper": 0.0}),
    "too many ranges": ("bins", "bins", {"bins": 5000}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_evaluated_is_refused_with_the_part_at_fault(what: str) -> None:
    code, field, parts = REFUSED[what]
    query = asked(MODEL, "binary")
    query.MergeFrom(EvaluateQuery(**{name: value for name, value in parts.items() if name not in ("inputs", "output")}))
    for name in ("inputs", "output"):
        if name in parts:
            setattr(query, name, parts[name])
    with pytest.raises(Problem) as caught:
        plan_of(query)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.kind in (Kind.MALFORMED, Kind.REFUSED, Kind.UNKNOWN)


def test_places_are_told_in_the_part_that_they_are_in() -> None:
    with pytest.raises(Problem) as caught:
        plan_of(asked(MODEL, "binary", by="male, agee > 3", rows="people"))
    assert (caught.value.field, caught.value.position) == ("by", "1:7")
    with pytest.raises(Problem) as caught:
        plan_of(asked(MODEL, "binary", where="male AND\n note + 1 > 2"))
    assert caught.value.field == "where"
    assert (caught.value.position or "").startswith("2:")


def test_numbers_need_bounds_and_classes_values() -> None:
    with pytest.raises(Problem) as caught:
        plan_of(asked(FILES["regression"], "regression", response="note"))
    assert caught.value.code == "no_bounds"
    with pytest.raises(Problem) as caught:
        plan_of(asked(FILES["multiclass"], "multiclass", response="note"))
    assert caught.value.code == "undeclared_values"
    for classes in ([Value(string_value="alive")] * 3, [Value(string_value="x")] * 3, [Value(int64_value=1)] * 3):
        with pytest.raises(Problem) as caught:
            plan_of(asked(FILES["multiclass"], "multiclass", classes=classes))
        assert caught.value.field == "classes"


def test_rows_in_several_tables_are_joined_on_the_person() -> None:
    declared = declaration()
    more = text_format.Parse(
        'name: "labs" max_rows_per_unit: 4 columns { name: "id" type: COLUMN_TYPE_INT64 role: ROLE_UNIT }'
        ' columns { name: "hdl" type: COLUMN_TYPE_FLOAT64 role: ROLE_ATTRIBUTE lower: 0 upper: 100 }',
        type(declared.tables[0])(),
    )
    declared.tables.append(more)
    query = asked(MODEL, "binary", inputs="age, hdl, male")
    plan = planned(query, declared)
    check_plan(plan, declared, dataset_version=VERSION)
    assert "JOIN" in planned_text(plan)


def planned(query: EvaluateQuery, declared: DatasetDeclaration) -> Plan:
    return plan_evaluation(query, declared, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-6).plan


def planned_text(plan: Plan) -> str:
    return str(plan.relation).upper()


LIES: dict[str, Callable[[Plan], object]] = {
    "another input": lambda p: p.evaluation.model.inputs.append("nothing"),
    "an input that is no number": lambda p: p.evaluation.model.inputs.append("whole"),
    "no hash": lambda p: p.evaluation.model.ClearField("sha256"),
    "no reading": lambda p: p.evaluation.model.ClearField("reading"),
    "a place beyond the output": lambda p: setattr(p.evaluation.model, "column", 1),
    "a huge output": lambda p: setattr(p.evaluation.model, "width", 10**6),
    "a column of the model's name": lambda p: setattr(p.relation.projection.columns[0], "name", "prediction"),
    "no task": lambda p: p.evaluation.ClearField("task"),
    "a range upside down": lambda p: setattr(p.evaluation, "upper", -1.0),
    "more rows of a person at the old price": lambda p: setattr(p.clipping, "max_rows", 2),
    "a person at three providers at the price of one": lambda p: setattr(p.noise, "parties_per_unit", 3),
    "less noise": lambda p: setattr(p.statistics[0], "sigma", p.statistics[0].sigma - 1),
    "a group that is in no column": lambda p: p.evaluation.by.add(name="x"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_enclave_refuses_a_plan_that_was_made_otherwise(lie: str) -> None:
    plan = plan_of(asked(MODEL, "binary"))
    LIES[lie](plan)
    with pytest.raises(PlanError):
        check_plan(plan, declaration(), dataset_version=VERSION)


def test_tasks_have_their_numbers() -> None:
    assert [plan_of(asked(FILES[task], task)).evaluation.task for task in FILES] == [
        Evaluation.TASK_BINARY,
        Evaluation.TASK_MULTICLASS,
        Evaluation.TASK_REGRESSION,
    ]
