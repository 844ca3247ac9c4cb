"""Planning sees everything but the negative list; here for evaluations, which name columns in several parts."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.schema import find_column
from enclave_sim.plan.services import check_forbidden
from gateway.planning.evaluation import plan_evaluation
from gateway.planning.readable import readable
from tests.evaluated import VERSION, asked, declaration
from tests.onnx_models import logistic

MODEL = logistic([1.0, 2.0, 3.0])


def without(*names: str) -> DatasetDeclaration:
    changed = declaration()
    for name in names:
        column = find_column(changed.tables[0], name)
        assert column is not None
        column.forbidden = True
    return changed


def planned(listed: DatasetDeclaration, **parts: str) -> Plan:
    with readable(listed) as seen:
        query = asked(MODEL, "binary", **parts)
        return plan_evaluation(query, seen, dataset_version=VERSION, parties=3, epsilon=1.0, delta=1e-6).plan


@pytest.mark.requirement("GRD-08")
@pytest.mark.parametrize(
    ("name", "parts", "field"),
    [
        ("bmi", {}, "inputs"),
        ("bmi", {"rows": "people"}, "inputs"),
        ("status", {}, "response"),
        ("note", {"by": "note = 'x'"}, "by"),
        ("note", {"rows": "people", "where": "note = 'x'"}, "where"),
    ],
)
def test_a_forbidden_column_is_refused_in_whichever_part_names_it(name: str, parts: dict[str, str], field: str) -> None:
    with pytest.raises(Problem) as refusal:
        planned(without(name), **parts)
    assert (refusal.value.kind, refusal.value.code) == (Kind.REFUSED, "forbidden_column")
    assert refusal.value.field == field


def test_others_are_asked_as_before() -> None:
    listed = without("note")
    check_forbidden(planned(listed), listed)
    with pytest.raises(Problem) as refusal:
        planned(listed, by="agee > 3")
    assert refusal.value.code == "unknown_column"


def test_without_a_list_the_declaration_is_seen_as_it_is() -> None:
    whole = declaration()
    with readable(whole) as seen:
        assert seen is whole
