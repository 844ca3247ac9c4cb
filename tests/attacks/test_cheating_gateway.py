"""A gateway that wants more opened than one total of all providers: design section 3, "A node decrypts only totals"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from yingbi.api.problem import Problem
from yingbi.api.v1.node_pb2 import BoundTotal, Contribution, OpenedTotal, OpeningShare, OpenTask, SignTask

from enclave_sim import contributions, opening
from enclave_sim.enclave import Enclave
from enclave_sim.paillier import encoding
from enclave_sim.paillier.encryption import encrypt
from tests.attacks.three_enclaves import Trio, of_zeros, refusal, resigned, with_partials

Vector = list[int]


@dataclass(frozen=True)
class Sums:
    """What a gateway holds after two jobs of one plan, and every enclave's key for the corrupt ones."""

    first: list[Contribution]
    second: list[Contribution]
    enclaves: list[Enclave]

    @property
    def n(self) -> int:
        return self.enclaves[0].key.n

    def numbers(self, position: int) -> Vector:
        return contributions.from_bytes(self.first[position].ciphertexts, self.enclaves[0].key.public)

    def altered(self, position: int, change: Callable[[Vector], Vector]) -> list[Contribution]:
        """The first job's contributions, the ciphertexts of one changed by a gateway that cannot sign."""
        numbers = change(self.numbers(position))
        encoded = encoding.to_bytes(numbers, self.enclaves[0].key.public.nsquare)
        changed = Contribution(signed=self.first[position].signed, ciphertexts=encoded)
        return [*self.first[:position], changed, *self.first[position + 1 :]]

    def corrupt(self, change: Callable[[Vector], list[bytes]]) -> list[Contribution]:
        """The same for a third enclave that signs whatever it is told."""
        return [*self.first[:2], resigned(self.enclaves[2], self.first[2], change(self.numbers(2)))]

    def bytes(self, numbers: Vector) -> list[bytes]:
        return encoding.to_bytes(numbers, self.enclaves[0].key.public.nsquare)


def _signed_by(contribution: Contribution, other: Contribution) -> Contribution:
    changed = Contribution()
    changed.CopyFrom(contribution)
    changed.signed.signature = other.signed.signature
    return changed


def _blank(sums: Sums) -> Contribution:
    zeros = list(encrypt(sums.enclaves[0].key.public, [0] * len(sums.first[0].ciphertexts)).ciphertexts)
    return Contribution(signed=sums.first[1].signed, ciphertexts=sums.bytes(zeros))


TOTALS: dict[str, Callable[[Sums], list[Contribution]]] = {
    "one provider alone": lambda s: [s.first[0]],
    "nobody": lambda _: [],
    "one left out": lambda s: s.first[:2],
    "one doubled": lambda s: [s.first[0], s.first[1], s.first[1]],
    "one three times": lambda s: [s.first[0]] * 3,
    "one too many": lambda s: [*s.first, s.first[2]],
    "another order": lambda s: [s.first[1], s.first[0], s.first[2]],
    "two jobs mixed": lambda s: [s.first[0], s.first[1], s.second[2]],
    "another job whole": lambda s: s.second,
    "one with another's signature": lambda s: [s.first[0], _signed_by(s.first[1], s.first[0]), s.first[2]],
    "one as another": lambda s: [
        s.first[0],
        Contribution(signed=s.first[1].signed, ciphertexts=s.first[0].ciphertexts),
        s.first[2],
    ],
    "encryptions of zero in place of two": lambda s: [s.first[0], _blank(s), _blank(s)],
    "re-randomised": lambda s: s.altered(1, lambda v: [c * pow(7, s.n, s.n**2) % s.n**2 for c in v]),
    "times a constant": lambda s: s.altered(1, lambda v: [pow(c, 2, s.n**2) for c in v]),
    "negated": lambda s: s.altered(1, lambda v: [pow(c, -1, s.n**2) for c in v]),
    "shifted by one": lambda s: s.altered(1, lambda v: [c * (1 + s.n) % s.n**2 for c in v]),
    "zero": lambda s: s.altered(0, lambda v: [0] * len(v)),
    "fewer ciphertexts": lambda s: s.altered(2, lambda v: v[1:]),
}


@pytest.fixture(scope="module")
def template(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trio, list[list[Contribution]]]:
    """Two jobs of one plan to which every enclave contributed."""
    trio = trio_template.copy(tmp_path_factory.mktemp("two jobs"))
    plan = trio.plan()
    vectors = [trio.contribute(f"job-{i}", trio.task(plan, request_id=f"request-{i}")) for i in (1, 2)]
    trio.close()
    return trio, vectors


@pytest.fixture(scope="module")
def shared(template: tuple[Trio, list[list[Contribution]]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    """For tests that bind nothing."""
    copied = template[0].copy(tmp_path_factory.mktemp("shared"))
    yield copied
    copied.close()


@pytest.fixture(scope="module")
def shared_sums(shared: Trio, template: tuple[Trio, list[list[Contribution]]]) -> Sums:
    return Sums(template[1][0], template[1][1], shared.enclaves)


@pytest.fixture
def trio(template: tuple[Trio, list[list[Contribution]]], tmp_path: Path) -> Iterator[Trio]:
    copied = template[0].copy(tmp_path / "trio")
    yield copied
    copied.close()


@pytest.fixture
def sums(trio: Trio, template: tuple[Trio, list[list[Contribution]]]) -> Sums:
    return Sums(template[1][0], template[1][1], trio.enclaves)


def _refused_by_all(trio: Trio, job: str, total: list[Contribution], enclaves: list[Enclave]) -> set[str]:
    codes = {refusal(opening.open_total, enclave, job, OpenTask(contributions=total)) for enclave in enclaves}
    assert trio.records("open") == [0, 0, 0]
    return codes


@pytest.mark.parametrize("name", TOTALS)
def test_no_enclave_opens_another_total_than_the_jobs(shared: Trio, shared_sums: Sums, name: str) -> None:
    """A node gives its partial decryption only for what it recomputes from the manifest's contributions."""
    assert _refused_by_all(shared, "job-1", TOTALS[name](shared_sums), shared.enclaves) <= {"bad_contributions"}


def test_attempts_bind_nothing(trio: Trio, sums: Sums) -> None:
    """A gateway that tried everything can still only open the honest total."""
    for change in TOTALS.values():
        _refused_by_all(trio, "job-1", change(sums), trio.enclaves)
    trio.load()
    trio.sign("job-1", trio.open("job-1", sums.first))


def test_a_total_is_not_opened_under_another_jobs_name(shared: Trio, shared_sums: Sums) -> None:
    """Neither under one that was charged for the same plan, nor under one that nobody started."""
    assert _refused_by_all(shared, "job-2", shared_sums.first, shared.enclaves) == {"bad_contributions"}
    assert _refused_by_all(shared, "job-3", shared_sums.first, shared.enclaves) == {"not_started"}


RUBBISH: dict[str, Callable[[Sums, Vector], list[bytes]]] = {
    "zero": lambda s, v: s.bytes([0] * len(v)),
    "n squared": lambda s, v: s.bytes([s.n**2] * len(v)),
    "n": lambda s, v: s.bytes([s.n] * len(v)),
    "longer": lambda s, v: [b"\0" + data for data in s.bytes(v)],
    "shorter": lambda s, v: [data[1:] if data[0] == 0 else b"" for data in s.bytes(v)],
    "empty": lambda s, v: [b""] * len(v),
}


@pytest.mark.parametrize("name", RUBBISH)
def test_honest_enclaves_use_no_number_that_is_no_ciphertext(shared: Trio, shared_sums: Sums, name: str) -> None:
    """Even signed by a corrupt enclave: decrypting 0 or a multiple of a prime would give the key away."""
    total = shared_sums.corrupt(lambda vector: RUBBISH[name](shared_sums, vector))
    assert _refused_by_all(shared, "job-1", total, shared.enclaves[:2]) == {"bad_ciphertext"}


@pytest.mark.parametrize("which", [0, 1])
def test_honest_enclaves_use_no_multiple_of_a_prime(
    shared: Trio, shared_sums: Sums, safe_primes: tuple[int, int], which: int
) -> None:
    """As above, for the two numbers that only a dealer's accomplice could know."""
    multiples = shared_sums.bytes([c * safe_primes[which] % shared_sums.n**2 for c in shared_sums.numbers(2)])
    total = shared_sums.corrupt(lambda _: multiples)
    assert _refused_by_all(shared, "job-1", total, shared.enclaves[:2]) == {"bad_ciphertext"}


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_corrupt_enclave_with_another_number_of_ciphertexts_opens_nothing(
    shared: Trio, shared_sums: Sums, count: int
) -> None:
    """The layout is fixed by the plan (here: one ciphertext); no position of a total lacks a summand."""
    total = shared_sums.corrupt(lambda vector: shared_sums.bytes((vector * 3)[:count]))
    assert _refused_by_all(shared, "job-1", total, shared.enclaves[:2]) == {"bad_contributions"}


def test_two_totals_of_one_job_are_never_both_opened(trio: Trio, sums: Sums) -> None:
    """A node durably binds a job to one digest; a second contribution needs a corrupt enclave, and does not help."""
    trio.open("job-1", sums.first)
    other = [*sums.first[:2], of_zeros(trio.enclaves[2], sums.first[2], "job-1")]
    for restart in (False, True):
        if restart:
            trio.load()
        for enclave in trio.enclaves[:2]:
            task = OpenTask(contributions=other)
            assert refusal(opening.open_total, enclave, "job-1", task) == "already_bound"
    assert trio.records("open") == [1, 1, 1]


def test_nothing_is_signed_before_it_is_opened(trio: Trio, sums: Sums) -> None:
    """An enclave signs only a total that it bound itself."""
    for job in ("job-1", "job-3"):
        for enclave in trio.enclaves:
            assert refusal(opening.sign_receipt, enclave, job, SignTask()) in {"not_opened", "not_started"}
    elsewhere = trio.copy(trio.folder.parent / "elsewhere")
    honest = SignTask(opened=elsewhere.opened("job-1", elsewhere.open("job-1", sums.first)))
    elsewhere.close()
    assert refusal(opening.sign_receipt, trio.enclaves[2], "job-1", honest) == "not_opened"


def _crossed(left: OpeningShare, right: OpeningShare) -> OpeningShare:
    return OpeningShare(body=left.body, signature=right.signature, partials=left.partials)


@dataclass(frozen=True)
class Opened:
    first: list[OpeningShare]
    second: list[OpeningShare]
    enclaves: list[Enclave]

    def altered(self, change: Callable[[int], int], *, sign: bool) -> list[OpeningShare]:
        """Every partial decryption of the first enclave changed."""
        key = self.enclaves[0].key
        numbers = [int.from_bytes(part, "big") for part in self.first[0].partials]
        partials = encoding.to_bytes([change(number) % key.n for number in numbers], key.n)
        return [with_partials(self.enclaves[0], self.first[0], partials, sign=sign), self.first[1]]

    def proven_by(self, other: OpeningShare) -> list[OpeningShare]:
        """What the first enclave sends twice: a wrong share, signed, with the proof of another."""
        wrong = self.altered(lambda part: 2 * part, sign=True)
        wrong[0].proof.CopyFrom(other.proof)
        return wrong


SHARES: dict[str, Callable[[Opened], list[OpeningShare]]] = {
    "one of another job": lambda o: [o.first[0], o.second[1]],
    "all of another job": lambda o: o.second,
    "partials swapped": lambda o: [
        with_partials(o.enclaves[0], o.first[0], list(o.first[1].partials), sign=False),
        o.first[1],
    ],
    "partials of the other job": lambda o: [
        with_partials(o.enclaves[0], o.first[0], list(o.second[0].partials), sign=False),
        o.first[1],
    ],
    "signature of another": lambda o: [_crossed(o.first[0], o.first[1]), o.first[1]],
    "tampered": lambda o: o.altered(lambda part: 2 * part, sign=False),
    "tampered by its enclave": lambda o: o.altered(lambda part: 2 * part, sign=True),
    "squared by its enclave": lambda o: o.altered(lambda part: part * part, sign=True),
    "another job's by a corrupt enclave": lambda o: [
        with_partials(o.enclaves[0], o.first[0], list(o.second[0].partials), sign=True),
        o.first[1],
    ],
    "with another's proof": lambda o: o.proven_by(o.first[1]),
    "with the proof of another job": lambda o: o.proven_by(o.second[0]),
    "without a proof": lambda o: o.proven_by(OpeningShare()),
}


@pytest.fixture(scope="module")
def opened(
    template: tuple[Trio, list[list[Contribution]]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Trio, Opened]]:
    """Both jobs opened by every enclave; signing changes nothing."""
    trio, (first, second) = template[0].copy(tmp_path_factory.mktemp("opened")), template[1]
    yield trio, Opened(trio.open("job-1", first), trio.open("job-2", second), trio.enclaves)
    trio.close()


@pytest.mark.parametrize("name", SHARES)
def test_an_honest_gateway_names_whose_share_is_wrong(opened: tuple[Trio, Opened], name: str) -> None:
    """A node that sends rubbish is told from those that do not, by the proofs of what did not open."""
    trio, shares = opened
    with pytest.raises(Problem) as refused:
        trio.opened("job-1", SHARES[name](shares))
    assert refused.value.code == "bad_share"
    liar = "node-2" if name == "one of another job" else "node-1"
    assert liar in refused.value.message


def test_right_shares_open_without_a_proof(trio: Trio, sums: Sums) -> None:
    """What they open to proves itself; an enclave that is not asked for a proof makes none."""
    task = OpenTask(consents=trio.consent("job-1", sums.first))
    plain = [opening.open_total(enclave, "job-1", task) for enclave in trio.enclaves[:2]]
    task.prove = True
    proven = [opening.open_total(enclave, "job-1", task) for enclave in trio.enclaves[:2]]
    assert [share.HasField("proof") for share in (*plain, *proven)] == [False, False, True, True]
    assert [share.partials for share in plain] == [share.partials for share in proven]
    assert trio.opened("job-1", plain) == trio.opened("job-1", proven)


def test_a_node_that_sent_rubbish_and_then_proves_a_right_share_is_named(opened: tuple[Trio, Opened]) -> None:
    """Its signature is on both; the others sent the same twice."""
    trio, shares = opened
    with pytest.raises(Problem) as refused:
        trio.opened("job-1", shares.altered(lambda part: 2 * part, sign=True), shares.first[:2])
    assert (refused.value.code, "node-1" in refused.value.message) == ("bad_share", True)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_shares_than_the_threshold_open_nothing(opened: tuple[Trio, Opened], count: int) -> None:
    trio, shares = opened
    with pytest.raises(Problem) as refused:
        trio.opened("job-1", shares.first[:count])
    assert refused.value.code == "too_few_shares"


def test_one_share_twice_opens_nothing(opened: tuple[Trio, Opened]) -> None:
    trio, shares = opened
    with pytest.raises(Problem) as refused:
        trio.opened("job-1", [shares.first[0], shares.first[0]])
    assert refused.value.code == "too_few_shares"


def _copy(opened: OpenedTotal, **changes: Sequence[object]) -> OpenedTotal:
    changed = OpenedTotal()
    changed.CopyFrom(opened)
    for name, values in changes.items():
        changed.ClearField(name)  # type: ignore[arg-type]
        getattr(changed, name).extend(values)
    return changed


def _times(root: bytes, factor: int, n: int) -> bytes:
    return (int.from_bytes(root, "big") * factor % n).to_bytes(len(root), "big")


CLAIMS: dict[str, Callable[[OpenedTotal, OpenedTotal, int], OpenedTotal]] = {
    "one more": lambda o, _, n: _copy(o, cells=[o.cells[0] + 1, *o.cells[1:]]),
    "one less in the last cell": lambda o, _, n: _copy(o, cells=[*o.cells[:-1], o.cells[-1] - 1]),
    "two cells exchanged": lambda o, _, n: _copy(o, cells=[o.cells[1], o.cells[0], *o.cells[2:]]),
    "negated": lambda o, _, n: _copy(o, cells=[-cell for cell in o.cells]),
    "nothing": lambda o, _, n: OpenedTotal(),
    "a cell missing": lambda o, _, n: _copy(o, cells=o.cells[:-1]),
    "a cell too many": lambda o, _, n: _copy(o, cells=[*o.cells, 0]),
    "a cell beyond its slot": lambda o, _, n: _copy(o, cells=[2**62, *o.cells[1:]]),
    "the other job's": lambda _, other, n: other,
    "the other job's cells": lambda o, other, n: _copy(o, cells=other.cells),
    "the other job's randomness": lambda o, other, n: _copy(o, randomness=other.randomness),
    "no randomness": lambda o, _, n: _copy(o, randomness=[]),
    "randomness zero": lambda o, _, n: _copy(o, randomness=[bytes(len(o.randomness[0]))]),
    "randomness n": lambda o, _, n: _copy(o, randomness=[n.to_bytes(len(o.randomness[0]), "big")]),
    "randomness doubled": lambda o, _, n: _copy(o, randomness=[_times(o.randomness[0], 2, n)]),
    "randomness of other lengths": lambda o, _, n: _copy(o, randomness=[b"\0" + o.randomness[0]]),
    "one root too many": lambda o, _, n: _copy(o, randomness=[*o.randomness, o.randomness[0]]),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_no_enclave_signs_what_the_total_does_not_hold(opened: tuple[Trio, Opened], name: str) -> None:
    """Whoever opened it: an enclave checks the numbers against the total that it bound, and needs nobody's word."""
    trio, shares = opened
    honest, other = trio.opened("job-1", shares.first), trio.opened("job-2", shares.second)
    task = SignTask(opened=CLAIMS[name](honest, other, trio.enclaves[0].key.n))
    for enclave in trio.enclaves:
        assert refusal(opening.sign_receipt, enclave, "job-1", task) == "bad_opening"
    assert len({one.receipt_body for one in trio.sign_opened("job-1", honest)}) == 1


def test_any_two_shares_open_the_same_numbers(opened: tuple[Trio, Opened]) -> None:
    """A gateway that chooses which shares it uses cannot choose among results."""
    trio, first = opened[0], opened[1].first
    bodies = {
        trio.sign("job-1", chosen)[0].receipt_body for chosen in (first, first[:2], first[1:], [first[2], first[0]])
    }
    assert len(bodies) == 1


def test_a_total_that_was_altered_on_a_nodes_disk_is_noticed(trio: Trio, sums: Sums) -> None:
    """The host may change the file between the second step and the third; the journal has its digest."""
    shares = trio.open("job-1", sums.first)
    honest = trio.opened("job-1", shares)
    path = trio.folder / "node-1" / "jobs" / "job-1" / "total"
    bound = BoundTotal.FromString(path.read_bytes())
    bound.ciphertexts[0] = sums.first[0].ciphertexts[0]
    path.write_bytes(bound.SerializeToString())
    assert refusal(opening.sign_receipt, trio.enclaves[0], "job-1", SignTask(opened=honest)) == "altered_file"
