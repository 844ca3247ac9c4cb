"""Deployed models through the SDK, the gateway's own code and a real enclave, without sockets: what a gateway counts,
what it cannot know, and what it cannot make a client believe."""

from __future__ import annotations

import asyncio
import math
import sqlite3
import struct
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from yingbi import profile
from yingbi.api import credentials
from yingbi.api import deployments as rules
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import deployment_pb2 as messages
from yingbi.api.v1.attestation_pb2 import GetEvidenceResponse
from yingbi.api.v1.deployment_pb2 import LinearPredictor, PredictRequest
from yingbi.api.v1.node_pb2 import Task, TaskResult
from yingbi.deployments import Deployment, Parameters, deploy
from yingbi.predictions import UsageReceipt

from enclave_sim import deployments as enclave_deployments
from enclave_sim.authority import Policy
from gateway.governance.callers import Caller, Role
from gateway.jobs.deployments import Deployments
from gateway.storage.database import Database
from tests.attacks.deployed_models import INTERCEPT, SLOPES, form_of, public
from tests.attacks.three_enclaves import NODES, Trio

ROWS: dict[str, list[Any]] = {
    "x0": [1.23456789012345, 0.0],
    "x1": [2.34567890123456, 0.0],
    "x2": [3.45678901234567, None],
}
Result = TypeVar("Result")
PEOPLE = {"developer": "institute", "clinic-1": "clinic", "clinic-2": "clinic", "stranger": "stranger"}


class OneNode:
    """The gateway's nodes: asks the enclaves of a trio at once."""

    def __init__(self, trio: Trio) -> None:
        self.trio = trio
        self.epoch = trio.enclaves[0].epoch
        self.away: set[str] = set()
        self.loses_answers = False
        self.asked: list[Task] = []

    def states(self) -> dict[str, bool]:
        return {name: name not in self.away for name in NODES}

    async def ask(self, name: str, made: Callable[[], list[Task]]) -> TaskResult:
        (task,) = made()
        self.asked.append(task)
        try:
            enclave = self.trio.enclaves[NODES.index(name)]
            result = await asyncio.to_thread(enclave_deployments.result_of, enclave, task)
        except Problem as problem:
            raise Problem(Kind.FAILED, problem.code, f"{name}: {problem.message}") from problem
        if self.loses_answers:
            raise Problem(Kind.UNAVAILABLE, "node_unavailable", "lost")
        return result


@dataclass
class InProcess:
    """A zone whose gateway is called directly; `now` is its clock."""

    trio: Trio
    folder: Path
    now: float | None = None
    alter: Callable[[messages.PredictionReply], None] = field(default=lambda reply: None)

    def __post_init__(self) -> None:
        self.callers = [self.account(name, Role.DEVELOPER, org) for name, org in PEOPLE.items()]
        self.callers.append(self.account("operator", Role.OPERATOR, "operator"))
        self.nodes = OneNode(self.trio)
        self.start()

    def start(self) -> None:
        self.database = Database(self.folder / "gateway.db")
        clock: dict[str, Any] = {} if self.now is None else {"clock": lambda: self.now}
        self.deployments = Deployments(self.database, self.nodes, self.callers, **clock)  # type: ignore[arg-type]

    def account(self, name: str, role: Role, organisation: str) -> Caller:
        key = public(credentials.signing_key(name)).hex()
        return Caller(name, role, credentials.bearer_hash(credentials.bearer(name)), key, organisation)

    def as_(self, name: str) -> Direct:
        return Direct(self, next(each for each in self.callers if each.name == name))


class Direct:
    """What `yingbi.transport.Gateway` is to the SDK."""

    def __init__(self, zone: InProcess, caller: Caller) -> None:
        self.zone, self.caller = zone, caller
        ca_pem = zone.trio.ca_pem.decode()
        self.profile = profile.Profile("here", caller.name, ca_pem, caller.role, allow_simulation=True)

    def get_evidence(self, node: str, nonce: bytes) -> GetEvidenceResponse:
        enclaves = self.zone.trio.enclaves
        return GetEvidenceResponse(
            evidence=[each.identity.attest(nonce) for each in enclaves], key_epoch=enclaves[0].signed_epoch
        )

    def deploy(self, request: messages.DeployRequest) -> messages.Deployment:
        return run(self.zone.deployments.deploy(self.caller, request))

    def list_deployments(self) -> messages.ListDeploymentsResponse:
        found = run(self.zone.deployments.list_all(self.caller))
        return messages.ListDeploymentsResponse(deployments=found, organisation=self.caller.organisation)

    def get_deployment(self, name: str) -> messages.Deployment:
        return run(self.zone.deployments.show(self.caller, name))

    def approve_deployment(self, name: str, approval: messages.SignedDeploymentApproval) -> messages.Deployment:
        return run(self.zone.deployments.approve(self.caller, name, approval))

    def withdraw_deployment(self, name: str, withdrawal: messages.SignedDeploymentWithdrawal) -> messages.Deployment:
        return run(self.zone.deployments.withdraw(self.caller, name, withdrawal))

    def predict(self, request: PredictRequest) -> messages.PredictionReply:
        reply = run(self.zone.deployments.predict(self.caller, request))
        self.zone.alter(reply)
        return reply


def run(call: Coroutine[Any, Any, Result]) -> Result:
    return asyncio.run(call)


def parameters() -> Parameters:
    return Parameters(form_of(10, 10, 10), (LinearPredictor(intercept=INTERCEPT, coefficients=SLOPES),))


@pytest.fixture
def zone(trio: Trio, tmp_path: Path) -> InProcess:
    developers = frozenset(public(credentials.signing_key(name)) for name in PEOPLE)
    policy = Policy(developers, frozenset({public(credentials.signing_key("operator"))}), auto_approve=True)
    for name in NODES:
        (trio.folder / name / "policy.json").write_text(policy.to_json())
    trio.load()
    return InProcess(trio, tmp_path)


def deployed(zone: InProcess, **terms: Any) -> Deployment:
    """Deployed for the clinic, and approved, as the operator sees it."""
    given: dict[str, Any] = {"callers": ["clinic"], "node": "node-2", **terms}
    deploy(zone.as_("developer"), parameters(), "bmi-1", **given)  # type: ignore[arg-type]
    return seen(zone, "operator").approve(without_receipt=True)


def seen(zone: InProcess, name: str) -> Deployment:
    gateway: Any = zone.as_(name)
    return Deployment(gateway.get_deployment("bmi-1"), gateway)


def refusal(call: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(Problem) as refused:
        call(*arguments, **options)
    return refused.value.code


def uses(zone: InProcess, name: str = "operator") -> list[tuple[str, int, int, int]]:
    found = seen(zone, name).message.uses
    return [(use.organisation, use.rows_today, use.rows_total, use.price_micros) for use in found]


def recorded(zone: InProcess) -> int:
    records = zone.trio.enclaves[1].journal.records
    return sum(int(record["rows"]) for record in records if record["kind"] == "prediction")


def test_a_model_waits_for_an_operator_then_serves_its_callers_until_it_is_withdrawn(zone: InProcess) -> None:
    gateway: Any = zone.as_("developer")
    made = deploy(gateway, parameters(), "bmi-1", callers=["clinic"], node="node-2", price=0.25, decimals=3)
    assert (made.state, made.kind, made.variables) == ("pending", "linear", ("x0", "x1", "x2"))
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "deployment_pending"
    assert refusal(seen(zone, "operator").approve) == "no_provenance"
    assert seen(zone, "operator").approve(without_receipt=True).state == "active"
    found = seen(zone, "clinic-1").predict(ROWS)
    exact = INTERCEPT + math.fsum(slope * ROWS[f"x{place}"][0] for place, slope in enumerate(SLOPES))
    assert found[0] == round(exact, 3)
    assert math.isnan(found[1])  # type: ignore[arg-type]
    (receipt,) = found.receipts
    again = UsageReceipt.of_line(receipt.line(), receipt.trust).verify()
    assert (again.rows, again.price_micros, again.deployment) == (2, 500_000, "bmi-1")
    assert uses(zone) == uses(zone, "developer") == uses(zone, "clinic-2") == [("clinic", 2, 2, 500_000)]
    assert seen(zone, "operator").withdraw().state == "withdrawn"
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "deployment_withdrawn"
    # Its name stays taken.
    assert refusal(deploy, gateway, parameters(), "bmi-1", callers=["clinic"]) == "deployment_exists"


def test_the_gateway_learns_no_row_no_answer_and_no_parameter(zone: InProcess) -> None:
    deployed(zone)
    answers = seen(zone, "clinic-1").predict({"x0": [1.2345678901234567], "x1": [2.25e-3], "x2": [3.456789012345678]})
    secret = [1.2345678901234567, 2.25e-3, 3.456789012345678, *answers, *SLOPES]
    forms = [struct.pack(order, number) for number in secret for order in ("<d", ">d")]
    forms += [f"{number:.12g}".encode() for number in secret]
    zone.database.close()
    places = [path.read_bytes() for path in zone.folder.rglob("gateway.db*")]
    places += [task.SerializeToString() for task in zone.nodes.asked]
    assert len(places) >= 3
    assert not [form for form in forms for place in places if form in place]


def test_who_may_not_use_a_model_does_not_learn_that_it_is_there(zone: InProcess) -> None:
    deployed(zone)
    assert refusal(seen, zone, "stranger") == "unknown_deployment"
    gateway: Any = zone.as_("stranger")
    own_view = Deployment(seen(zone, "clinic-1").message, gateway)
    assert refusal(own_view._served._order, own_view._served._enclave, [(0.0, 0.0, 0.0)]) == "unknown_deployment"
    # Its developer, who sees it, is no caller either unless the terms say so.
    assert refusal(seen(zone, "developer").predict, ROWS) == "not_a_caller"
    assert recorded(zone) == 0
    # Callers see who may use it and what they used themselves, not where the parameters come from.
    assert not seen(zone, "clinic-1").message.HasField("provenance")
    assert not seen(zone, "clinic-1").message.candidates


def test_an_order_of_one_caller_is_not_taken_from_another(zone: InProcess) -> None:
    deployed(zone)
    caught: list[PredictRequest] = []
    first: Any = zone.as_("clinic-1")
    honest: Callable[[PredictRequest], messages.PredictionReply] = first.predict

    def keep_and_send(request: PredictRequest) -> messages.PredictionReply:
        caught.append(request)
        return honest(request)

    first.predict = keep_and_send
    Deployment(seen(zone, "clinic-1").message, first).predict(ROWS)
    assert refusal(zone.as_("clinic-2").predict, caught[0]) == "bad_signature"
    # Nor from the same one again: it is counted once, and answered once.
    assert refusal(zone.as_("clinic-1").predict, caught[0]) == "order_reused"
    assert recorded(zone) == 2
    # And its answer is for another order than a new one of the same caller.
    renewed = Deployment(seen(zone, "clinic-1").message, first)
    renewed.predict(ROWS)
    earlier = honest(orders(zone, ["clinic-1"])[0][1])
    first.predict = lambda request: earlier
    assert refusal(renewed.predict, ROWS) == "usage_receipt"


def orders(zone: InProcess, names: list[str]) -> list[tuple[Caller, PredictRequest]]:
    """One order of a row of each of these callers, not sent."""
    made = []
    for name in names:
        gateway: Any = zone.as_(name)
        kept: list[PredictRequest] = []

        def keep(request: PredictRequest, kept: list[PredictRequest] = kept) -> messages.PredictionReply:
            kept.append(request)
            return messages.PredictionReply()

        gateway.predict = keep
        found = Deployment(seen(zone, "clinic-1").message, gateway)
        refusal(found._served._order, found._served._enclave, [(0.0, 0.0, 0.0)])
        made.append((gateway.caller, kept[0]))
    return made


def test_callers_of_one_organisation_at_once_get_exactly_what_is_left(zone: InProcess) -> None:
    deployed(zone, limit=7)
    given = orders(zone, ["clinic-1", "clinic-2"] * 8)

    async def all_at_once() -> list[Any]:
        calls = (zone.deployments.predict(caller, request) for caller, request in given)
        return await asyncio.gather(*calls, return_exceptions=True)

    answers = run(all_at_once())
    assert sum(isinstance(each, messages.PredictionReply) for each in answers) == 7
    assert {each.code for each in answers if isinstance(each, Problem)} == {"uses_exhausted"}
    assert (recorded(zone), uses(zone)) == (7, [("clinic", 7, 7, 0)])
    # Here the gateway refused: the enclave was not asked more often than there were rows left.
    assert sum(task.HasField("predict") for task in zone.nodes.asked) == 7


def test_a_gateway_that_starts_anew_or_whose_clock_goes_back_renews_nothing(zone: InProcess) -> None:
    zone.database.close()
    zone.now = time.time()
    zone.start()
    deployed(zone, limit=2)
    seen(zone, "clinic-1").predict(ROWS)
    zone.database.close()
    zone.now -= 3 * 86_400
    zone.start()
    assert refusal(seen(zone, "clinic-2").predict, ROWS) == "uses_exhausted"
    (caller, request), *_ = orders(zone, ["clinic-1"])
    assert refusal(lambda: run(zone.deployments.predict(caller, request))) == "uses_exhausted"
    assert recorded(zone) == 2


def test_an_enclave_counts_for_itself_whatever_its_gateway_forgot(zone: InProcess) -> None:
    deployed(zone, limit=2)
    seen(zone, "clinic-1").predict(ROWS)
    zone.database.close()
    # The gateway's database of before the uses.
    with sqlite3.connect(zone.folder / "gateway.db") as connection:
        connection.execute("DELETE FROM predictions")
    connection.close()
    zone.start()
    assert uses(zone) == [("clinic", 0, 0, 0)]
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "uses_exhausted"
    # What the enclave refused is not counted in the gateway.
    assert (recorded(zone), uses(zone)) == (2, [("clinic", 0, 0, 0)])


def test_a_lost_answer_stays_counted_and_a_node_that_is_away_is_not_counted(zone: InProcess) -> None:
    deployed(zone)
    zone.nodes.away = {"node-2"}
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "node_unavailable"
    assert uses(zone) == [("clinic", 0, 0, 0)]
    zone.nodes.away = set()
    zone.nodes.loses_answers = True
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "node_unavailable"
    assert (recorded(zone), uses(zone)) == (2, [("clinic", 2, 2, 0)])


def test_a_node_that_is_asked_the_same_twice_counts_once_and_the_gateway_keeps_it(zone: InProcess) -> None:
    """As where it ended after it had counted, and starts anew: its task is given again."""
    deployed(zone)
    ((caller, request),) = orders(zone, ["clinic-1"])
    zone.nodes.loses_answers = True
    assert refusal(lambda: run(zone.deployments.predict(caller, request))) == "node_unavailable"
    zone.nodes.loses_answers = False
    (task,) = [task for task in zone.nodes.asked if task.HasField("predict")]
    again = PredictRequest(order=task.predict.order, input=task.predict.input)
    zone.database.close()
    with sqlite3.connect(zone.folder / "gateway.db") as connection:
        connection.execute("DELETE FROM predictions")
    connection.close()
    zone.start()
    assert refusal(lambda: run(zone.deployments.predict(caller, again))) == "order_reused"
    assert (recorded(zone), uses(zone)) == (1, [("clinic", 1, 1, 0)])


def test_an_enclave_that_was_away_is_told_of_the_withdrawal_later(zone: InProcess) -> None:
    deployed(zone)
    zone.nodes.away = {"node-2"}
    assert seen(zone, "developer").withdraw().message.enclave_not_told
    zone.nodes.away = set()
    assert refusal(seen(zone, "clinic-1").predict, ROWS) == "deployment_withdrawn"
    assert not seen(zone, "operator").withdraw().message.enclave_not_told
    kinds = [record["kind"] for record in zone.trio.enclaves[1].journal.records]
    assert kinds.count("deployment_withdrawn") == 1
    assert refusal(seen(zone, "clinic-1").withdraw) == "not_allowed"


@pytest.mark.parametrize(
    "alter",
    [
        lambda reply: setattr(reply, "ciphertext", reply.ciphertext[:-1] + b"\x00"),
        lambda reply: setattr(reply.usage, "body", reply.usage.body + b"\x38\x01"),
        lambda reply: setattr(reply.usage.signature, "signature", bytes(64)),
        lambda reply: reply.usage.signature.ClearField("evidence"),
        lambda reply: reply.Clear(),
    ],
)
def test_an_answer_or_a_receipt_that_was_altered_is_not_believed(
    zone: InProcess, alter: Callable[[messages.PredictionReply], None]
) -> None:
    deployed(zone)
    zone.alter = alter
    with pytest.raises(Problem) as refused:
        seen(zone, "clinic-1").predict(ROWS)
    assert (refused.value.kind, refused.value.code) == (Kind.BAD_EVIDENCE, "usage_receipt")


def test_many_rows_are_ordered_in_parts_or_refused_before_the_first(
    zone: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed(zone, limit=10)
    monkeypatch.setattr(rules, "MAX_ROWS", 4)
    many = {name: [float(row) / 10 for row in range(10)] for name in ROWS}
    assert refusal(seen(zone, "clinic-1").predict, {name: [*cells, 0.0] for name, cells in many.items()}) == (
        "uses_exhausted"
    )
    assert recorded(zone) == 0
    found = seen(zone, "clinic-1").predict(many)
    assert list(found) == pytest.approx([INTERCEPT + row / 10 * sum(SLOPES) for row in range(10)])
    assert [each.body.rows for each in found.receipts] == [4, 4, 2]


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"callers": ["clinic", "clinic"]}, "callers"),
        ({"limit": 0}, "limit"),
        ({"total": 0}, "total"),
        ({"decimals": 13}, "decimals"),
        ({"decimals": 1.5}, "decimals"),
        ({"price": -1}, "price"),
        ({"price": math.nan}, "price"),
    ],
)
def test_terms_that_cannot_be_kept_are_refused_with_their_field(
    zone: InProcess, terms: dict[str, Any], field: str
) -> None:
    gateway: Any = zone.as_("developer")
    with pytest.raises(Problem) as refused:
        deploy(gateway, parameters(), "bmi-1", **terms)
    assert (refused.value.code, refused.value.field) == ("deployment", field)
    assert not gateway.list_deployments().deployments
