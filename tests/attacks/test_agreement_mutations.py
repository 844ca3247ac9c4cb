"""Requests beyond an active agreement: whatever one field is changed, it is refused, and the clause is named.

A request that an agreement covers is changed in one thing at random, so that it is beyond it: who asks, about what,
when, for what purpose, by which kind of job, reading which column in which part of the plan, at which price, or what
became of the agreement meanwhile. In its long form 10,000 times. What is asked is the pure check that the doors of the
gateway ask, and the ledger's limits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api.problem import Problem
from yingbi.api.v1.agreement_pb2 import Agreement, AgreementEvent
from yingbi.api.v1.dataset_pb2 import AgreementBudget, Budget, DatasetDeclaration
from yingbi.api.v1.plan_pb2 import (
    ColumnReference,
    Expression,
    GroupKey,
    KeySelection,
    Model,
    NonNullCount,
    Plan,
    Program,
    ProgramTable,
    Relation,
    Scan,
    Selection,
    Statistic,
    UnitJoin,
)

from gateway.governance import agreement_states as states
from gateway.governance.agreement_states import Life
from gateway.governance.agreements import JOBS, Request, check_request
from gateway.ledger import limits
from tests.enclave_sim.plan.conftest import DECLARATION, PLAN

CLINIC = text_format.Parse(DECLARATION, DatasetDeclaration())
ALLOWED = ("visits.days", "visits.ward", "visits.pulse")
SECRET = ("urgent", "note", "day", "moment")
STARTS, EXPIRES = 1_000, 100_000
JOB_KINDS = ("query", "program", "evaluate")
PRICE, LIMIT = 1_000, 10_000


@dataclass(frozen=True)
class Case:
    """A request under an agreement, at a time, and what is left of budget and uses."""

    life: Life
    request: Request
    budget: AgreementBudget
    price: int
    now: float

    def check(self) -> None:
        """What stands between a request and its charge."""
        check_request(self.life, self.request, CLINIC, self.now)
        wide = Budget(limit_rho_units=10**9, delta=1e-7, agreement=self.budget)
        if not limits.holds(wide, self.price):
            raise limits.exceeded(wide, self.price)


def covered(random: Random) -> Case:
    """A request that the agreement covers."""
    terms = Agreement(
        agreement="falls",
        dataset="clinic",
        organisation="college",
        provider="hospital",
        supervisor="bureau",
        purpose="risk of falls",
        starts=Timestamp(seconds=STARTS),
        expires=Timestamp(seconds=EXPIRES),
        jobs=JOB_KINDS,
        columns=ALLOWED,
        max_uses=3,
        parameters_may_leave=False,
    )
    request = Request(
        "college",
        "clinic",
        random.choice(["query", None]),
        text_format.Parse(PLAN, Plan()),
        random.choice(["", terms.purpose]),
    )
    uses = random.randrange(3)
    spent = random.randrange(LIMIT - PRICE)
    budget = AgreementBudget(
        agreement="falls", limit_rho_units=LIMIT, spent_rho_units=spent, uses=uses, max_uses=3, epsilon=1, delta=1e-7
    )
    now = random.uniform(STARTS, EXPIRES - 1)
    return Case(Life(terms, states.ACTIVE), request, budget, random.randint(1, LIMIT - spent), now)


def other_word(random: Random, word: str) -> str:
    """Another than this one: one letter more, less, or another, in other case, or another word."""
    place = random.randrange(len(word))
    found = random.choice(
        [word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper(), word + " ", "", "bureau"]
    )
    return found if found != word else word + "x"


def other_dataset(random: Random, case: Case) -> tuple[Case, str]:
    dataset = other_word(random, "clinic")
    return replace(case, request=replace(case.request, dataset=dataset)), "dataset"


def other_organisation(random: Random, case: Case) -> tuple[Case, str]:
    organisation = other_word(random, "college")
    return replace(case, request=replace(case.request, organisation=organisation)), "organisation"


def other_purpose(random: Random, case: Case) -> tuple[Case, str]:
    purpose = other_word(random, "risk of falls") or "none"
    return replace(case, request=replace(case.request, purpose=purpose)), "purpose"


def too_early(random: Random, case: Case) -> tuple[Case, str]:
    return replace(case, now=STARTS - random.choice([0.001, 1, 500, 999])), "starts"


def too_late(random: Random, case: Case) -> tuple[Case, str]:
    return replace(case, now=EXPIRES + random.choice([0, 0.001, 1, 10**9])), "expires"


def other_job(random: Random, case: Case) -> tuple[Case, str]:
    job = random.choice([kind for kind in JOBS if kind not in JOB_KINDS])
    return replace(case, request=replace(case.request, job=job)), "jobs"


def training(random: Random, case: Case) -> tuple[Case, str]:
    """Of an agreement that allows to train, and no parameters to leave."""
    terms = Agreement()
    terms.CopyFrom(case.life.terms)
    terms.jobs.append("train")
    request = replace(case.request, job="train")
    return replace(case, life=replace(case.life, terms=terms), request=request), "parameters_may_leave"


def other_state(random: Random, case: Case) -> tuple[Case, str]:
    state = random.choice(sorted((states.BEFORE | states.ENDED | states.WITHHOLDING) - {states.EXPIRED}))
    events = [AgreementEvent(action="suspend", organisation="bureau")]
    return replace(case, life=replace(case.life, state=state, events=events)), "state"


def too_dear(random: Random, case: Case) -> tuple[Case, str]:
    over = case.budget.limit_rho_units - case.budget.spent_rho_units + random.choice([1, 2, 1000, 10**6])
    return replace(case, price=over), "budget"


def used_up(random: Random, case: Case) -> tuple[Case, str]:
    budget = AgreementBudget()
    budget.CopyFrom(case.budget)
    budget.uses = 3
    return replace(case, budget=budget), "max_uses"


def other_column(random: Random, case: Case) -> tuple[Case, str]:
    """A column beyond it somewhere in the plan: in place of another, or in a part that is added."""
    plan = Plan()
    plan.CopyFrom(case.request.plan)
    random.choice(PARTS)(random, plan)
    return replace(case, request=replace(case.request, plan=plan)), "columns"


def secret(random: Random) -> Expression:
    """Of a column that is not in the agreement, alone or within something else."""
    found = Expression(column=ColumnReference(name=random.choice(SECRET)))
    for _ in range(random.randrange(3)):
        outer = Expression()
        random.choice([outer.null_test.operand, outer.negation.operand, outer.membership.operand]).CopyFrom(found)
        if random.random() < 0.3:
            outer = Expression()
            branch = outer.conditional.branches.add()
            branch.condition.CopyFrom(found)
            branch.result.literal.bool_value = True
        found = outer
    return found


def _renamed(random: Random, plan: Plan) -> None:
    random.choice(list(_references(plan))).name = random.choice(SECRET)


def _selected(random: Random, plan: Plan) -> None:
    above = Relation(selection=Selection(input=plan.relation, condition=secret(random)))
    plan.relation.CopyFrom(above)


def _projected(random: Random, plan: Plan) -> None:
    """Under the name of a column that is allowed."""
    above = Relation()
    above.projection.input.CopyFrom(plan.relation)
    for name in ("days", "ward", "pulse"):
        column = above.projection.columns.add(name=name)
        column.expression.column.name = name
    random.choice(above.projection.columns).expression.CopyFrom(secret(random))
    plan.relation.CopyFrom(above)


def _ranked(random: Random, plan: Plan) -> None:
    above = Relation()
    above.unit_ranking.input.CopyFrom(plan.relation)
    above.unit_ranking.name = "place"
    if random.random() < 0.5:
        above.unit_ranking.partition_by.append(secret(random))
    else:
        above.unit_ranking.order_by.add().expression.CopyFrom(secret(random))
    plan.relation.CopyFrom(above)


def _joined(random: Random, plan: Plan) -> None:
    """With a table of which no column is in it, or of which none is read: whose rows there are is told all the same."""
    above = Relation(unit_join=UnitJoin(left=plan.relation, right=Relation(scan=Scan(table="patients"))))
    plan.relation.CopyFrom(above)


def _filtered(random: Random, plan: Plan) -> None:
    random.choice(plan.statistics).filter.CopyFrom(secret(random))


def _measured(random: Random, plan: Plan) -> None:
    plan.statistics.append(Statistic(non_null_count=NonNullCount(term=secret(random))))


def _grouped(random: Random, plan: Plan) -> None:
    plan.group_by.append(GroupKey(expression=secret(random)))


def _keys(random: Random, plan: Plan) -> None:
    plan.key_selection.CopyFrom(KeySelection(keys=[secret(random)]))


def _norms(random: Random, plan: Plan) -> None:
    added = plan.statistics.add()
    if random.random() < 0.5:
        added.unit_norms.keys.append(secret(random))
    else:
        added.unit_norms.vector.add().bounded_sum.term.CopyFrom(secret(random))


def _model_vector(random: Random, plan: Plan) -> None:
    plan.statistics.add().model_vector.terms.append(secret(random))


def _model(random: Random, plan: Plan) -> None:
    plan.evaluation.model.CopyFrom(Model(inputs=["pulse", random.choice(SECRET)]))


def _program(random: Random, plan: Plan) -> None:
    tables = [
        ProgramTable(table="visits", columns=["pulse", random.choice(SECRET)]),
        ProgramTable(table="patients", columns=["age"]),
        ProgramTable(table="patients", columns=[]),
        ProgramTable(table="visits", columns=["nowhere"]),
        ProgramTable(table="nowhere", columns=["pulse"]),
    ]
    plan.ClearField("relation")
    plan.ClearField("group_by")
    plan.ClearField("statistics")
    plan.program.CopyFrom(Program(tables=[random.choice(tables)]))


PARTS: list[Callable[[Random, Plan], None]] = [
    _renamed, _selected, _projected, _ranked, _joined, _filtered, _measured, _grouped, _keys, _norms, _model_vector,
    _model, _program,
]  # fmt: skip
MUTATIONS: list[Callable[[Random, Case], tuple[Case, str]]] = [
    other_dataset, other_organisation, other_purpose, too_early, too_late, other_job, training, other_state, too_dear,
    used_up, *[other_column] * 10,
]  # fmt: skip


def _references(message: Message) -> Iterator[ColumnReference]:
    if isinstance(message, ColumnReference):
        yield message
    for field, content in message.ListFields():
        if field.message_type is not None:
            for part in [content] if isinstance(content, Message) else content:
                yield from _references(part)


@pytest.mark.requirement("AGR-02", "AGR-06", "SEC-05")
def test_any_one_change_that_is_beyond_the_agreement_is_refused_and_its_clause_named(long_form: bool) -> None:
    random = Random(7)
    for _ in range(10_000 if long_form else 300):
        case = covered(random)
        case.check()
        mutation = random.choice(MUTATIONS)
        beyond, clause = mutation(random, case)
        with pytest.raises(Problem) as caught:
            beyond.check()
        assert caught.value.details.get("clause") == clause, (mutation.__name__, beyond.request)
        assert f"clause: {clause}" in caught.value.message


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__.strip("_"))
def test_every_part_of_a_plan_in_which_a_column_can_be_read_is_looked_into(
    part: Callable[[Random, Plan], None],
) -> None:
    """Also where the draw of the test above did not come to it."""
    for seed in range(20):
        random = Random(seed)
        case = covered(random)
        part(random, case.request.plan)
        with pytest.raises(Problem) as caught:
            case.check()
        assert caught.value.details["clause"] == "columns"
