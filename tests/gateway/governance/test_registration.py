"""What a gateway refuses to register, whatever made the declaration: not every client reads a YAML file."""

from __future__ import annotations

import pytest
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder
from yingbi.api.v1.dataset_pb2 import ColumnDeclaration, DatasetDeclaration, RegisterDatasetRequest, TableDeclaration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_INT64

from gateway.governance.registration import check_registration

EPOCH = KeyEpoch(holders=[KeyHolder(node="node-1")])


def declared(each: float | None) -> RegisterDatasetRequest:
    unit = ColumnDeclaration(name="person", type=COLUMN_TYPE_INT64, role=ColumnDeclaration.ROLE_UNIT)
    declaration = DatasetDeclaration(
        dataset="visits",
        zone="clinic",
        title={"en": "Visits"},
        grade=1,
        source="made up",
        privacy_unit="person",
        unit_namespace="visits",
        max_units=3000,
        units_disjoint=True,
        budget_epsilon=2.0,
        budget_delta=1e-7,
        budget_each_organisation_epsilon=each,
        tables=[TableDeclaration(name="visits", max_rows_per_unit=4, columns=[unit])],
    )
    return RegisterDatasetRequest(declaration=declaration.SerializeToString(deterministic=True))


@pytest.mark.parametrize("each", [None, 1.0, 2.0])
def test_a_share_of_the_budget_may_be_declared(each: float | None) -> None:
    """What is missing then is shards."""
    with pytest.raises(Problem) as refusal:
        check_registration(declared(each), EPOCH)
    assert refusal.value.code == "bad_shards"


@pytest.mark.parametrize("each", [0.0, -1.0, 2.1, float("nan"), float("inf")])
def test_a_share_that_limits_nothing_or_everything_is_refused(each: float) -> None:
    with pytest.raises(Problem) as refusal:
        check_registration(declared(each), EPOCH)
    assert (refusal.value.kind, refusal.value.code) == (Kind.MALFORMED, "metadata")
    assert "budget.each_organisation.epsilon" in refusal.value.message


def test_more_curious_providers_than_leave_an_honest_one_are_refused() -> None:
    request = declared(None)
    declaration = DatasetDeclaration.FromString(request.declaration)
    declaration.curious_providers = 1
    request.declaration = declaration.SerializeToString(deterministic=True)
    with pytest.raises(Problem, match="curious_providers") as refusal:
        check_registration(request, EPOCH)
    assert refusal.value.code == "metadata"
