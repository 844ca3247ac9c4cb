"""Verification as an oracle: what a developer, an issuer, a gateway and a host can make of it, each doing their worst.

`enclave_sim/verification.py`, `subject_consent.py` and `sealed/verification_index.py` have the arguments.
"""

from __future__ import annotations

import queue
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import digests
from yingbi.api.v1.node_pb2 import Contribution, Task, TaskResult, VerifyTask, WitnessTask
from yingbi.api.v1.verification_pb2 import Claim, ConsentTerms, SignedOrder, Verdict, VerificationOrder
from yingbi.api.verification import consent_digest, terms_digest
from yingbi.consents import IssuerKey, Value, read_token, terms_of

from enclave_sim import jobs, upkeep, verification
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.enclave import load_enclave
from enclave_sim.enclave_process import VERIFY_SECONDS, Worker, until_the_grid
from enclave_sim.sealed import verification_index
from enclave_sim.sealed.shard import open_table
from enclave_sim.sealed.verification_index import RECORDS, TABLE, VerificationIndex
from tests.attacks.three_enclaves import NODES, Trio, bring, refusal
from tests.attacks.verifying import BORN, DATASET, Caller, altered, open_answer, people_declaration, people_of

# Person 1004, at the second provider: a man's row has an odd number, and every third is written in Latin letters.
SUBJECT = 1004
TRUE: dict[str, Value] = {"male": 0, "bmi": 21.0}
STRANGER = 987654


@pytest.fixture(scope="module")
def sealed(trio_template: Trio, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    trio = trio_template.copy(tmp_path_factory.mktemp("verification") / "trio")
    caller = Caller(trio)
    caller.add()
    yield caller
    trio.close()


@pytest.fixture
def caller(sealed: Caller, tmp_path: Path) -> Iterator[Caller]:
    """As `sealed`, with journals of its own."""
    sealed.trio.close()
    copied = Caller(sealed.trio.copy(tmp_path / "trio"), sealed.issuer)
    yield copied
    copied.trio.close()


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"male": 0}, True),
        ({"male": 1}, False),
        ({"male": 0.0, "bmi": 21}, True),
        ({"male": 0, "bmi": 21.0000001}, False),
        ({"born": BORN.replace(month=3, day=4)}, True),
        ({"born": BORN}, False),
        ({"city": "西安"}, True),
        ({"city": "西安 "}, False),
        ({"male": 0, "bmi": 21.0, "born": BORN.replace(month=3, day=4), "city": "西安"}, True),
        ({"male": 0, "bmi": 21.0, "born": BORN.replace(month=3, day=4), "city": "Xi'an"}, False),
    ],
)
def test_all_claims_are_so_exactly_or_there_is_no_match(
    caller: Caller, claims: dict[str, Value], expected: bool
) -> None:
    assert caller.ask(SUBJECT, claims) is expected


def test_a_missing_value_matches_no_claim(caller: Caller) -> None:
    assert caller.ask(1000, {"male": 0}) is True
    assert [caller.ask(1000, {"bmi": bmi}) for bmi in (0, 20.0)] == [False, False]


def test_another_providers_subject_is_unknown_here(caller: Caller) -> None:
    """So one provider's answer says nothing of where else somebody is a patient, and nobody else is asked."""
    assert caller.ask(4, {"male": 0}, node=1) is False
    assert caller.ask(4, {"male": 0}, node=0) is True


def test_bands_are_those_of_the_metadata_and_an_unknown_subject_is_in_the_lowest(trio: Trio) -> None:
    caller = Caller(trio)
    caller.add(bands=True)
    claims: dict[str, Value] = {"male": 0, "bmi": 21.0}
    assert caller.ask(SUBJECT, claims) == "high"
    assert caller.ask(SUBJECT, {**claims, "bmi": 22}) == "some"
    assert caller.ask(SUBJECT, {**claims, "bmi": 22, "city": "x"}) == "low"
    assert caller.ask(STRANGER, claims) == "low"


def test_nobody_is_asked_about_without_a_consent_of_an_approved_issuer(caller: Caller) -> None:
    forger, token = IssuerKey.new(), caller.consent(SUBJECT, TRUE)
    theirs = caller.send(caller.consent(SUBJECT, TRUE, issuer=forger), SUBJECT, TRUE)
    assert caller.read(theirs, caller.pass_on(theirs)) == "unknown_issuer"
    named = altered(read_token(caller.consent(SUBJECT, TRUE, issuer=forger)).consent, issuer_key=caller.issuer.public)
    posing = caller.send(token, SUBJECT, TRUE, consent=named)
    assert caller.read(posing, caller.pass_on(posing)) == "bad_consent"
    assert not caller.uses()


def test_subjects_cannot_be_enumerated_with_one_consent(caller: Caller) -> None:
    """Neither by asking about others under it, nor by asking again, nor by altering whom or what it is for."""
    token = caller.consent(SUBJECT, TRUE)
    for other in range(1000, 1010):
        if other != SUBJECT:
            sent = caller.send(token, other, TRUE)
            assert caller.read(sent, caller.pass_on(sent)) == "other_claims"
    held = read_token(token)
    for other in range(1005, 1010):
        terms = terms_of(other, TRUE, "insurance-claim", held.enclave_key, held.nonce)
        consent = altered(held.consent, terms_digest=terms_digest(terms))
        sent = caller.send(token, other, TRUE, consent=consent)
        assert caller.read(sent, caller.pass_on(sent)) == "bad_consent"
    sent = caller.send(token, SUBJECT, TRUE)
    assert caller.read(sent, caller.pass_on(sent)) is True
    again = caller.send(token, SUBJECT, TRUE)
    assert caller.read(again, caller.pass_on(again)) == "consent_used"
    assert len(caller.uses()) == 1


def _other_claim(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, {**TRUE, "male": 1})
    return caller.read(sent, caller.pass_on(sent))


def _fewer_claims(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, {"male": 0})
    return caller.read(sent, caller.pass_on(sent))


def _other_purpose(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE, purpose="employment")
    return caller.read(sent, caller.pass_on(sent))


def _purpose_of_nobody(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE, purpose="any"), SUBJECT, TRUE, purpose="any")
    return caller.read(sent, caller.pass_on(sent))


def _other_developer(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE, developer=Ed25519PrivateKey.generate()), SUBJECT, TRUE)
    return caller.read(sent, caller.pass_on(sent))


def _other_enclave(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE, node=0), SUBJECT, TRUE, node=1)
    return caller.read(sent, caller.pass_on(sent))


def _other_dataset(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE, dataset="visits"), SUBJECT, TRUE)
    return caller.read(sent, caller.pass_on(sent))


def _expired(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE, now=time.time() - 700), SUBJECT, TRUE)
    return caller.read(sent, caller.pass_on(sent))


def _early(caller: Caller) -> bool | str:
    sent = caller.send(caller.consent(SUBJECT, TRUE, now=time.time() + 3600), SUBJECT, TRUE)
    return caller.read(sent, caller.pass_on(sent))


def _undeclared_field(caller: Caller) -> bool | str:
    claims: dict[str, Value] = {"note": "Raw-Secret-Note"}
    return caller.ask(SUBJECT, claims)


def _wrong_type(caller: Caller) -> bool | str:
    return caller.ask(SUBJECT, {"male": "yes"})


def _any_value(caller: Caller) -> bool | str:
    return caller.ask(SUBJECT, {"male": "*"})


def _no_subject(caller: Caller) -> bool | str:
    return caller.ask("", TRUE)


@pytest.mark.parametrize(
    ("attempt", "code"),
    [
        (_other_claim, "other_claims"),
        (_fewer_claims, "other_claims"),
        (_other_purpose, "other_claims"),
        (_purpose_of_nobody, "purpose"),
        (_other_developer, "other_developer"),
        (_other_enclave, "other_enclave"),
        (_other_dataset, "other_dataset"),
        (_expired, "expired"),
        (_early, "not_yet"),
        (_undeclared_field, "bad_claims"),
        (_wrong_type, "bad_claims"),
        (_any_value, "bad_claims"),
        (_no_subject, "bad_claims"),
    ],
)
def test_what_the_consent_does_not_cover_is_refused_before_anything_is_used(
    caller: Caller, attempt: Callable[[Caller], bool | str], code: str
) -> None:
    assert attempt(caller) == code
    assert not caller.uses()


def test_a_consent_for_more_than_a_day_is_refused_whoever_signed_it(caller: Caller) -> None:
    """An issuer that signs with tools of its own."""
    token, later = caller.consent(SUBJECT, TRUE), Timestamp(seconds=int(time.time()) + 24 * 3600 + 60)
    consent = altered(read_token(token).consent, caller.issuer, expires=later)
    sent = caller.send(token, SUBJECT, TRUE, consent=consent)
    assert caller.read(sent, caller.pass_on(sent)) == "blanket_consent"


def test_a_field_that_is_claimed_twice_or_out_of_order_has_no_form(caller: Caller) -> None:
    """Of two values for one field, either might be taken for the one that was consented to."""
    for fields in (["male", "male"], ["male", "bmi"], []):
        token = caller.consent(SUBJECT, TRUE)
        held = read_token(token)
        terms = ConsentTerms.FromString(terms_of(SUBJECT, TRUE, "insurance-claim", held.enclave_key, held.nonce))
        del terms.claims[:]
        terms.claims.extend(Claim(field=name, value=str(place)) for place, name in enumerate(fields))
        body = terms.SerializeToString()
        consent = altered(held.consent, caller.issuer, terms_digest=terms_digest(body))
        sent = caller.send(token, SUBJECT, TRUE, terms=body, consent=consent)
        assert caller.read(sent, caller.pass_on(sent)) == "bad_claims"


def test_a_developer_cannot_be_an_issuer(caller: Caller) -> None:
    """Refused when the dataset is added, and at each use, should the provider's policy come to name the issuer."""
    own = IssuerKey(caller.trio.developer)
    reply = bring(caller.enclave(), people_declaration(own.public), [people_of(1)])
    assert reply is not None
    assert "cannot consent in place of subjects" in reply.failure.message
    for node in NODES:
        path = caller.trio.folder / node / "policy.json"
        path.write_text(path.read_text().replace('"developers": [', f'"developers": ["{caller.issuer.public.hex()}", '))
    caller.trio.load()
    assert caller.ask(SUBJECT, TRUE) == "issuer_is_developer"


# Once, whatever happens in between.


def test_two_uses_at_once_are_one_answer(caller: Caller) -> None:
    """Two requests under one consent, given to the enclave's process before it has begun with either."""
    token = caller.consent(SUBJECT, TRUE)
    both = [caller.send(token, SUBJECT, TRUE) for _ in range(2)]
    answered: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()
    worker = Worker(caller.enclave(), answered.put)
    for place, sent in enumerate(both):
        worker.accept(Task(id=str(place), verify=caller.task(sent)))
    results = [answered.get(timeout=60) for _ in both]
    said = {result.id: caller.read(both[int(result.id)], result.verified) for result in results}
    assert said == {"0": True, "1": "consent_used"}


def test_a_consent_that_its_order_calls_by_another_name_is_refused(caller: Caller) -> None:
    """Else a developer would name it anew for each use: journals know consents by the name in the order."""
    token = caller.consent(SUBJECT, TRUE)
    for _ in range(2):
        sent = caller.send(token, SUBJECT, TRUE, named=secrets.token_bytes(32))
        assert caller.read(sent, caller.pass_on(sent)) == "bad_consent"
    assert not caller.uses()


def test_a_verdict_waits_for_no_job(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a job that is charged meanwhile finds its journal as it should be."""
    begun, goes_on = threading.Event(), threading.Event()
    plan = caller.trio.plan()
    whole = jobs.contribute

    def slow(*arguments: Any) -> Contribution:
        begun.set()
        assert goes_on.wait(60)
        return whole(*arguments)

    monkeypatch.setattr(jobs, "contribute", slow)
    answered: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()
    worker = Worker(caller.enclave(), answered.put)
    worker.accept(Task(id="job", job="job-1", contribute=caller.trio.task(plan)))
    assert begun.wait(60)
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    worker.accept(Task(id="verify", verify=caller.task(sent)))
    first = answered.get(timeout=60)
    assert (first.id, caller.read(sent, first.verified)) == ("verify", True)
    goes_on.set()
    assert answered.get(timeout=60).WhichOneof("kind") == "contribution"
    caller.trio.load()
    assert len(caller.uses()) == 1
    assert caller.trio.records("contribution") == [0, 1, 0]


@pytest.mark.parametrize("whom", ["dataset", "developer"])
def test_what_was_stopped_is_not_verified_either_and_no_consent_is_used(caller: Caller, whom: str) -> None:
    """Whether a node was told before it witnesses, or before it answers."""
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    task = caller.task(sent)
    key = VerificationOrder.FromString(sent.order.body).developer_key.hex()
    record = {"dataset": DATASET} if whom == "dataset" else {"organisation": key}
    for enclave in caller.trio.enclaves:
        enclave.journal.append({"kind": "stop", "stop": "ab", **record})
    assert refusal(verification.verify, caller.enclave(), task, time.time()) == "stopped"
    assert refusal(caller.witnesses, sent) == "stopped"
    assert caller.uses() == []


def test_a_gateway_that_passes_one_request_on_again_gets_no_second_verdict(caller: Caller) -> None:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    task = caller.task(sent)
    answers = [verification.verify(caller.enclave(), task, time.time()) for _ in range(3)]
    assert [caller.read(sent, answer) for answer in answers] == [True, "consent_used", "consent_used"]


def test_a_consent_stays_used_when_the_enclave_dies_before_it_answers(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    with monkeypatch.context() as patched:
        patched.setattr(VerificationIndex, "matches", _die)
        with pytest.raises(KeyboardInterrupt):
            caller.pass_on(sent)
    assert caller.read(sent, caller.pass_on(sent)) == "consent_used"
    caller.trio.load()
    assert len(caller.uses()) == 1
    assert refusal(caller.pass_on, sent) == "consent_used"


def _die(*_: object) -> int:
    raise KeyboardInterrupt


def test_a_node_that_is_put_back_to_before_the_use_gets_no_word_of_its_peers(caller: Caller) -> None:
    node = caller.trio.folder / caller.enclave().node
    before = (node / "journal").read_bytes()
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    kept = caller.task(sent)
    assert caller.read(sent, verification.verify(caller.enclave(), kept, time.time())) is True
    caller.enclave().journal.close()
    (node / "journal").write_bytes(before)
    caller.trio.enclaves[1] = load_enclave(node, caller.trio.ca_pem)
    assert not caller.uses()
    assert refusal(caller.pass_on, sent) == "consent_used"
    # The words that its peers gave for the first use are not for the run that it is in now.
    assert refusal(verification.verify, caller.enclave(), kept, time.time()) == "no_witness"


def test_a_zone_whose_nodes_are_all_put_back_has_nobody_who_would_know(caller: Caller) -> None:
    """A limit, which docs/verification.md states: the consent's expiry is all that is left then."""
    paths = [caller.trio.folder / node / "journal" for node in NODES]
    before = [path.read_bytes() for path in paths]
    token = caller.consent(SUBJECT, TRUE)
    first = caller.send(token, SUBJECT, TRUE)
    assert caller.read(first, caller.pass_on(first)) is True
    caller.trio.close()
    for path, content in zip(paths, before, strict=True):
        path.write_bytes(content)
    caller.trio.load()
    again = caller.send(token, SUBJECT, TRUE)
    assert caller.read(again, caller.pass_on(again)) is True
    late = time.time() + 700
    after = caller.send(token, SUBJECT, TRUE, now=late)
    assert caller.read(after, caller.pass_on(after, now=late)) == "expired"


def test_a_copy_of_a_node_gets_no_second_answer(caller: Caller, tmp_path: Path) -> None:
    name = caller.enclave().node
    shutil.copytree(caller.trio.folder / name, tmp_path / name)
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    assert caller.read(sent, caller.pass_on(sent)) is True
    caller.enclave().journal.close()
    caller.trio.enclaves[1] = load_enclave(tmp_path / name, caller.trio.ca_pem)
    assert refusal(caller.pass_on, sent) == "consent_used"


@pytest.mark.parametrize("missing", [0, 1])
def test_nothing_is_answered_without_the_word_of_every_peer(caller: Caller, missing: int) -> None:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    task = caller.task(sent)
    whole = list(task.witnesses)
    del task.witnesses[:]
    task.witnesses.extend([whole[1 - missing]] * 2)
    assert refusal(verification.verify, caller.enclave(), task, time.time()) == "no_witness"
    task.witnesses.extend(whole)
    task.witnesses[-1 - missing].signature = bytes(64)
    assert refusal(verification.verify, caller.enclave(), task, time.time()) == "no_witness"
    assert not caller.uses()


def test_a_consent_outlives_a_renewal_of_the_nodes_keys_and_so_does_its_use(caller: Caller) -> None:
    """What it names is the signing key, which stays; the index opens under the new keys of data at rest."""
    used, fresh = caller.consent(SUBJECT, TRUE), caller.consent(SUBJECT, TRUE)
    sent = caller.send(used, SUBJECT, TRUE)
    assert caller.read(sent, caller.pass_on(sent)) is True
    caller.trio.close()
    folder = caller.trio.folder / NODES[1]
    upkeep.rotate(folder, caller.trio.ca_pem, SimulatedBackend.load(folder / "platform"), [])
    caller.trio.load()
    later = caller.send(fresh, SUBJECT, TRUE)
    assert caller.read(later, caller.pass_on(later)) is True
    again = caller.send(used, SUBJECT, TRUE)
    assert refusal(caller.pass_on, again) == "consent_used"


def test_a_clock_that_is_turned_back_makes_no_consent_valid_and_no_limit_new(caller: Caller) -> None:
    now = time.time()
    token, late = caller.consent(SUBJECT, TRUE), now + 2000
    for _ in range(3):
        other = caller.send(caller.consent(1005, TRUE, now=late), 1005, TRUE, now=late)
        assert caller.read(other, caller.pass_on(other, now=late)) is False
    sent = caller.send(token, SUBJECT, TRUE, now=late)
    assert caller.read(sent, caller.pass_on(sent, now=now)) == "expired"
    for earlier in (now, now - 24 * 3600, now - 365 * 24 * 3600):
        again = caller.send(caller.consent(1005, TRUE, now=late), 1005, TRUE, now=late)
        assert caller.read(again, verification.verify(caller.enclave(), caller.task(again), earlier)) == "subject_limit"


# Counted.


@pytest.mark.parametrize("subject", [SUBJECT, STRANGER])
def test_a_colluding_issuer_is_limited_by_subject_known_or_not(caller: Caller, subject: int) -> None:
    said = [caller.ask(subject, {"male": value}) for value in (0, 1, 2, 0, 1)]
    assert said[3:] == ["subject_limit"] * 2
    assert len(caller.uses()) == 3
    assert caller.ask(1006, {"male": 0}) is True


def test_a_colluding_issuer_is_limited_by_developer(trio: Trio) -> None:
    caller = Caller(trio)
    caller.add(a_day=2)
    said = [caller.ask(1000 + person, {"male": 0}) for person in range(4)]
    assert said == [True, False, "developer_limit", "developer_limit"]


def test_who_reads_journals_can_count_a_subject_within_a_day_and_not_follow_or_name_one(caller: Caller) -> None:
    tomorrow = time.time() + 24 * 3600
    for now in (time.time(), time.time(), tomorrow):
        sent = caller.send(caller.consent(SUBJECT, TRUE, now=now), SUBJECT, TRUE, now=now)
        assert caller.read(sent, caller.pass_on(sent, now=now)) is True
    tags = [str(record["subject"]) for record in caller.uses()]
    assert tags[0] == tags[1] != tags[2]
    key = caller.enclave().subject_key
    declaration = caller.trio.declaration("people")
    day = int(tomorrow) // (24 * 3600)
    assert tags[2] == verification._subject_of_day(key, declaration, (SUBJECT).to_bytes(8, "big"), day)
    assert tags[2] != verification._subject_of_day(bytes(32), declaration, (SUBJECT).to_bytes(8, "big"), day)


# Hidden.


def test_an_unknown_subject_is_answered_like_a_known_one_that_does_not_match(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes on the wire, bytes in the journals, hashes and comparisons: the same numbers of all."""
    work: list[tuple[int, int]] = []
    hashes: list[int] = []
    whole, hashed = VerificationIndex.matches, verification_index._tag

    def counted(index: VerificationIndex, subject: bytes, claims: dict[int, bytes]) -> int:
        hashes.clear()
        found = whole(index, subject, claims)
        work.append((len(index), len(hashes)))
        return found

    def noted(key: bytes, message: bytes) -> bytes:
        hashes.append(1)
        return hashed(key, message)

    monkeypatch.setattr(VerificationIndex, "matches", counted)
    monkeypatch.setattr(verification_index, "_tag", noted)
    sizes = []
    for subject, claims in ((1005, TRUE), (STRANGER, TRUE), (SUBJECT, TRUE), (1, {"city": "x" * 250})):
        before = [len((caller.trio.folder / node / "journal").read_bytes()) for node in NODES]
        sent = caller.send(caller.consent(subject, claims), subject, claims)
        verified = caller.pass_on(sent)
        assert caller.read(sent, verified) is (subject == SUBJECT)
        after = [len((caller.trio.folder / node / "journal").read_bytes()) for node in NODES]
        grown = [late - early for early, late in zip(before, after, strict=True)]
        sizes.append((len(sent.sealed), len(sent.order.body), len(verified.sealed_answer), grown))
    assert len({str(one) for one in sizes}) == 1
    assert set(work) == {(1023, 5)}


def test_whatever_is_answered_leaves_at_a_point_of_the_grid(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict, a refusal of the consent, and a problem of the gateway's: each through the same clock."""
    for taken in (0.001, 0.2499, 0.25, 0.3, 7.77):
        wait = until_the_grid(taken)
        assert 0 <= wait < VERIFY_SECONDS
        assert (taken + wait) / VERIFY_SECONDS == pytest.approx(round((taken + wait) / VERIFY_SECONDS))
    waits: list[float] = []
    answered: queue.SimpleQueue[TaskResult] = queue.SimpleQueue()

    # The thread itself waits, so that nothing behind a verdict tells when it was there.
    clock = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=waits.append)
    monkeypatch.setattr("enclave_sim.enclave_process.time", clock)
    token = caller.consent(SUBJECT, TRUE)
    worker = Worker(caller.enclave(), answered.put)
    kinds = []
    for claims in ({"male": 1}, TRUE, TRUE):
        sent = caller.send(token, SUBJECT, claims)
        worker.accept(Task(verify=caller.task(sent)))
        result = answered.get(timeout=60)
        kinds.append(caller.read(sent, result.verified))
    worker.accept(Task(verify=VerifyTask()))
    assert answered.get(timeout=60).failure.code == "unknown_developer"
    assert kinds == ["other_claims", True, "consent_used"]
    assert len(waits) == 4


def test_a_refusal_is_as_long_as_a_verdict(caller: Caller) -> None:
    token = caller.consent(SUBJECT, TRUE)
    lengths = set()
    for claims in (TRUE, TRUE, {"male": 1}):
        sent = caller.send(token, SUBJECT, claims)
        lengths.add(len(caller.pass_on(sent).sealed_answer))
    assert len(lengths) == 1


def test_a_gateway_that_keeps_everything_has_neither_subject_nor_claim_nor_result(caller: Caller) -> None:
    """All that passes it, and all that nodes write, for a match and for a subject that nobody knows."""
    kept: list[bytes] = []
    for subject in (SUBJECT, 770077007):
        claims: dict[str, Value] = {"city": "西安", "bmi": 21.0}
        token = caller.consent(subject, claims)
        sent = caller.send(token, subject, claims)
        task = caller.task(sent)
        verified = verification.verify(caller.enclave(), task, time.time())
        assert caller.read(sent, verified) is (subject == SUBJECT)
        kept += [task.SerializeToString(), verified.SerializeToString()]
        secret = [str(subject), subject.to_bytes(8, "big").hex(), read_token(token).nonce.hex()]
        for node in NODES:
            kept.append((caller.trio.folder / node / "journal").read_bytes())
        for word in (*secret, "西安", "city", "insurance-claim"):
            needles = [word.encode(), *([bytes.fromhex(word)] if len(word) in (16, 64) else [])]
            assert not any(needle in message for needle in needles for message in kept), word


def test_the_index_at_rest_has_no_value_and_equal_values_look_different(caller: Caller) -> None:
    enclave = caller.enclave()
    (shard,) = (enclave.shards / "people").glob("[0-9a-f]*")
    rows = open_table(shard, TABLE, [RECORDS], enclave.keys.of("people"))[RECORDS].to_pylist()
    assert len(rows) == verification_index.BLOCK_RECORDS
    tags = [row[start : start + 16] for row in rows[1:] for start in range(0, len(row), 16)]
    assert len(set(tags)) == len(tags)
    plain = [*("西安".encode(), b"Xi'an"), *(person.to_bytes(8, "big") for person in range(1000, 1030))]
    assert not any(value in row for row in rows for value in plain)


def test_a_verdict_says_no_more_than_which_consent_it_answers(caller: Caller) -> None:
    token = caller.consent(SUBJECT, TRUE)
    sent = caller.send(token, SUBJECT, TRUE)
    answer = open_answer(caller.pass_on(sent).sealed_answer, sent.reply, sent.sealed)
    verdict = Verdict.FromString(answer.verdict.body)
    said = {field.name for field, _ in verdict.ListFields()}
    about = {"consent_digest", "request_digest", "dataset", "dataset_version", "node", "key_epoch", "time", "match"}
    assert said == about
    assert verdict.consent_digest == consent_digest(read_token(token).consent.body)
    again = caller.consent(SUBJECT, TRUE)
    assert consent_digest(read_token(again).consent.body) != verdict.consent_digest


# What the gateway itself may get wrong: told in the clear, and nothing is used.


def test_orders_of_nobody_and_orders_that_are_stale_fill_no_journal(caller: Caller) -> None:
    stranger = Ed25519PrivateKey.generate()
    token = caller.consent(SUBJECT, TRUE, developer=stranger)
    unknown = caller.send(token, SUBJECT, TRUE, developer=stranger)
    assert refusal(caller.pass_on, unknown) == "unknown_developer"
    for now in (time.time() - 400, time.time() + 4000):
        stale = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE, now=now)
        assert refusal(caller.pass_on, stale) == "expired"
    forged = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    forged.order.signature = bytes(64)
    assert refusal(caller.pass_on, forged) == "bad_signature"
    assert caller.trio.records("witness") == [0, 0, 0]


def test_a_gateway_cannot_give_an_order_another_request_node_or_version(caller: Caller) -> None:
    one, two = (caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE) for _ in range(2))
    mixed = caller.task(one)
    mixed.sealed_request = two.sealed
    assert refusal(verification.verify, caller.enclave(), mixed, time.time()) == "bad_order"
    elsewhere = caller.task(two)
    assert refusal(verification.verify, caller.enclave(0), elsewhere, time.time()) == "bad_order"
    caller.add()
    assert refusal(caller.pass_on, two) == "bad_order"
    assert not caller.uses()


def test_an_enclave_is_no_witness_for_itself_or_for_strangers(caller: Caller) -> None:
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    run = verification.begin(caller.enclave()).run
    own = WitnessTask(order=sent.order, run=run)
    assert refusal(verification.witness, caller.enclave(), own, time.time()) == "bad_order"
    body = VerificationOrder.FromString(sent.order.body)
    body.node = "node-9"
    data = body.SerializeToString()
    signed = SignedOrder(body=data, signature=digests.sign(caller.trio.developer, digests.VERIFICATION_ORDER, data))
    strange = WitnessTask(order=signed, run=run)
    assert refusal(verification.witness, caller.enclave(0), strange, time.time()) == "bad_order"


def test_nothing_can_be_verified_of_a_dataset_that_offers_nothing(trio: Trio) -> None:
    caller = Caller(trio)
    caller.add()
    declaration = people_declaration(caller.issuer.public)
    declaration.ClearField("verification")
    trio.add(declaration, [people_of(node) for node in range(3)])
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    assert refusal(caller.pass_on, sent) == "no_verification"


def test_what_a_provider_withdrew_is_withdrawn_whichever_version_is_named(caller: Caller) -> None:
    """A gateway, a developer and an issuer who was approved once, together."""
    earlier, version = list(caller.trio.shards["people"]), caller.trio.version("people")
    successor = Caller(caller.trio)
    successor.add()
    sent = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE, version=version)
    task = caller.task(sent)
    del task.shards[:]
    task.shards.extend(earlier)
    assert refusal(verification.verify, caller.enclave(), task, time.time()) == "withdrawn"
    now_refused = caller.send(caller.consent(SUBJECT, TRUE), SUBJECT, TRUE)
    assert caller.read(now_refused, caller.pass_on(now_refused)) == "unknown_issuer"
    assert successor.ask(SUBJECT, TRUE) is True
