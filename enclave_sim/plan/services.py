"""What a dataset's owner closed: service forms that are not enabled, and columns of the negative list.

An enclave applies both to every plan, whatever the gateway let through. `check_forbidden` keeps the list because
`columns_read` is all that a plan's release is a function of: a column that is not in it changes no released cell.

Keeps: GRD-07, GRD-08, GRD-09
"""

from __future__ import annotations

from yingbi.api.v1.dataset_pb2 import (
    SERVICE_FORM_DATA,
    SERVICE_FORM_INTERFACE,
    SERVICE_FORM_MODEL,
    DatasetDeclaration,
    ServiceForm,
)
from yingbi.api.v1.plan_pb2 import Plan

from enclave_sim.plan.columns_read import columns_read
from enclave_sim.plan.errors import require
from enclave_sim.plan.schema import DeclarationError, is_unit
from enclave_sim.plan.sensitivity import is_first_stage

FORM_NAMES: dict[ServiceForm.ValueType, str] = {
    SERVICE_FORM_DATA: "data",
    SERVICE_FORM_MODEL: "model",
    SERVICE_FORM_INTERFACE: "interface",
}


def check_closed(declaration: DatasetDeclaration) -> None:
    """Refuse a declaration whose forms or negative list mean nothing, or fit ill with what it offers.

    Raises:
        DeclarationError: the first rule broken, with the path in the YAML file.
    """
    known = len(set(declaration.forms)) == len(declaration.forms) and set(declaration.forms) <= set(FORM_NAMES)
    _require(known, "forms", f"must be different ones of {', '.join(FORM_NAMES.values())}")
    for table in declaration.tables:
        for column in table.columns:
            path = f"tables.{table.name}.columns.{column.name}.forbidden"
            _require(not (column.forbidden and is_unit(column)), path, "every plan reads the privacy unit")
    _check_verification(declaration)


def forbidden_columns(declaration: DatasetDeclaration) -> frozenset[str]:
    """The negative list: each "table.column"."""
    return frozenset(
        f"{table.name}.{column.name}" for table in declaration.tables for column in table.columns if column.forbidden
    )


def offers(declaration: DatasetDeclaration, form: ServiceForm.ValueType) -> bool:
    """Whether the dataset is served in this form."""
    return not declaration.forms or form in declaration.forms


def forms_of(plan: Plan) -> frozenset[ServiceForm.ValueType]:
    """In which forms a plan would be served; a first stage may be that of a question or of a training.

    What is released decides, not what is said to be made of it: a step of training without a model is one.
    """
    is_trained = plan.HasField("fit") or any(each.HasField("model_vector") for each in plan.statistics)
    if plan.HasField("program") or plan.HasField("evaluation") or is_trained:
        return frozenset({SERVICE_FORM_MODEL})
    if plan.HasField("synthesis"):
        return frozenset({SERVICE_FORM_DATA})
    return frozenset({SERVICE_FORM_INTERFACE, *([SERVICE_FORM_MODEL] if is_first_stage(plan) else [])})


def check_served(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Refuse a plan of a form that is not enabled; raises PlanError."""
    forms = forms_of(plan)
    served = ", ".join(FORM_NAMES[form] for form in declaration.forms)
    asked = " or ".join(sorted(FORM_NAMES[form] for form in forms))
    require(
        any(offers(declaration, form) for form in forms), "form", f"is {asked}; the dataset is served as {served} alone"
    )


def check_forbidden(plan: Plan, declaration: DatasetDeclaration) -> None:
    """Refuse a plan that reads a column of the negative list, wherever in it; raises PlanError."""
    listed = forbidden_columns(declaration)
    if listed:
        read = sorted(listed & columns_read(plan, declaration))
        require(not read, "relation", f"reads {', '.join(read)}, which no plan may read")


def check_closed_since(plan: Plan, declared: DatasetDeclaration, newest: DatasetDeclaration) -> None:
    """Refuse a plan for a version whose owner has brought a newer one, by which they closed what it does.

    Closed are forms, columns of the negative list and those that are left out, and what takes other approvals,
    agreements or noise than the plan's version did.

    Args:
        plan: one that `validation.check_plan` accepts for `declared`.
        declared: of the plan's version.
        newest: of the version that was brought last.

    Raises:
        PlanError: something was closed.
    """
    check_served(plan, newest)
    check_forbidden(plan, newest)
    columns_read(plan, newest)
    require(newest.grade <= declared.grade, "dataset_version", "is of a lower grade than the dataset has now")
    agreed = declared.agreements_required or not newest.agreements_required
    require(agreed, "dataset_version", "took no agreement, as the dataset does now")
    curious = newest.curious_providers <= declared.curious_providers
    require(curious, "dataset_version", "has noise against fewer curious providers than the dataset has now")
    # Who corrects it says that the noise of before was too little.
    disjoint = newest.units_disjoint or not declared.units_disjoint
    require(disjoint, "dataset_version", "has noise for units at one provider each, which the dataset says no more")


def _check_verification(declaration: DatasetDeclaration) -> None:
    if not declaration.HasField("verification"):
        return
    listed = forbidden_columns(declaration)
    for field in declaration.verification.fields:
        is_listed = f"{field.table}.{field.column}" in listed
        _require(not is_listed, f"verification.fields.{field.table}", f"{field.column} is forbidden")
    form = FORM_NAMES[SERVICE_FORM_INTERFACE]
    _require(
        offers(declaration, SERVICE_FORM_INTERFACE), "forms", f"claims are verified by {form}, which is not among them"
    )


def _require(holds: bool, path: str, message: str) -> None:
    if not holds:
        raise DeclarationError(path, message)
