"""What an enclave refuses of a dataset that is partly closed, whatever the gateway let through."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.protobuf import text_format
from yingbi.api.v1.dataset_pb2 import (
    SERVICE_FORM_DATA,
    SERVICE_FORM_INTERFACE,
    SERVICE_FORM_MODEL,
    DatasetDeclaration,
    ServiceForm,
)
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.verification_pb2 import VerificationDeclaration, VerificationField

from enclave_sim.plan.schema import DeclarationError, find_column
from enclave_sim.plan.services import check_closed, check_forbidden, check_served, forbidden_columns
from enclave_sim.plan.validation import PlanError, check_plan

FORMS = {SERVICE_FORM_DATA: "data", SERVICE_FORM_MODEL: "model", SERVICE_FORM_INTERFACE: "interface"}
PLANS = {
    SERVICE_FORM_INTERFACE: "statistics { row_count {} }",
    SERVICE_FORM_DATA: "statistics { row_count {} } synthesis {}",
    SERVICE_FORM_MODEL: "statistics { row_count {} } fit {}",
}


def closed(declaration: DatasetDeclaration, *names: str) -> DatasetDeclaration:
    """The declaration with columns of `visits` on its negative list."""
    changed = DatasetDeclaration.FromString(declaration.SerializeToString())
    for name in names:
        column = find_column(changed.tables[0], name)
        assert column is not None
        column.forbidden = True
    return changed


def served(declaration: DatasetDeclaration, *forms: ServiceForm.ValueType) -> DatasetDeclaration:
    changed = DatasetDeclaration.FromString(declaration.SerializeToString())
    changed.forms.extend(forms)
    return changed


@pytest.mark.requirement("GRD-08")
def test_a_good_plan_is_refused_once_a_column_that_it_reads_is_forbidden(
    plan: Plan, declaration: DatasetDeclaration
) -> None:
    check_plan(plan, declaration, dataset_version=plan.dataset_version)
    check_plan(plan, closed(declaration, "note"), dataset_version=plan.dataset_version)
    for name in ("days", "ward"):
        with pytest.raises(PlanError, match=rf"reads visits\.{name}, which no plan may read"):
            check_plan(plan, closed(declaration, name), dataset_version=plan.dataset_version)


SCAN = 'relation { projection { input { scan { table: "visits" } } columns { name: "x" expression { %s } } } }'
COLUMN = 'column { name: "note" type: COLUMN_TYPE_STRING }'


@pytest.mark.requirement("GRD-08")
@pytest.mark.parametrize(
    "text",
    [
        SCAN % COLUMN,
        SCAN % f"call {{ function: FUNCTION_LOWER operands {{ {COLUMN} }} }}",
        'program { tables { table: "visits" columns: "note" } }',
        f'relation {{ scan {{ table: "visits" }} }} group_by {{ expression {{ {COLUMN} }} }}',
    ],
)
def test_it_is_found_wherever_it_is_read_though_nothing_uses_it(text: str, declaration: DatasetDeclaration) -> None:
    plan = text_format.Parse(text, Plan())
    check_forbidden(plan, declaration)
    check_forbidden(plan, closed(declaration, "pulse"))
    with pytest.raises(PlanError, match=r"visits\.note"):
        check_forbidden(plan, closed(declaration, "note"))


@pytest.mark.requirement("GRD-09")
@pytest.mark.parametrize("form", FORMS)
def test_a_plan_of_a_form_that_is_not_enabled_is_refused(
    form: ServiceForm.ValueType, declaration: DatasetDeclaration
) -> None:
    plan = text_format.Parse(PLANS[form], Plan())
    check_served(plan, declaration)
    check_served(plan, served(declaration, form))
    others = [each for each in FORMS if each != form]
    with pytest.raises(PlanError, match=f"is {FORMS[form]}; the dataset is served as"):
        check_served(plan, served(declaration, *others))


@pytest.mark.requirement("GRD-09")
def test_a_good_plan_is_refused_in_a_form_that_is_not_enabled(plan: Plan, declaration: DatasetDeclaration) -> None:
    with pytest.raises(PlanError, match="form: is interface"):
        check_plan(plan, served(declaration, SERVICE_FORM_MODEL), dataset_version=plan.dataset_version)


def test_a_first_stage_serves_questions_and_trainings(declaration: DatasetDeclaration) -> None:
    stage = text_format.Parse("statistics { unit_norms {} }", Plan())
    for form in (SERVICE_FORM_MODEL, SERVICE_FORM_INTERFACE):
        check_served(stage, served(declaration, form))
    with pytest.raises(PlanError):
        check_served(stage, served(declaration, SERVICE_FORM_DATA))


def _forbidden_unit(declaration: DatasetDeclaration) -> None:
    declaration.tables[0].columns[0].forbidden = True


def _forbidden_claim(declaration: DatasetDeclaration) -> None:
    declaration.tables[1].columns[1].forbidden = True
    declaration.verification.CopyFrom(
        VerificationDeclaration(fields=[VerificationField(table="patients", column="age")])
    )


def _claims_without_interface(declaration: DatasetDeclaration) -> None:
    declaration.verification.SetInParent()
    declaration.forms.append(SERVICE_FORM_DATA)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (_forbidden_unit, "tables.visits.columns.id.forbidden"),
        (_forbidden_claim, "verification.fields.patients"),
        (_claims_without_interface, "forms"),
        (lambda declaration: declaration.forms.extend([SERVICE_FORM_DATA, SERVICE_FORM_DATA]), "forms"),
        (lambda declaration: declaration.forms.append(0), "forms"),
    ],
)
def test_what_fits_ill_is_not_declared(
    change: Callable[[DatasetDeclaration], None], path: str, declaration: DatasetDeclaration
) -> None:
    changed = DatasetDeclaration.FromString(declaration.SerializeToString())
    check_closed(changed)
    change(changed)
    with pytest.raises(DeclarationError) as refusal:
        check_closed(changed)
    assert refusal.value.field_path == path


def test_the_list_is_by_table(declaration: DatasetDeclaration) -> None:
    assert forbidden_columns(declaration) == frozenset()
    assert forbidden_columns(closed(declaration, "note", "pulse")) == {"visits.note", "visits.pulse"}
