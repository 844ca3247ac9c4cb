"""Who would operate a zone without being let: reviewing oneself, signatures of other terms, papers that are over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from yingbi.api import credentials, digests
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import AgreementSignature
from yingbi.api.v1.attestation_pb2 import KeyEpoch
from yingbi.api.v1.deployment_pb2 import ApproveDeploymentRequest, WithdrawDeploymentRequest
from yingbi.api.v1.node_pb2 import Hello
from yingbi.api.v1.operator_pb2 import OperatingAgreement

from gateway.api.deployments import DeploymentService
from gateway.governance.callers import Caller, Role
from gateway.jobs.deployments import Deployments
from gateway.jobs.nodes import Nodes
from gateway.storage import audit, operators, people
from gateway.storage.database import Database
from gateway.zone.first_operator import first_agreement
from tests.gateway.api.operator_scene import OperatedZone, first_callers, zone
from tests.gateway.api.people_scene import START, Call, Refused, hashed, public, run

__all__ = ["zone"]

pytestmark = pytest.mark.requirement("APP-03")

DAY = 86_400


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        act()
    return caught.value.code


@pytest.mark.requirement("ROL-02", "ROL-05")
def test_nobody_authorises_themselves(zone: OperatedZone) -> None:
    zone.publish()
    zone.apply()
    for action in ("assess", "refuse", "terminate"):
        assert refused(partial(zone.move, "runner", action, "we are good")) == "not_allowed"
    # Nor does the zone's other operator, nor the coordinator alone.
    assert refused(lambda: zone.move("operator", "assess", "good")) == "unknown_application"
    assert refused(lambda: zone.move("coordinator", "assess", "good")) == "not_allowed"
    assert refused(lambda: zone.sign("coordinator")) == "operator_state"
    assert zone.hindrance("runner").endswith("waits for the review of supervisor")


def test_a_signature_is_good_for_its_own_terms_alone(zone: OperatedZone) -> None:
    for name in ("second", "third"):
        zone.publish(name)
        zone.apply(name)
        zone.move("supervisor", "assess", "seen", name)
    notices = {each.notice.notice: each for each in zone.ask("ListOperators", "coordinator").notices}
    terms = notices["third"].applications[0].signed.terms
    longer = OperatingAgreement.FromString(terms)
    longer.notice.expires.seconds += DAY
    for other in (notices["second"].applications[0].signed.terms, longer.SerializeToString(deterministic=True)):
        for who in ("coordinator", "runner"):
            assert refused(partial(zone.sign, who, "third", other)) == "bad_signature"
    # Nor one of an agreement about data, nor another's.
    assert refused(lambda: zone.sign("runner", "third", terms, digests.AGREEMENT)) == "bad_signature"
    stolen = zone.sign("coordinator", "third").signed.coordinator
    assert refused(lambda: zone.move("runner", "sign", notice="third", signature=stolen)) == "bad_signature"
    assert refused(lambda: zone.sign("coordinator", "third")) == "operator_state"
    assert zone.sign("runner", "third").waits_for == ""
    assert zone.hindrance("runner") == ""


def test_a_person_signs_only_with_the_duty_for_it(zone: OperatedZone) -> None:
    zone.publish()
    zone.apply()
    zone.move("supervisor", "assess", "seen")
    clerk = zone.join("runner", "clerk", "administrator")
    assert refused(lambda: zone.sign(clerk)) == "not_allowed"
    ada = zone.join("runner", "ada", "operator")
    zone.sign("coordinator")
    assert zone.sign(ada).signed.operator.HasField("certificate")
    assert zone.hindrance("ada-token") == zone.hindrance(clerk) == ""


def test_who_is_removed_while_they_sign_has_signed_nothing(zone: OperatedZone) -> None:
    zone.publish()
    zone.apply()
    zone.move("supervisor", "assess", "seen")
    zone.sign("coordinator")
    ada = zone.join("runner", "ada", "operator")
    by = zone.authentication.account(_call("runner")).caller

    def removed_meanwhile() -> float:
        zone.operators._clock = lambda: zone.now
        zone.database._thread.submit(zone.database._transact, people.remove, (by, "ada", zone.now)).result()
        return zone.now

    # Asked for once the call was let in, before its transaction.
    shown = zone.ask("ListOperators", "coordinator").notices[1].applications[0].signed.terms
    signature = digests.sign(credentials.signing_key(ada), digests.OPERATING_AGREEMENT, shown)
    given = AgreementSignature(signature=signature, key=public(ada))
    zone.operators._clock = removed_meanwhile
    assert refused(lambda: zone.move(ada, "sign", signature=given)) == "person_left"
    assert "waits for the signature of runner" in zone.hindrance("runner")


@pytest.mark.requirement("AGR-03")
def test_the_clock_ends_it_at_the_next_call(zone: OperatedZone) -> None:
    zone.authorise()
    assert zone.hindrance("runner") == zone.hindrance("operator") == ""
    # The zone's own was signed for five years from START, on 15 January 2027.
    zone.now = START + 5 * 365 * DAY
    assert zone.hindrance("operator") == ""
    zone.now += 2 * DAY
    assert "first-operator expired on 2032-01-15" in zone.hindrance("operator")
    assert "second expired on 2032-01-15" in zone.hindrance("runner")
    assert refused(lambda: zone.move("coordinator", "terminate", "over anyway")) == "operator_state"


def test_who_comes_late_or_was_refused_stays_outside(zone: OperatedZone) -> None:
    zone.publish()
    zone.publish("third")
    zone.apply()
    zone.move("supervisor", "refuse", "no machines")
    assert refused(lambda: zone.move("supervisor", "assess", "after all")) == "operator_state"
    assert refused(zone.apply) == "application_exists"
    zone.now += 18 * DAY
    assert refused(lambda: zone.apply("third")) == "notice_closed"
    assert "was refused by supervisor of supervisor: no machines" in zone.hindrance("runner")


def test_the_end_counts_from_the_next_call_on(zone: OperatedZone) -> None:
    zone.authorise()
    zone.move("coordinator", "terminate", "it sold data")
    assert "it sold data" in zone.hindrance("runner")
    assert refused(lambda: zone.sign("runner")) == "operator_state"
    # By what is in the database, not by what this process remembers.
    zone.authentication.replace(run(zone.database.run(people.accounts)))
    assert "it sold data" in zone.hindrance("runner")


def test_what_another_signed_makes_nobody_the_first_operator(tmp_path: Path) -> None:
    """Whoever writes into the gateway's folder has not the coordinator's key."""
    made = first_agreement({role: role for role in Role}, START)
    longer = OperatingAgreement.FromString(made.terms)
    longer.notice.expires.seconds += DAY
    made.terms = longer.SerializeToString(deterministic=True)
    database = Database(tmp_path / "gateway.db")
    run(database.run(people.seed, first_callers(), START))
    with pytest.raises(Problem) as caught:
        run(database.run(operators.begin, first_callers(), made, START))
    assert caught.value.code == "bad_signature"
    assert run(database.run(operators.lives)) == {}
    database.close()


def test_operators_of_before_go_on_and_the_record_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "gateway.db")
    run(database.run(people.seed, first_callers(), START))
    for _ in range(2):  # and a second start changes nothing
        run(database.run(operators.begin, first_callers(), None, START))
    accounts = run(database.run(people.accounts))
    own = next(each for each in accounts if each.caller.role is Role.OPERATOR)
    assert own.at(START).caller.hindrance == ""
    assert "expired" in own.at(START + 6 * 365 * DAY).caller.hindrance
    rows = run(database.run(audit.page, 0, 100))
    assert [(row.action, row.subject, row.person) for row in rows] == [
        ("operator.adopt", "operators-of-before/operator", "gateway")
    ]
    database.close()


def test_nobody_is_an_operator_of_before_who_came_after(tmp_path: Path) -> None:
    """A zone of before, whose operator had been removed: who is filed since is not taken over by a restart."""
    database = Database(tmp_path / "gateway.db")
    others = [caller for caller in first_callers() if caller.role is not Role.OPERATOR]
    run(database.run(people.seed, others, START))
    run(database.run(operators.begin, others, None, START))
    runner = Caller("runner", Role.OPERATOR, hashed("runner"), public("runner").hex(), "runner")
    run(database.run(people.seed, [runner], START))
    run(database.run(operators.begin, others, None, START))
    own = next(each for each in run(database.run(people.accounts)) if each.caller.role is Role.OPERATOR)
    assert own.at(START).caller.hindrance == "it has not applied under any notice"
    database.close()


def test_who_may_not_operate_withdraws_a_model_all_the_same(zone: OperatedZone) -> None:
    """A stop never waits for papers; and nothing else is done to it."""
    deployments = Deployments(zone.database, Nodes(_nobody), zone.authentication)
    service: Any = DeploymentService(deployments, zone.authentication)
    withdrawal, approval = WithdrawDeploymentRequest(deployment="liver"), ApproveDeploymentRequest(deployment="liver")
    assert zone.hindrance("runner")
    assert refused(lambda: run(service.ApproveDeployment(approval, _call("runner")))) == "operator_not_authorised"
    assert refused(lambda: run(service.WithdrawDeployment(withdrawal, _call("runner")))) == "unknown_deployment"
    zone.make_token("runner", "reader", "read")
    assert refused(lambda: run(service.WithdrawDeployment(withdrawal, _call("reader")))) == "other_scope"


def _nobody(hello: Hello) -> KeyEpoch:
    raise AssertionError(f"{hello.node} is no node of this zone")


def _call(token: str) -> Any:
    return Call(token)
