"""A gateway that asks outside of an agreement: design section 3, "Authority is checked inside".

Each enclave keeps to what its own provider signed, and counts in its own journal: whatever the gateway sends, however
its host sets the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from yingbi.api.v1.agreement_pb2 import Agreement, SignedAgreement
from yingbi.api.v1.job_pb2 import Authorization, EvaluateQuery, SignedApproval, TrainQuery
from yingbi.api.v1.node_pb2 import ContributeTask, OpenTask
from yingbi.api.v1.plan_pb2 import (
    COLUMN_TYPE_FLOAT64,
    ColumnReference,
    Evaluation,
    Expression,
    Fit,
    ModelVector,
    Plan,
    SecondMoments,
    Statistic,
    UnitNorms,
)

from enclave_sim import jobs, opening
from enclave_sim.engine.protocol import Engine, never
from enclave_sim.plan.canonical import encode
from enclave_sim.plan.releases import releases, unknown_shares
from enclave_sim.plan.sensitivity import slot_bits_needed
from gateway.planning.evaluation import plan_evaluation
from gateway.planning.training import plan_training
from tests.attacks.agreed_requests import (
    AGREED,
    ANALYST,
    DAY,
    INSIDE,
    NOW,
    ORGANISATION,
    PURPOSE,
    STRANGER,
    Person,
    Sealed,
    charged,
    clock_at,
    person,
    refused,
    request,
    signature_of,
    signed,
    terms,
)
from tests.attacks.mutations import LONG, altered, altered_message, fuzz
from tests.attacks.three_enclaves import (
    DELTA,
    PROVIDER,
    SUPERVISOR,
    Trio,
    agreed,
    approval_of,
    approval_signed,
    public,
    refusal,
    visits_declaration,
    visits_of,
)

MUTATIONS = 10_000 if LONG else 300
OUTSIDE = (
    "SELECT AVG(age) FROM visits",
    "SELECT COUNT(*) FROM visits WHERE age > 40",
    "SELECT night, COUNT(*) FROM visits GROUP BY night",
    "SELECT COUNT(*) FILTER (WHERE night) FROM visits",
    "SELECT AVG(pain + age) FROM visits",
    "SELECT MEDIAN(age) FROM visits",
    "SELECT AVG(oldest) FROM (SELECT person, MAX(age) AS oldest FROM visits GROUP BY person) AS people",
    "SELECT COUNT(*) FROM (SELECT clinic, CASE WHEN age > 3 THEN 1 END AS old FROM visits) AS v WHERE clinic = 'north'",
)


@pytest.fixture(scope="module")
def shared(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """With a second dataset; for tests in which nothing is computed."""
    copied = trio_template.copy(tmp_path_factory.mktemp("agreements"))
    copied.add(visits_declaration("others"), [visits_of(node) for node in range(3)])
    copied.add(visits_declaration("grave", grade=4), [visits_of(node) for node in range(3)])
    yield copied
    copied.close()


def test_a_request_inside_its_agreement_runs(trio: Trio) -> None:
    """Under signatures of people alone: so the refusals below are for what is changed and nothing else."""
    trio.run("job-1", request(trio, trio.plan(INSIDE)))
    # Who names no purpose means the agreement's.
    trio.contribute("job-2", request(trio, trio.plan(INSIDE, epsilon=0.5), request_id="request-2", purpose=""))


# Any one change of the request or the agreement


@dataclass(frozen=True)
class Plans:
    """Of requests, made once."""

    inside: Plan
    outside: Sequence[Plan]
    trained: Plan
    about_others: Plan
    dear: Sequence[Plan]


@pytest.fixture(scope="module")
def plans(shared: Trio) -> Plans:
    trained = plan_training(
        TrainQuery(model=Fit.MODEL_LINEAR_REGRESSION, formula="pain ~ clinic"),
        shared.declaration(),
        dataset_version=shared.version(),
        parties=3,
        epsilon=1.0,
        delta=DELTA,
    )
    return Plans(
        inside=shared.plan(INSIDE),
        outside=[shared.plan(sql) for sql in OUTSIDE],
        trained=trained.plan,
        about_others=shared.plan(INSIDE, dataset="others"),
        dear=[shared.plan(INSIDE, epsilon=epsilon) for epsilon in (3.01, 3.5, 7.0, 100.0)],
    )


@dataclass(frozen=True)
class Attempt:
    """A task, when it is sent, and what it may be refused for."""

    task: ContributeTask
    codes: frozenset[str]
    at: float = NOW


Change = Callable[[st.DataObject, Trio, Plans], Attempt | None]
ALTERED_TERMS = frozenset(
    {"bad_agreement", "agreement_needed", "agreement_other_provider", "agreement_one_party", "agreement_not_signed"}
)
ALTERED_SIGNATURE = frozenset({"agreement_not_signed", "bad_certificate", "other_duty", "signatory_expired"})
names = st.text(st.characters(codec="utf-8"), max_size=20)


def _attempt(task: ContributeTask, *codes: str, at: float = NOW) -> Attempt:
    return Attempt(task, frozenset(codes), at)


def _other_columns(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    return _attempt(request(trio, data.draw(st.sampled_from(plans.outside))), "agreement_other_column")


def _other_kind(_: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    return _attempt(request(trio, plans.trained), "agreement_other_job")


def _other_dataset(_: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    return _attempt(request(trio, plans.about_others), "agreement_other_dataset")


def _other_purpose(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt | None:
    purpose = data.draw(names | st.sampled_from([PURPOSE + " ", PURPOSE.upper()]))
    task = request(trio, plans.inside, purpose=purpose)
    return None if purpose in ("", PURPOSE) else _attempt(task, "agreement_other_purpose")


def _other_agreement(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt | None:
    name = data.draw(names | st.sampled_from(["", "narro", "narrow2", "wide"]))
    return None if name == "narrow" else _attempt(request(trio, plans.inside, agreement=name), "agreement_differs")


def _other_time(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    task, said = request(trio, plans.inside), terms()
    if data.draw(st.booleans()):
        early = data.draw(st.floats(0, said.starts.seconds, exclude_max=True))
        return _attempt(task, "agreement_not_begun", at=early)
    late = data.draw(st.floats(said.expires.seconds, NOW + 390 * DAY))
    return _attempt(task, "agreement_expired", at=late)


def _other_price(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    return _attempt(request(trio, data.draw(st.sampled_from(plans.dear))), "budget_exceeded")


def _other_people(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    asking = {
        "unknown_developer": [
            Person(STRANGER),
            Person(trio.developer),
            Person(STRANGER, ANALYST.certificate),
            person(STRANGER, "analyst"),
            person(PROVIDER, "analyst"),
        ],
        "other_duty": [person(ORGANISATION, "signatory", "administrator")],
        "certificate_expired": [person(ORGANISATION, "analyst", until=NOW)],
    }
    code = data.draw(st.sampled_from(sorted(asking)))
    return _attempt(request(trio, plans.inside, by=data.draw(st.sampled_from(asking[code]))), code)


def _altered_authorization(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt | None:
    task = request(trio, plans.inside)
    body = Authorization.FromString(task.authorization.body)
    changed = altered_message(data, body)
    if changed == body:
        return None
    task.authorization.body = changed.SerializeToString(deterministic=True)
    return _attempt(task, "bad_signature", "unknown_developer")


def _altered_plan(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt | None:
    task = request(trio, plans.inside)
    task.plan = encode(altered_message(data, plans.inside, [plans.trained, *plans.outside]))
    return None if task.plan == encode(plans.inside) else _attempt(task, "bad_plan", "other_plan")


def _altered_terms(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt | None:
    task = request(trio, plans.inside)
    if data.draw(st.integers(0, 3)):
        changed = altered_message(data, terms(), [trio.agreement()]).SerializeToString(deterministic=True)
    else:
        changed = altered(data, AGREED.terms, [trio.agreement().SerializeToString()])
    task.agreement.terms = changed
    return None if changed == AGREED.terms else Attempt(task, ALTERED_TERMS)


def _signed_by_others(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt:
    wider = terms(jobs=["train"], columns=["visits.age"], max_uses=100)
    signing = [STRANGER, ORGANISATION, PROVIDER, SUPERVISOR, trio.operator]
    organisation, provider = data.draw(st.sampled_from(signing)), data.draw(st.sampled_from(signing))
    if (organisation, provider) == (ORGANISATION, PROVIDER):
        organisation = STRANGER
    return Attempt(
        request(trio, plans.inside, under=agreed(wider, organisation, provider)), frozenset({"agreement_not_signed"})
    )


def _altered_signature(data: st.DataObject, trio: Trio, plans: Plans) -> Attempt | None:
    task = request(trio, plans.inside)
    party = data.draw(st.sampled_from(["organisation", "provider"]))
    signature = getattr(AGREED, party)
    changed = altered_message(data, signature, [AGREED.organisation, AGREED.provider])
    getattr(task.agreement, party).CopyFrom(changed)
    return None if changed == signature else Attempt(task, ALTERED_SIGNATURE)


CHANGES: list[Change] = [
    _other_columns,
    _other_kind,
    _other_dataset,
    _other_purpose,
    _other_agreement,
    _other_time,
    _other_price,
    _other_people,
    _altered_authorization,
    _altered_plan,
    _altered_terms,
    _signed_by_others,
    _altered_signature,
]


@pytest.mark.requirement("AGR-06", "SEC-05")
def test_any_change_of_a_request_or_of_its_agreement_is_refused(shared: Trio, plans: Plans) -> None:
    """And the clause is named, before anything is charged or a row unsealed."""
    seen: set[str] = set()

    def target(data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(CHANGES))(data, shared, plans)
        if attempt is None:
            return
        code = refused(shared, attempt.task, at=attempt.at)
        assert code in attempt.codes
        seen.add(code)

    fuzz(target, MUTATIONS, long=False)
    assert len(seen) >= 8
    # The task that was changed is one that runs: nothing but rows keeps it.
    sealed = replace(shared.enclaves[0], engine=cast(Engine, Sealed()))
    with pytest.raises(AssertionError, match="rows would be read"):
        jobs.contribute(sealed, "job-inside", request(shared, plans.inside, request_id="inside"), never)


# Agreements that do not count


def test_two_agreements_that_each_hold_are_not_mixed(shared: Trio) -> None:
    """A request is under the one that its developer signed, and under all of its clauses."""
    wide = signed(terms(agreement="wide", columns=["visits.age"]))
    plan = shared.plan("SELECT AVG(age) FROM visits")
    assert refused(shared, request(shared, plan, under=wide, agreement="narrow")) == "agreement_differs"
    mixed = SignedAgreement(terms=wide.terms, organisation=AGREED.organisation, provider=AGREED.provider)
    assert refused(shared, request(shared, plan, under=mixed)) == "agreement_not_signed"
    half = SignedAgreement(terms=wide.terms, organisation=wide.organisation, provider=AGREED.provider)
    assert refused(shared, request(shared, plan, under=half)) == "agreement_not_signed"


def test_an_agreement_counts_that_was_signed_by_signatories_alone(shared: Trio) -> None:
    """Nobody else of the organisations. When their certificates have to count: `test_backdated_signatures`."""
    data = AGREED.terms
    for duty in ("approver", "analyst"):
        under = SignedAgreement(
            terms=data, organisation=AGREED.organisation, provider=signature_of(person(PROVIDER, duty), data)
        )
        assert refused(shared, request(shared, shared.plan(INSIDE), under=under)) == "other_duty"


def test_clauses_of_a_later_version_are_not_overlooked(shared: Trio) -> None:
    """Both signed them, and this enclave would not keep them."""
    data = AGREED.terms + b"\xf8\x07\x01"  # field 127
    by = [signature_of(Person(key), data) for key in (ORGANISATION, PROVIDER)]
    under = SignedAgreement(terms=data, organisation=by[0], provider=by[1])
    assert refused(shared, request(shared, shared.plan(INSIDE), under=under)) == "bad_agreement"


def test_a_provider_has_no_agreement_with_itself(shared: Trio) -> None:
    under = agreed(terms(organisation_key=public(PROVIDER)), PROVIDER, PROVIDER)
    task = request(shared, shared.plan(INSIDE), under=under, by=Person(PROVIDER))
    assert refused(shared, task) == "agreement_one_party"


@pytest.mark.requirement("AGR-02")
def test_without_an_agreement_nothing_runs_in_a_governed_zone(shared: Trio) -> None:
    """Nor under one that nobody, or only the developers, signed."""
    task = request(shared, shared.plan(INSIDE))
    task.ClearField("agreement")
    assert refused(shared, task) == "agreement_needed"
    for under in (
        SignedAgreement(terms=AGREED.terms),
        SignedAgreement(terms=AGREED.terms, organisation=AGREED.organisation),
    ):
        assert refused(shared, request(shared, shared.plan(INSIDE), under=under)) == "agreement_not_signed"


def test_a_models_parameters_stay_where_the_agreement_says_so(shared: Trio, plans: Plans) -> None:
    stay = terms(jobs=["train"], parameters_may_leave=False)
    assert refused(shared, request(shared, plans.trained, under=signed(stay))) == "parameters_stay"


@pytest.mark.parametrize(
    ("may_leave", "jobs", "code"), [(True, ["evaluate"], "agreement_other_job"), (False, [], "parameters_stay")]
)
def test_a_step_of_training_is_one_beside_a_model_to_evaluate_too(
    shared: Trio, may_leave: bool, jobs: list[str], code: str
) -> None:
    """A gateway that plans so, and a developer who signs it: the model is evaluated for nothing that is released."""
    evaluated = plan_evaluation(
        EvaluateQuery(
            sha256=bytes(32),
            task=Evaluation.TASK_BINARY,
            inputs="pain",
            response="pain >= 5",
            output="y",
            width=1,
            rows="visits",
            bins=10,
        ),
        shared.declaration(),
        dataset_version=shared.version(),
        parties=3,
        epsilon=1.0,
        delta=DELTA,
    ).plan
    term = Expression(column=ColumnReference(name=evaluated.evaluation.model.inputs[0], type=COLUMN_TYPE_FLOAT64))
    step = ModelVector(terms=[term], second_moments=SecondMoments(products=True), max_norm=2**16)
    hidden = with_one(evaluated, Statistic(model_vector=step))
    allowed = allowing(*jobs, parameters_may_leave=may_leave)
    assert refused(shared, request(shared, hidden, under=signed(allowed))) == code


def test_what_a_first_stage_releases_is_no_parameter(trio: Trio) -> None:
    """Else a question whose keys nobody declared would be charged by the gateway, and refused by every enclave."""
    stage = with_one(trio.plan(INSIDE), Statistic(unit_norms=UnitNorms(edges=[1, 2])))
    stay = terms(parameters_may_leave=False)
    charged(trio, request(trio, stage, under=signed(stay)), "job-1")


def test_no_answer_goes_for_a_first_stage(shared: Trio) -> None:
    """Norms beside it would make a question of a training's first stage, and open it where there is training alone."""
    mixed = shared.plan("SELECT AVG(pain) FROM visits")
    del mixed.outputs[:]
    mixed.statistics.add(unit_norms=UnitNorms(edges=[1, 2]))
    assert refused(shared, request(shared, priced(mixed), under=signed(allowing("train")))) == "bad_plan"


def allowing(*jobs: str, **changes: Any) -> Agreement:
    """Terms that allow these kinds of jobs alone; all of them where none is named."""
    allowed = terms(**changes)
    allowed.jobs[:] = jobs
    return allowed


def with_one(plan: Plan, statistic: Statistic) -> Plan:
    """A plan of the same rows that measures this alone."""
    changed = Plan()
    changed.CopyFrom(plan)
    for part in ("statistics", "outputs", "group_by", "grouping_sets", "presentation"):
        changed.ClearField(part)
    changed.clipping.max_groups, changed.clipping.joint_norm = 1, 0
    changed.statistics.append(statistic)
    return priced(changed)


def priced(plan: Plan) -> Plan:
    """The plan with much noise, and at its price."""
    for statistic in plan.statistics:
        statistic.sigma, statistic.rho_units = 10**7, 0
    for release in releases(plan):
        price = release.rho_units(10**7, unknown_shares(plan))
        plan.statistics[release.statistics[0]].rho_units = price
    plan.slot_bits = slot_bits_needed(plan, max_units=visits_declaration().max_units)
    return plan


# What a provider waived


@pytest.fixture
def waived(trio: Trio) -> Trio:
    """A zone made with --auto-approve."""
    trio.set_policy(auto_approve=True)
    trio.load()
    return trio


def test_where_agreements_are_waived_one_that_is_given_still_binds(waived: Trio) -> None:
    """Unsigned it is the gateway's word, about developers whom the provider knows; half signed it is nothing."""
    inside, outside = waived.plan(INSIDE), waived.plan(OUTSIDE[0])
    bare, known = SignedAgreement(terms=AGREED.terms), Person(waived.developer)
    assert refused(waived, request(waived, inside, under=bare)) == "unknown_developer"
    assert refused(waived, request(waived, outside, under=bare, by=known)) == "agreement_other_column"
    assert (
        refused(waived, request(waived, inside, under=bare, by=known, purpose="another")) == "agreement_other_purpose"
    )
    half = SignedAgreement(terms=AGREED.terms, provider=AGREED.provider)
    assert refused(waived, request(waived, inside, under=half)) == "agreement_not_signed"
    assert refused(waived, request(waived, outside)) == "agreement_other_column"
    waived.contribute("job-1", request(waived, inside, under=bare, by=known, purpose=""))
    waived.contribute("job-2", request(waived, inside, request_id="request-2"))
    plain = request(waived, outside, by=known, request_id="request-3", agreement="", purpose="")
    plain.ClearField("agreement")
    waived.contribute("job-3", plain)


def test_a_dataset_that_asks_for_agreements_has_one_even_there(waived: Trio) -> None:
    declaration = visits_declaration("asking")
    declaration.agreements_required = True
    waived.add(declaration, [visits_of(node) for node in range(3)])
    task = request(waived, waived.plan(INSIDE, dataset="asking"), by=Person(waived.developer))
    task.ClearField("agreement")
    assert refused(waived, task) == "agreement_needed"


# What is counted


@pytest.mark.requirement("SEC-07")
def test_uses_are_counted_over_a_restart(trio: Trio) -> None:
    """In the journal of each node: the gateway's count is its own affair."""
    plan, under = trio.plan(INSIDE, epsilon=0.1), signed(terms(max_uses=2))
    for number in (1, 2):
        charged(trio, request(trio, plan, under=under, request_id=f"request-{number}"), f"job-{number}")
    third = request(trio, plan, under=under, request_id="request-3")
    assert refused(trio, third, job="job-3") == "agreement_used_up"
    trio.load()
    assert refused(trio, third, job="job-3") == "agreement_used_up"


def test_uses_of_a_day_are_counted_by_the_clock_that_never_goes_back(trio: Trio) -> None:
    plan, under = trio.plan(INSIDE, epsilon=0.1), signed(terms(max_uses_a_day=1))
    charged(trio, request(trio, plan, under=under), "job-1")
    second = request(trio, plan, under=under, request_id="request-2")
    assert refused(trio, second, job="job-2") == "agreement_used_up_today"
    assert refused(trio, second, job="job-2", at=NOW - DAY) == "agreement_used_up_today"
    charged(trio, second, "job-2", at=NOW + DAY)
    third = request(trio, plan, under=under, request_id="request-3")
    assert refused(trio, third, job="job-3") == "agreement_used_up_today"


def test_an_agreement_that_was_over_stays_over(trio: Trio) -> None:
    """A host that sets its clock back wins nothing once another job ran after the term."""
    plan = trio.plan(INSIDE, epsilon=0.1)
    short = signed(terms(agreement="short", expires=Timestamp(seconds=NOW + 60)))
    charged(trio, request(trio, plan), "job-1", at=NOW + 61)
    trio.load()
    assert refused(trio, request(trio, plan, under=short, request_id="request-2"), job="job-2") == "agreement_expired"


def test_the_agreements_budget_is_counted_beside_the_datasets(trio: Trio) -> None:
    plan = trio.plan(INSIDE, epsilon=2.5)
    charged(trio, request(trio, plan), "job-1")
    assert refused(trio, request(trio, plan, request_id="request-2"), job="job-2") == "budget_exceeded"
    charged(trio, request(trio, plan, under=signed(terms(agreement="second")), request_id="request-3"), "job-3")


def test_a_supplement_goes_on_with_what_its_predecessors_used(trio: Trio) -> None:
    """And from its first charge on, they are over."""
    plan, last = trio.plan(INSIDE, epsilon=0.1), ""
    for number, name in enumerate(("first", "second", "third"), 1):
        under = signed(terms(agreement=name, supersedes=last, max_uses=3))
        charged(trio, request(trio, plan, under=under, request_id=f"request-{number}"), f"job-{number}")
        last = name
    assert refused(trio, request(trio, plan, under=under, request_id="request-4"), job="job-4") == "agreement_used_up"
    trio.load()
    for name, code in (("first", "agreement_superseded"), ("second", "agreement_superseded")):
        before = signed(terms(agreement=name, max_uses=100))
        assert refused(trio, request(trio, plan, under=before, request_id="request-5"), job="job-5") == code
    more = signed(terms(agreement="fourth", supersedes="third", max_uses=4))
    charged(trio, request(trio, plan, under=more, request_id="request-6"), "job-6")
    assert refused(trio, request(trio, plan, under=more, request_id="request-7"), job="job-7") == "agreement_used_up"


class _Failing:
    """An engine whose process is killed while it reads."""

    def contribution(self, *_: object) -> list[int]:
        raise KeyboardInterrupt


def test_a_job_that_was_charged_before_a_crash_goes_on_and_is_no_second_use(trio: Trio) -> None:
    plan, under = trio.plan(INSIDE, epsilon=0.1), signed(terms(max_uses=1))
    task = request(trio, plan, under=under)
    for enclave in trio.enclaves:
        with pytest.raises(KeyboardInterrupt):
            jobs.contribute(replace(enclave, engine=cast(Engine, _Failing())), "job-1", task, never)
    trio.load()
    trio.run("job-1", task)
    assert trio.records("charge") == [1, 1, 1]


# After the start


@pytest.mark.requirement("AGR-03")
def test_a_job_whose_agreement_expires_is_not_opened(trio: Trio) -> None:
    """Nor contributed to again, nor signed, where it was opened already."""
    task = request(trio, trio.plan(INSIDE))
    with clock_at(NOW):
        contributed = trio.contribute("job-1", task)
        opened = trio.opened("job-1", trio.open("job-1", contributed))
    with clock_at(terms().expires.seconds):
        for call in (
            lambda: trio.contribute("job-1", task),
            lambda: trio.consent("job-1", contributed),
            lambda: trio.open("job-1", contributed),
            lambda: trio.sign_opened("job-1", opened),
        ):
            assert refusal(call) == "agreement_expired"
    with clock_at(NOW):
        trio.sign_opened("job-1", opened)


@pytest.mark.requirement("AGR-05")
@pytest.mark.parametrize("about", [{"job": "job-1"}, {"agreement": "narrow"}, {"dataset": "visits"}])
def test_what_a_node_noted_as_stopped_goes_no_further(trio: Trio, about: dict[str, str]) -> None:
    task = request(trio, trio.plan(INSIDE))
    contributed = trio.contribute("job-1", task)
    for enclave in trio.enclaves:
        enclave.journal.append({"kind": "stop", "stop": "ab", **about})
        assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributed)) == "stopped"
        assert refusal(jobs.contribute, enclave, "job-1", task, never) == "stopped"
    other = request(trio, trio.plan(INSIDE, epsilon=0.5), request_id="request-2")
    if "job" in about:
        trio.run("job-2", other)
    else:
        assert refused(trio, other, job="job-2") == "stopped"


# Approvals by people


def _approval(plan: Plan, by: Person, **changes: object) -> SignedApproval:
    body = approval_of("job-1", plan, by.key)
    for name, value in changes.items():
        setattr(body, name, value)
    approval = approval_signed(body, by.key)
    if by.certificate:
        approval.certificate.CopyFrom(by.certificate)
    return approval


APPROVER, ASSESSOR = person(PROVIDER, "approver"), person(SUPERVISOR, "assessor")


@pytest.mark.parametrize(
    ("by", "changes", "code"),
    [
        pytest.param(person(SUPERVISOR, "administrator", "auditor"), {}, "other_duty", id="of another duty"),
        pytest.param(person(SUPERVISOR, "approver"), {}, "other_duty", id="of a provider's duty"),
        pytest.param(person(SUPERVISOR, "assessor", until=NOW), {}, "certificate_expired", id="of an earlier time"),
        pytest.param(Person(STRANGER, ASSESSOR.certificate), {}, "not_approved", id="with another's certificate"),
        pytest.param(person(STRANGER, "assessor"), {}, "not_approved", id="of a stranger's organisation"),
        pytest.param(person(PROVIDER, "assessor"), {}, "not_approved", id="of the provider again"),
        pytest.param(person(ORGANISATION, "assessor"), {}, "not_approved", id="of who asks"),
        pytest.param(ASSESSOR, {"job": "job-2"}, "other_plan", id="for another job"),
        pytest.param(ASSESSOR, {"plan_hash": bytes(32)}, "other_plan", id="for another hash"),
    ],
)
def test_an_approval_by_somebody_who_may_not_does_not_count(
    shared: Trio, by: Person, changes: dict[str, object], code: str
) -> None:
    plan = shared.plan(INSIDE, dataset="grave")
    task = request(shared, plan, under=signed(terms(dataset="grave")))
    task.approvals.extend([_approval(plan, by, **changes), _approval(plan, APPROVER)])
    assert refused(shared, task) == code


@pytest.mark.requirement("ROL-02")
def test_nobodys_approval_counts_of_a_request_of_their_own_organisation(shared: Trio) -> None:
    """A supervisor that has an agreement as a developer would assess itself."""
    plan = shared.plan(INSIDE, dataset="grave")
    under = agreed(terms(dataset="grave", organisation_key=public(SUPERVISOR)), SUPERVISOR, PROVIDER)
    task = request(shared, plan, under=under, by=person(SUPERVISOR, "analyst"))
    task.approvals.extend([_approval(plan, APPROVER), _approval(plan, ASSESSOR)])
    assert refused(shared, task) == "own_approval"


def test_an_approval_is_good_for_one_job(trio: Trio, tmp_path: Path) -> None:
    """Replayed for another it is nothing, whatever the developer signed."""
    trio.add(visits_declaration("grave", grade=4), [visits_of(node) for node in range(3)])
    plan, under = trio.plan(INSIDE, dataset="grave"), signed(terms(dataset="grave"))
    approvals = [_approval(plan, APPROVER), _approval(plan, ASSESSOR)]
    for job, request_id in (("job-1", "request-1"), ("job-2", "request-2")):
        task = request(trio, plan, under=under, request_id=request_id)
        task.approvals.extend(approvals)
        if job == "job-1":
            trio.run(job, task)
        else:
            assert refused(trio, task, job=job) == "other_plan"
