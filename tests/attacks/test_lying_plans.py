"""Plans and dataset versions that lie: design section 3, "A node trusts no gateway".

Each lie is told twice where it makes sense: by a gateway alone, which cannot sign, and with a developer who
signs whatever the gateway wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from yingbi.api import digests, zcdp
from yingbi.api.v1.dataset_pb2 import ShardRegistration, SignedShardRegistration
from yingbi.api.v1.plan_pb2 import COLUMN_TYPE_INT64, Plan

from enclave_sim import jobs
from enclave_sim.engine.protocol import never
from enclave_sim.plan.canonical import encode, plan_hash
from enclave_sim.plan.sensitivity import delta2_squared, groups, slot_bits_needed, total_rho_units, width
from enclave_sim.privacy.gaussian import rho_units_of
from tests.attacks.three_enclaves import DELTA, Trio, authorized, refusal, visits_declaration, visits_of


@pytest.fixture(scope="module")
def shared(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """With a second dataset like the first; nothing is ever computed."""
    copied = trio_template.copy(tmp_path_factory.mktemp("lies"))
    copied.add(visits_declaration("other"), [visits_of(node) for node in range(3)])
    yield copied
    copied.close()


def priced(plan: Plan) -> Plan:
    """The plan with the prices and the width that its noise asks for."""
    for statistic in plan.statistics:
        square = delta2_squared(plan, statistic)
        statistic.rho_units = rho_units_of(square, statistic.sigma, plan.noise.parties, groups(plan) * width(statistic))
    plan.slot_bits = slot_bits_needed(plan, max_units=60)
    return plan


def _less_noise(plan: Plan) -> None:
    for statistic in plan.statistics:
        statistic.sigma //= 2


def _less_noise_at_its_price(plan: Plan) -> None:
    _less_noise(plan)
    priced(plan)


def _less_noise_within_a_larger_epsilon(plan: Plan) -> None:
    _less_noise_at_its_price(plan)
    while zcdp.rho_units_for(plan.epsilon, plan.delta) < total_rho_units(plan):
        plan.epsilon *= 1.5


def _more_noise_at_its_price(plan: Plan) -> None:
    for statistic in plan.statistics:
        statistic.sigma *= 2
    priced(plan)


def _free(plan: Plan) -> None:
    for statistic in plan.statistics:
        statistic.rho_units = 0


def _parties(count: int) -> Callable[[Plan], None]:
    def lie(plan: Plan) -> None:
        plan.noise.parties = count
        priced(plan)
        plan.epsilon = 100

    return lie


def _units_at_fewer_parties(plan: Plan) -> None:
    plan.noise.parties_per_unit = 0


def _narrow_slots(plan: Plan) -> None:
    plan.slot_bits -= 1


def _other_version(plan: Plan) -> None:
    plan.dataset_version = bytes(32)


def _other_dataset(plan: Plan) -> None:
    plan.dataset = "other"


def _half_the_range(plan: Plan) -> None:
    for statistic in plan.statistics:
        if statistic.HasField("bounded_sum"):
            statistic.bounded_sum.half_range /= 2


def _tighter_clipping_claimed(plan: Plan) -> None:
    """The price of a bound that the clipping does not keep."""
    plan.clipping.max_rows = 2
    priced(plan)
    plan.clipping.max_rows = 4


def _names_the_unit(plan: Plan) -> None:
    plan.group_by[0].expression.column.name = "person"
    plan.group_by[0].expression.column.type = COLUMN_TYPE_INT64


# Each with whether it is refused even where the developer signs it.
LIES: dict[str, tuple[Callable[[Plan], None], bool]] = {
    "less noise": (_less_noise, True),
    "less noise at its price": (_less_noise_at_its_price, True),
    "less noise within a larger ε": (_less_noise_within_a_larger_epsilon, False),
    "more noise": (_more_noise_at_its_price, False),
    "free of charge": (_free, True),
    "fewer parties": (_parties(2), True),
    "more parties": (_parties(4), True),
    "a unit at no party": (_units_at_fewer_parties, True),
    "too narrow slots": (_narrow_slots, True),
    "another version": (_other_version, True),
    "another dataset": (_other_dataset, True),
    "half the range": (_half_the_range, True),
    "tighter clipping claimed": (_tighter_clipping_claimed, True),
    "grouping by the unit": (_names_the_unit, True),
}


@pytest.mark.parametrize("name", LIES)
def test_a_gateway_cannot_alter_a_signed_plan(shared: Trio, name: str) -> None:
    """The developer signs the plan's hash and its price; the altered plan has neither."""
    lie, _ = LIES[name]
    plan = shared.plan()
    task = shared.task(plan)
    lie(plan)
    task.plan = encode(plan)
    codes = {refusal(jobs.contribute, enclave, "job-1", task, never) for enclave in shared.enclaves}
    assert codes <= {"bad_plan", "other_plan"}
    assert shared.records("charge") == [0, 0, 0]


@pytest.mark.parametrize("name", [name for name, (_, always) in LIES.items() if always])
def test_a_developer_who_helps_the_gateway_gains_nothing(shared: Trio, name: str) -> None:
    """Sensitivity, noise and price are checked again inside, whoever signed them."""
    plan = shared.plan()
    LIES[name][0](plan)
    task = shared.task(plan, dataset="visits")
    codes = {refusal(jobs.contribute, enclave, "job-1", task, never) for enclave in shared.enclaves}
    assert codes == {"bad_plan"}
    assert shared.records("charge") == [0, 0, 0]


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data + b"\xf8\x07\x01",
        lambda data: data + b"\x08\x01",
        lambda data: data[:-1],
        lambda _: b"",
        lambda _: b"\xff" * 20,
    ],
    ids=["unknown field", "field twice", "cut", "empty", "garbage"],
)
def test_a_plan_that_is_not_in_canonical_form_is_refused(shared: Trio, change: Callable[[bytes], bytes]) -> None:
    """What is approved is what is computed: no field that this version does not obey."""
    plan = shared.plan()
    task = shared.task(plan)
    task.plan = change(task.plan)
    body = shared.authorization(plan, "request-1")
    body.plan_hash = plan_hash(task.plan)
    task.authorization.CopyFrom(authorized(body, shared.developer))
    codes = {refusal(jobs.contribute, enclave, "job-1", task, never) for enclave in shared.enclaves}
    assert codes == {"bad_plan"}


Shards = list[SignedShardRegistration]


def _resigned(trio: Trio, shard: SignedShardRegistration, node: int, **changes: object) -> SignedShardRegistration:
    body = ShardRegistration.FromString(shard.body)
    for name, value in changes.items():
        setattr(body, name, value)
    data = body.SerializeToString(deterministic=True)
    return SignedShardRegistration(body=data, signature=trio.enclaves[node].identity.sign(digests.SHARD, data))


SHARDS: dict[str, tuple[Callable[[Trio, Shards], Shards], set[str]]] = {
    "none": (lambda _, s: [], {"bad_shards"}),
    "one missing": (lambda _, s: s[:2], {"bad_shards"}),
    "one doubled": (lambda _, s: [s[0], s[1], s[1]], {"bad_shards"}),
    "another order": (lambda _, s: [s[1], s[0], s[2]], {"bad_shards"}),
    "one of another dataset": (lambda t, s: [s[0], s[1], t.shards["other"][2]], {"bad_shards"}),
    "all of another dataset": (lambda t, _: t.shards["other"], {"bad_plan"}),
    "not signed": (lambda _, s: [*s[:2], SignedShardRegistration(body=s[2].body)], {"bad_shards"}),
    "signed by another": (
        lambda t, s: [*s[:2], _resigned(t, s[2], 1, commitment=bytes(32))],
        {"bad_shards"},
    ),
    # A corrupt third enclave: its own words are its own, the honest ones see another version.
    "another commitment of a corrupt enclave": (
        lambda t, s: [*s[:2], _resigned(t, s[2], 2, commitment=bytes(32))],
        {"bad_plan"},
    ),
    "another declaration of a corrupt enclave": (
        lambda t, s: [*s[:2], _resigned(t, s[2], 2, declaration_digest=bytes(32))],
        {"bad_shards"},
    ),
}


@pytest.mark.parametrize("name", SHARDS)
def test_a_dataset_version_is_the_signed_shards_of_all_providers(shared: Trio, name: str) -> None:
    """What the plan names as its data is what each enclave finds on its own disk."""
    change, codes = SHARDS[name]
    task = shared.task(shared.plan())
    shards = change(shared, list(task.shards))
    del task.shards[:]
    task.shards.extend(shards)
    for enclave in shared.enclaves[:2]:
        assert refusal(jobs.contribute, enclave, "job-1", task, never) in codes


def test_the_honest_plan_is_computed(trio: Trio) -> None:
    """So the refusals above are for the lie and nothing else; and δ is the one that was asked for."""
    body = trio.run("job-1", trio.task(trio.plan()))
    assert body.delta == DELTA
