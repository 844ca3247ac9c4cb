"""What a dataset may declare: the rules of enclaves, and those that only the gateway applies. Pure.

Enclaves do not know organisations, so what each of them may spend is checked and kept here alone.
"""

from __future__ import annotations

from yingbi.api import zcdp
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration

from enclave_sim.plan.schema import DeclarationError, check_declaration
from enclave_sim.plan.services import check_closed
from enclave_sim.plan.verification import check_verification
from gateway.governance.catalogue_entry import check_entry

_EACH = "budget.each_organisation.epsilon"


def check_declared(declaration: DatasetDeclaration) -> None:
    """Refuse a declaration that breaks a rule; raises DeclarationError with the path in the YAML file."""
    check_declaration(declaration)
    check_verification(declaration)
    check_closed(declaration)
    check_entry(declaration)
    if declaration.HasField("budget_each_organisation_epsilon"):
        _check_each_organisation(declaration)


def _check_each_organisation(declaration: DatasetDeclaration) -> None:
    each, whole = declaration.budget_each_organisation_epsilon, declaration.budget_epsilon
    try:
        zcdp.bought(each, declaration.budget_delta)
    except zcdp.BadPrivacyParameter as error:
        raise DeclarationError(_EACH, str(error)) from error
    if each > whole:
        raise DeclarationError(
            _EACH, f"{each:g} would limit nothing: it is above budget.epsilon, {whole:g}; leave it out, or lower it"
        )
