"""Attacks on deployed models: who would use more than they may, read what is not theirs, or take the model away."""

from __future__ import annotations

import json
import logging
import math
import random
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import deployments as rules
from yingbi.api import digests
from yingbi.api.evidence import verify_evidence
from yingbi.api.problem import Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.v1.deployment_pb2 import (
    DeployedModel,
    LinearPredictor,
    PredictionOrder,
    PredictTask,
)

from enclave_sim.authority import Policy
from enclave_sim.deployments import check_deployment, predict, withdraw
from enclave_sim.enclave import Enclave
from tests.attacks.deployed_models import (
    INTERCEPT,
    SALT,
    SLOPES,
    Served,
    answer_of,
    form_of,
    public,
    signed_approval,
    signed_order,
    signed_terms,
    usage_of,
)
from tests.attacks.three_enclaves import Trio, refusal

DAY = 86_400
MIDNIGHT = 20_000 * DAY
# Recognisable in any place where they should not be.
SECRET_ROW = (1.2345678901234567, 2.3456789012345678, 3.4567890123456789)


def expected(row: tuple[float, ...]) -> float:
    return INTERCEPT + math.fsum(slope * number for slope, number in zip(SLOPES, row, strict=True))


@pytest.fixture
def served(trio: Trio) -> Served:
    """A model of the trio's developer on the first node, for two organisations."""
    callers = {"clinic": Ed25519PrivateKey.generate(), "insurer": Ed25519PrivateKey.generate()}
    keys = [trio.developer, *callers.values()]
    policy = Policy(
        developers=frozenset(map(public, keys)), operators=frozenset({public(trio.operator)}), auto_approve=True
    )
    for name in ("node-1", "node-2", "node-3"):
        (trio.folder / name / "policy.json").write_text(policy.to_json())
    trio.load()
    return Served(trio.enclaves[0], trio.developer, trio.operator, callers)


def counted(enclave: Enclave) -> int:
    return sum(int(record["rows"]) for record in enclave.journal.records if record["kind"] == "prediction")


def test_callers_get_what_the_model_says_and_a_receipt_that_says_how_much_was_used(served: Served, trio: Trio) -> None:
    key = DEFAULT.key(b"\x01" * 32)
    first = served.task([SECRET_ROW, (0, 0, 0), (math.nan, 0, 0)], reply=key)
    reply = predict(served.enclave, first)
    answers = answer_of(first, reply, key)
    assert answers[:2] == pytest.approx([expected(SECRET_ROW), INTERCEPT], rel=1e-15)
    assert math.isnan(answers[2])
    assert served.ask([(1, 1, 1)]) == pytest.approx([expected((1, 1, 1))])
    second = usage_of(predict(served.enclave, served.task([(0, 0, 0)], "insurer")))
    assert (second.organisation, second.rows_today, second.rows_total) == ("insurer", 1, 1)
    said = usage_of(reply)
    assert (said.rows, said.rows_today, said.price_micros, said.node) == (3, 3, 150_000, "node-1")
    assert said.model_digest == rules.model_digest(rules.canonical(served.model))
    claims = verify_evidence(
        reply.usage.signature.evidence, trio.ca_pem, made_for=digests.digest(rules.USAGE, reply.usage.body)
    )
    assert digests.is_signed(claims.signing_key, rules.USAGE, reply.usage.body, reply.usage.signature.signature)


def test_neither_rows_nor_answers_nor_parameters_are_where_others_can_read_them(
    served: Served, trio: Trio, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    task = served.task([SECRET_ROW, (5, 5, 5)])
    reply = predict(served.enclave, task)
    answers = answer_of(task, reply)
    secret = [*SECRET_ROW, *answers, *SLOPES]
    forms = [struct.pack(order, number) for number in secret for order in ("<d", ">d")]
    forms += [text.encode() for number in secret for text in (f"{number:.12g}", f"{number:.6f}")]
    seen = [task.SerializeToString(), reply.SerializeToString(), caplog.text.encode()]
    seen += [path.read_bytes() for path in trio.folder.rglob("*") if path.is_file()]
    assert not [form for form in forms for place in seen if form in place]
    # The search finds them where they are.
    assert struct.pack("<d", SECRET_ROW[0]) in rules.numbers_to_bytes(SECRET_ROW)
    with pytest.raises(InvalidTag):
        answer_of(task, reply, DEFAULT.key(b"\x02" * 32))


def test_what_is_sent_has_a_length_that_follows_from_numbers_of_rows_alone(served: Served) -> None:
    def lengths(rows: list[tuple[float, ...]]) -> tuple[int, int]:
        task = served.task(rows)
        return len(task.input), len(predict(served.enclave, task).ciphertext)

    assert lengths([(0.0, 0.0, 0.0)]) == lengths([(math.pi * 1e300, -0.1, math.nan)]) == lengths([SECRET_ROW] * 40)


@pytest.mark.parametrize("limited", ["a day", "in all"])
def test_nobody_gets_a_row_more_than_the_limit(served: Served, limited: str) -> None:
    served = replace(
        served, rows_per_day=5 if limited == "a day" else 1000, rows_total=5 if limited == "in all" else None
    )
    served.ask([(0, 0, 0)] * 4, now=MIDNIGHT)
    with pytest.raises(Problem) as refused:
        served.ask([(0, 0, 0)] * 2, now=MIDNIGHT + 60)
    assert refused.value.code == "uses_exhausted"
    assert refused.value.details["left"] == "1"
    assert ("2024-10-05 00:00 UTC" in refused.value.message) == (limited == "a day")
    served.ask([(0, 0, 0)], now=MIDNIGHT + 120)
    assert refusal(served.ask, [(0, 0, 0)], "clinic", MIDNIGHT + 180) == "uses_exhausted"
    # Another organisation has its own limit, and the next day renews what is limited by days alone.
    served.ask([(0, 0, 0)] * 5, "insurer", MIDNIGHT + 240)
    if limited == "in all":
        assert refusal(served.ask, [(0, 0, 0)], "clinic", MIDNIGHT + DAY) == "uses_exhausted"
    else:
        served.ask([(0, 0, 0)] * 5, now=MIDNIGHT + DAY)
    assert counted(served.enclave) == (10 if limited == "in all" else 15)


def test_of_callers_at_once_exactly_as_many_are_served_as_the_limit_holds(served: Served) -> None:
    served = replace(served, rows_per_day=7)
    tasks = [served.task([(number, 0, 0)]) for number in range(20)]

    def attempt(task: PredictTask) -> bool:
        with suppress(Problem):
            predict(served.enclave, task)
            return True
        return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, tasks)) == 7
    assert counted(served.enclave) == 7


def test_an_enclave_that_starts_anew_has_forgotten_no_use(served: Served, trio: Trio) -> None:
    served = replace(served, rows_per_day=3)
    task = served.task([(0, 0, 0)] * 3)
    predict(served.enclave, task)
    trio.load()
    again = replace(served, enclave=trio.enclaves[0])
    assert refusal(again.ask, [(0, 0, 0)]) == "uses_exhausted"
    assert refusal(predict, again.enclave, task) == "order_reused"


def test_a_clock_that_is_set_back_renews_nothing(served: Served) -> None:
    served = replace(served, rows_per_day=3)
    served.ask([(0, 0, 0)] * 3, now=MIDNIGHT + 5 * DAY)
    for back in (DAY, 4 * DAY, 400 * DAY):
        assert refusal(served.ask, [(0, 0, 0)], "clinic", MIDNIGHT + 5 * DAY - back) == "uses_exhausted"
    # What is counted meanwhile counts for the latest day that there was.
    served.ask([(0, 0, 0)] * 3, "insurer", MIDNIGHT)
    assert refusal(served.ask, [(0, 0, 0)], "insurer", MIDNIGHT + 5 * DAY + 1) == "uses_exhausted"
    # A clock that is set forward needs a caller who says the same time.
    honest = served.task([(0, 0, 0)], made=MIDNIGHT + 5 * DAY)
    assert refusal(predict, served.enclave, honest, MIDNIGHT + 6 * DAY) == "expired"


def test_an_order_sent_again_is_neither_answered_nor_counted_again(served: Served) -> None:
    task = served.task([(1, 2, 3)])
    predict(served.enclave, task)
    assert refusal(predict, served.enclave, task) == "order_reused"
    assert counted(served.enclave) == 1
    # Nor under another approval of the same terms, or with the model sealed anew.
    task.deployment.CopyFrom(served.deployment())
    assert refusal(predict, served.enclave, task) == "order_reused"


def test_a_withdrawn_model_answers_nobody_for_good(served: Served, trio: Trio) -> None:
    stranger = served.callers["clinic"]
    assert refusal(withdraw, served.enclave, served.withdrawal(stranger)) == "not_allowed"
    forged = served.withdrawal(served.operator)
    forged.withdrawal.signature = digests.sign(stranger, rules.WITHDRAWAL, forged.withdrawal.body)
    assert refusal(withdraw, served.enclave, forged) == "bad_signature"
    served.ask([(0, 0, 0)])
    withdraw(served.enclave, served.withdrawal(served.operator))
    withdraw(served.enclave, served.withdrawal(served.operator))
    assert refusal(served.ask, [(0, 0, 0)]) == "deployment_withdrawn"
    trio.load()
    again = replace(served, enclave=trio.enclaves[0])
    assert refusal(again.ask, [(0, 0, 0)]) == "deployment_withdrawn"
    assert counted(again.enclave) == 1


def test_another_organisations_caller_is_refused(served: Served) -> None:
    few = replace(served, callers={"clinic": served.callers["clinic"]})
    deployment = few.deployment()
    task = served.task([(0, 0, 0)], "insurer", deployment=deployment)
    assert refusal(predict, served.enclave, task) == "unknown_caller"
    # An operator who lists them does not make them callers of terms that leave them out.
    wide = few.approval()
    wide.callers.extend(served.approval().callers)
    task = served.task([(0, 0, 0)], "insurer", deployment=few.deployment(approved=wide))
    assert refusal(predict, served.enclave, task) == "unknown_caller"
    # Nor do terms and approval make a caller of somebody whom the provider does not know.
    unknown = replace(served, callers={"clinic": Ed25519PrivateKey.generate()})
    assert refusal(unknown.ask, [(0, 0, 0)]) == "unknown_caller"
    assert counted(served.enclave) == 0


def lies(served: Served) -> dict[str, tuple[str, PredictTask]]:
    """What a gateway may send in place of an honest task, and what the enclave says."""
    honest, rows = served.task([(1, 2, 3)]), [(1.0, 2.0, 3.0)]

    def changed(change: Callable[[PredictTask], None]) -> PredictTask:
        task = PredictTask()
        task.CopyFrom(honest)
        change(task)
        return task

    raised = served.terms()
    raised.rows_per_day = 10**6
    elsewhere = served.terms()
    elsewhere.node_key = bytes(32)
    own = replace(served, operator=served.developer)
    other = replace(
        served,
        model=DeployedModel(
            salt=SALT, form=served.model.form, predictors=[LinearPredictor(intercept=0, coefficients=(1, 1, 1))]
        ),
    )
    # Another developer's terms for a model whose sealed bytes they got hold of.
    thief = replace(served, developer=served.callers["insurer"])
    stolen = thief.deployment()
    stolen.sealed_model = served.sealed_model()
    order = PredictionOrder.FromString(honest.order.body)
    order.rows = 2
    miscounted = signed_order(order, served.callers["clinic"])
    order.rows = 0
    nothing = signed_order(order, served.callers["clinic"])
    moved = served.task(rows)
    return {
        "limit raised by the gateway": (
            "bad_signature",
            changed(lambda task: setattr(task.deployment.terms, "body", rules.canonical(raised))),
        ),
        "limit raised by the developer alone": (
            "not_approved",
            changed(lambda task: task.deployment.terms.CopyFrom(signed_terms(raised, served.developer))),
        ),
        "no approval": ("not_approved", changed(lambda task: task.deployment.ClearField("approval"))),
        "approved by a caller": (
            "not_approved",
            replace(served, operator=served.callers["clinic"]).task(rows),
        ),
        "approved by its developer": ("not_approved", own.task(rows)),
        "approval signed by another": (
            "bad_signature",
            changed(
                lambda task: task.deployment.approval.CopyFrom(
                    signed_approval(served.approval(), served.callers["clinic"])
                )
            ),
        ),
        "another model": (
            "bad_model",
            changed(lambda task: setattr(task.deployment, "sealed_model", other.sealed_model())),
        ),
        "altered model": (
            "bad_model",
            changed(lambda task: setattr(task.deployment, "sealed_model", honest.deployment.sealed_model[:-1] + b"x")),
        ),
        "stolen model": ("bad_model", thief.task(rows, deployment=stolen)),
        "another enclave": ("other_node", served.task(rows, deployment=served.deployment(elsewhere))),
        "other rows": ("other_input", changed(lambda task: setattr(task, "input", moved.input))),
        "more rows than are there": ("rows", changed(lambda task: task.order.CopyFrom(miscounted))),
        "no rows": ("rows", changed(lambda task: task.order.CopyFrom(nothing))),
        "altered order": (
            "bad_signature",
            changed(lambda task: setattr(task.order, "signature", bytes(64))),
        ),
        "an old order": ("expired", served.task(rows, made=MIDNIGHT)),
        "no order": ("unknown_caller", changed(lambda task: task.ClearField("order"))),
    }


def test_what_a_gateway_makes_up_is_neither_answered_nor_counted(served: Served) -> None:
    for name, (code, task) in lies(served).items():
        assert (name, refusal(predict, served.enclave, task)) == (name, code)
    assert counted(served.enclave) == 0
    assert served.ask([(1, 2, 3)]) == pytest.approx([expected((1, 2, 3))])


def test_an_operator_who_is_the_developer_approves_nothing_of_their_own(served: Served, trio: Trio) -> None:
    both = Policy(
        developers=served.enclave.policy.developers,
        operators=served.enclave.policy.operators | {public(served.developer)},
        auto_approve=True,
    )
    (trio.folder / "node-1" / "policy.json").write_text(both.to_json())
    trio.load()
    own = replace(served, enclave=trio.enclaves[0], operator=served.developer)
    assert refusal(check_deployment, own.enclave, own.deployment()) == "own_approval"


def test_rows_of_another_deployment_are_not_opened_for_this_one(served: Served) -> None:
    """A gateway that moves a caller's sealed rows to a deployment of its own friends learns nothing of them."""
    other = replace(served, rows_per_day=50)
    honest, friendly = served.task([SECRET_ROW]), other.task([(0, 0, 0)], "insurer")
    order = PredictionOrder.FromString(friendly.order.body)
    order.input_digest = digests.digest(rules.INPUT, honest.input)
    friendly.order.CopyFrom(signed_order(order, served.callers["insurer"]))
    friendly.input = honest.input
    assert refusal(predict, served.enclave, friendly) == "bad_input"


def test_a_journal_that_lacks_a_use_is_not_an_honest_one(served: Served, trio: Trio) -> None:
    """A use is taken out of the middle of the file: the enclave does not start."""
    for _ in range(3):
        served.ask([(0, 0, 0)])
    path = trio.folder / "node-1" / "journal"
    data = path.read_bytes()
    record = json.dumps(served.enclave.journal.records[-2], sort_keys=True, separators=(",", ":")).encode()
    start = data.index(record) - 8
    trio.close()
    path.write_bytes(data[:start] + data[start + 8 + len(record) + 32 :])
    with pytest.raises(Exception, match="was altered"):
        trio.load()


# What queries learn of a model: the numbers of docs/deployment.md.


def test_a_model_that_is_not_rounded_is_taken_with_one_query_more_than_it_has_columns(served: Served) -> None:
    unit = [tuple(float(place == column) for place in range(3)) for column in range(3)]
    constant, *raised = served.ask([(0.0, 0.0, 0.0), *unit])
    assert [constant, *(each - constant for each in raised)] == pytest.approx([INTERCEPT, *SLOPES], abs=1e-12)


def test_rounding_leaves_of_each_coefficient_a_rounding_step_over_its_columns_range(served: Served) -> None:
    """k + 1 queries, at the ends of the ranges: a coefficient is known to r / (2w), however it is read off."""
    width, step = 10.0, 0.01
    rounded = replace(served, decimals=2)
    ends = [tuple(sign * width * (place == column) for place in range(3)) for column in range(3) for sign in (1, -1)]
    answers = rounded.ask(ends)
    found = [(up - down) / (2 * width) for up, down in zip(answers[::2], answers[1::2], strict=True)]
    errors = [abs(one - exact) for one, exact in zip(found, SLOPES, strict=True)]
    assert max(errors) <= step / (2 * width) * (1 + 1e-9)
    # And no better: most of the coefficient is known, and not its last digits.
    assert max(errors) > 1e-6


def test_values_beyond_a_columns_range_tell_no_more_than_its_end(served: Served) -> None:
    """Otherwise one row at 1e12 would read a coefficient off, rounded or not."""
    rounded = replace(served, decimals=2)
    far, end = rounded.ask([(1e12, 0, 0), (10, 0, 0)])
    assert far == end
    infinite = rounded.ask([(math.inf, 0, 0)])
    assert math.isnan(infinite[0])


def test_every_further_query_halves_what_rounding_hides(served: Served) -> None:
    """Rounding is no noise: where an answer changes from one step to the next is found by bisection. So only the number
    of queries protects a model, and docs/deployment.md says how many bits each can tell."""
    rounded = replace(served, decimals=2, rows_per_day=10_000)

    def change(row: Callable[[float], tuple[float, ...]], queries: int) -> tuple[float, float]:
        """Where the answer along a line goes from one step to the next, and from which."""
        low, high = 0.0, 0.004
        first = rounded.ask([row(low)])[0]
        assert rounded.ask([row(high)])[0] != first
        for _ in range(queries):
            middle = (low + high) / 2
            if rounded.ask([row(middle)])[0] == first:
                low = middle
            else:
                high = middle
        return (low + high) / 2, first

    def slope_after(queries: int) -> float:
        # From one change at x2 = 0 to one at x2 = t: the third slope by the place of the first two changes alone.
        place, first = change(lambda t: (0.0, 0.0, t), queries)
        # The constant is INTERCEPT = 4.75; an answer changes half a step above `first`.
        return (first + 0.005 - INTERCEPT) / place

    errors = [abs(slope_after(queries) - SLOPES[2]) for queries in (4, 12, 20)]
    assert errors[0] > 0
    assert errors[1] < errors[0] / 16
    assert errors[2] < errors[1] / 16


def test_no_more_is_learned_than_the_answers_have_bits(served: Served) -> None:
    """With D decimals an answer of this model is one of few: q of them tell at most q times the log of how many."""
    rounded = replace(served, decimals=0, rows_per_day=10_000)
    chance = random.Random(5)
    rows = [tuple(chance.uniform(-10, 10) for _ in range(3)) for _ in range(400)]
    reach = INTERCEPT + 10 * sum(map(abs, SLOPES))
    assert len(set(rounded.ask(rows))) <= 2 * reach + 1
    # A model that is so close that no answer differs cannot be told from it by them.
    near = DeployedModel(salt=SALT, form=form_of(10, 10, 10))
    near.predictors.add(intercept=INTERCEPT, coefficients=np.array(SLOPES) + 1e-9)
    twin = replace(rounded, model=near)
    assert twin.ask(rows[:50]) == rounded.ask(rows[:50])
