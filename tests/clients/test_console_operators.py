"""The page of operators: each application with its state, and whether the reader's organisation moves next."""

from __future__ import annotations

import pytest
from yingbi.api.notices import CLAUSES
from yingbi.api.v1 import agreement_pb2, operator_pb2
from yingbi.api.v1.agreement_pb2 import AgreementSignature
from yingbi.api.v1.people_pb2 import Me, Organisation
from yingbi.operators import NOT_YET, Application, Notice
from yingbi.operators import STATES as SDK_STATES
from yingbi_dashboard import catalogue
from yingbi_dashboard.operators_page import CLAUSE_TITLES, STATES, STEPS, card_of

from gateway.governance import operating

NOTICE = operator_pb2.OperatorNotice(notice="zone", coordinator="city", supervisor="bureau")


def entry(state: int, reader: str, *, signed: bool = False) -> tuple[str, bool]:
    record = operator_pb2.OperatorRecord(
        agreement=operator_pb2.OperatingAgreement(notice=NOTICE, operator="runner"),
        state=state,  # type: ignore[arg-type]
    )
    if signed:
        record.signed.coordinator.CopyFrom(AgreementSignature(key=bytes(32)))
    notice = operator_pb2.PublishedNotice(notice=NOTICE, applications=[record])
    (found,) = card_of(Notice(notice), Me(organisation=Organisation(organisation=reader))).entries
    return found.state, found.is_mine


@pytest.mark.parametrize(
    ("state", "signed", "movers"),
    [
        (agreement_pb2.AGREEMENT_STATE_APPLIED, False, {"bureau"}),
        (agreement_pb2.AGREEMENT_STATE_ASSESSED, False, {"city", "runner"}),
        (agreement_pb2.AGREEMENT_STATE_ASSESSED, True, {"runner"}),
        (agreement_pb2.AGREEMENT_STATE_ACTIVE, True, set()),
        (agreement_pb2.AGREEMENT_STATE_EXPIRED, True, set()),
    ],
)
def test_whose_move_it_is(state: int, signed: bool, movers: set[str]) -> None:
    readers = ("city", "bureau", "runner", "college")
    assert {reader for reader in readers if entry(state, reader, signed=signed)[1]} == movers


def test_a_term_that_begins_later_is_not_yet_in_force() -> None:
    record = operator_pb2.OperatorRecord(state=agreement_pb2.AGREEMENT_STATE_ACTIVE)
    assert Application(record).state == "in force"
    record.agreement.notice.starts.seconds = 1 << 40
    assert Application(record).state == NOT_YET


def test_every_state_step_and_clause_has_its_words() -> None:
    assert set(STATES) == {*SDK_STATES.values(), NOT_YET}
    assert {*(step.value for step in operating._FROM), "apply", operating.ADOPT} <= set(STEPS)
    assert set(CLAUSE_TITLES) == set(CLAUSES)
    assert {*STATES.values(), *STEPS.values(), *CLAUSE_TITLES.values()} <= set(catalogue.messages("zh"))
