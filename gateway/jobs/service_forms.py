"""In which form a kind of job serves a dataset: as data, model or interface. Pure."""

from __future__ import annotations

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import (
    SERVICE_FORM_DATA,
    SERVICE_FORM_INTERFACE,
    SERVICE_FORM_MODEL,
    DatasetDeclaration,
    ServiceForm,
)

from enclave_sim.plan.services import FORM_NAMES, offers
from gateway.jobs.kinds import JobKind

FORMS: dict[JobKind, ServiceForm.ValueType] = {
    "query": SERVICE_FORM_INTERFACE,
    "train": SERVICE_FORM_MODEL,
    "program": SERVICE_FORM_MODEL,
    "evaluate": SERVICE_FORM_MODEL,
    "synthesize": SERVICE_FORM_DATA,
}


def check_form(kind: JobKind, declaration: DatasetDeclaration) -> None:
    """Raise Problem REFUSED "form_not_enabled" for a kind of job that the dataset is not served by.

    Keeps: GRD-09
    """
    if offers(declaration, FORMS[kind]):
        return
    served = " and ".join(FORM_NAMES[form] for form in declaration.forms)
    possible = ", ".join(each for each in FORMS if offers(declaration, FORMS[each]))
    raise Problem(
        Kind.REFUSED,
        "form_not_enabled",
        f"{declaration.dataset} is served as {served}, and a job of the kind {kind} as {FORM_NAMES[FORMS[kind]]}.",
        field="dataset",
        hint=f"what may be asked for: {possible}",
    )
