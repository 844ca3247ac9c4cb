"""Stops in an enclave: who may order which, what they cover, and that nothing leaves after the proof of one."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from yingbi.api import certificates, digests
from yingbi.api.v1.node_pb2 import LiftTask, OpenTask, SignTask, StopTask, Task
from yingbi.api.v1.stop_pb2 import Lift, SignedLift, SignedStop, Stop, StopProof, StopProofBody

from enclave_sim import jobs, opening, stop_tasks, stops
from enclave_sim.enclave import Enclave
from tests.attacks.three_enclaves import Trio, refusal
from tests.enclave_sim.test_enclave_worker import Gate, working

NOW = 1_800_000_000
PROVIDER, SUPERVISOR, COORDINATOR, STRANGER = (Ed25519PrivateKey.generate() for _ in range(4))


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def stop(scope: stops.Scope, subject: str, key: Ed25519PrivateKey, **more: object) -> SignedStop:
    """Each is another one, whatever it says."""
    issued = Timestamp(seconds=NOW, nanos=secrets.randbelow(10**9))
    said = Stop(scope=scope, subject=subject, signer_key=public(key), issued=issued, reason="a test", **more)  # type: ignore[arg-type]
    body = said.SerializeToString(deterministic=True)
    return SignedStop(body=body, signature=digests.sign(key, digests.STOP, body))


def lift(stopped: SignedStop, key: Ed25519PrivateKey, dataset: str = "visits", agreement: str = "") -> SignedLift:
    digest = digests.digest(digests.STOP, stopped.body)
    said = Lift(stop=digest, dataset="" if agreement else dataset, agreement=agreement, signer_key=public(key))
    body = said.SerializeToString(deterministic=True)
    return SignedLift(body=body, signature=digests.sign(key, digests.LIFT, body))


def told(enclave: Enclave, signed: SignedStop, running: Sequence[str] = ()) -> StopProofBody:
    """What the enclave proves; `running` is what it was to end."""
    proof = stop_tasks.stop(enclave, StopTask(stop=signed), lambda jobs: None)
    return checked(enclave, proof)


def checked(enclave: Enclave, proof: StopProof) -> StopProofBody:
    key = enclave.identity.public_signing_key
    assert digests.is_signed(key, digests.STOP_PROOF, proof.body, proof.signature)
    body = StopProofBody.FromString(proof.body)
    assert (body.node, body.processes_alive) == (enclave.node, 0)
    return body


@pytest.fixture
def governed(trio: Trio) -> Trio:
    """Enclaves that know a provider, a supervisor and a coordinator."""
    present = trio.enclaves[0].policy
    policy = replace(
        present,
        providers=present.providers | {public(PROVIDER)},
        supervisors=present.supervisors | {public(SUPERVISOR)},
        coordinators=frozenset({public(COORDINATOR)}),
    )
    trio.enclaves = [replace(each, policy=policy) for each in trio.enclaves]
    return trio


SCOPES = {
    "job": (stops.JOB, "job-1"),
    "dataset": (stops.DATASET, "visits"),
    "organisation": (stops.ORGANISATION, "developer"),
}


def signed_for(trio: Trio, scope: str) -> SignedStop:
    kind, subject = SCOPES[scope]
    if scope == "organisation":
        return stop(kind, subject, COORDINATOR, organisation_key=public(trio.developer))
    return stop(kind, subject, SUPERVISOR)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("steps", range(4), ids=["asked for", "contributed", "bound", "opened"])
def test_whatever_step_a_job_is_at_none_follows_a_stop(governed: Trio, scope: str, steps: int) -> None:
    """And the journal, read anew, knows of it."""
    task = governed.task(governed.plan())
    contributions = governed.contribute("job-1", task) if steps > 0 else []
    consents = governed.consent("job-1", contributions) if steps > 1 else []
    opened = governed.opened("job-1", governed.open("job-1", contributions)) if steps > 2 else None
    signed = signed_for(governed, scope)
    for enclave in governed.enclaves:
        body = told(enclave, signed)
        assert body.stop == digests.digest(digests.STOP, signed.body)
        assert list(body.jobs_ended) == (["job-1"] if steps == 1 or (steps and scope == "job") else [])
    known = governed.enclaves[0].policy
    governed.load()
    for enclave in [replace(each, policy=known) for each in governed.enclaves]:
        assert refusal(jobs.contribute, enclave, "job-1", task, lambda: False) == "stopped"
        if steps > 0:
            assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "stopped"
        if steps > 1:
            assert refusal(opening.open_total, enclave, "job-1", OpenTask(consents=consents)) == "stopped"
        if opened is not None:
            assert refusal(opening.sign_receipt, enclave, "job-1", SignTask(opened=opened)) == "stopped"


def test_what_is_not_covered_goes_on(governed: Trio) -> None:
    for signed in (
        stop(stops.JOB, "job-2", SUPERVISOR),
        stop(stops.DATASET, "other", PROVIDER),
        stop(stops.AGREEMENT, "other", PROVIDER),
        stop(stops.ORGANISATION, "other", COORDINATOR, organisation_key=public(STRANGER)),
    ):
        for enclave in governed.enclaves:
            told(enclave, signed)
    governed.run("job-1", governed.task(governed.plan()))


@pytest.mark.requirement("AGR-05")
def test_an_agreement_that_is_stopped_ends_what_is_asked_under_it(governed: Trio) -> None:
    task = governed.task(governed.plan())
    agreement = governed.agreement("visits").agreement
    contributions = governed.contribute("job-1", task)
    for enclave in governed.enclaves:
        proof = told(enclave, stop(stops.AGREEMENT, agreement, SUPERVISOR))
        assert (list(proof.jobs_ended), proof.contributions_withheld) == (["job-1"], 0)
        assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "stopped"


@pytest.mark.requirement("AGR-05")
@pytest.mark.parametrize("scope", [stops.AGREEMENT, stops.SUSPENSION])
def test_the_stop_of_a_supplement_covers_what_is_asked_under_its_predecessors(
    governed: Trio, scope: stops.Scope
) -> None:
    """This enclave never charged a job under the supplement: it is told by the stop what that came in the place of."""
    enclave, agreement = governed.enclaves[0], governed.agreement("visits").agreement
    task = governed.task(governed.plan(), request_id="request-2")
    contributions = governed.contribute("job-1", governed.task(governed.plan()))
    signed = stop(scope, "supplement", PROVIDER, predecessors=["newer", agreement, "older"])
    assert list(told(enclave, signed).jobs_ended) == ["job-1"]
    assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "stopped"
    assert refusal(jobs.contribute, enclave, "job-2", task, lambda: False) == "stopped"
    if scope == stops.SUSPENSION:
        by = lift(signed, PROVIDER, agreement="supplement")
        stop_tasks.lift(enclave, LiftTask(stop=signed, lift=by))
        jobs.contribute(enclave, "job-2", task, lambda: False)


@pytest.mark.requirement("AGR-05")
def test_a_suspension_holds_until_who_suspended_lifts_that_one(governed: Trio) -> None:
    enclave, agreement = governed.enclaves[0], governed.agreement("visits").agreement
    task = governed.task(governed.plan())
    first, second, dataset = (
        stop(stops.SUSPENSION, agreement, SUPERVISOR),
        stop(stops.SUSPENSION, agreement, PROVIDER),
        stop(stops.DATASET, agreement, SUPERVISOR),
    )

    def lifted(suspension: SignedStop, by: SignedLift) -> StopProofBody:
        return checked(enclave, stop_tasks.lift(enclave, LiftTask(stop=suspension, lift=by)))

    for signed in (first, second, dataset):
        told(enclave, signed)
    for ends, by, code in (
        (first, lift(first, PROVIDER, agreement=agreement), "may_not_lift"),
        (first, lift(first, STRANGER, agreement=agreement), "may_not_lift"),
        (first, lift(first, SUPERVISOR, agreement="other"), "no_such_cut_off"),
        (first, lift(first, SUPERVISOR, dataset=agreement), "no_such_cut_off"),
        (first, lift(first, SUPERVISOR, dataset=""), "no_such_cut_off"),
        (dataset, lift(dataset, SUPERVISOR, agreement=agreement), "no_such_cut_off"),
    ):
        assert refusal(lifted, ends, by) == code
    lifted(first, lift(first, SUPERVISOR, agreement=agreement))
    assert refusal(jobs.contribute, enclave, "job-1", task, lambda: False) == "stopped"
    lifted(second, lift(second, PROVIDER, agreement=agreement))
    assert refusal(told, enclave, first) == "lifted"
    jobs.contribute(enclave, "job-1", task, lambda: False)


@pytest.mark.requirement("AGR-05")
@pytest.mark.parametrize("scope", ["dataset", "suspension"])
def test_a_lift_does_not_bring_back_a_job_that_the_stop_ended(governed: Trio, scope: str) -> None:
    """The proof says that the job ended: it does not begin again for a gateway that asks after the lift."""
    enclave, agreement = governed.enclaves[0], governed.agreement("visits").agreement
    contributions = governed.contribute("job-1", governed.task(governed.plan()))
    if scope == "dataset":
        signed = stop(stops.DATASET, "visits", SUPERVISOR)
        by = lift(signed, SUPERVISOR)
    else:
        signed = stop(stops.SUSPENSION, agreement, SUPERVISOR)
        by = lift(signed, SUPERVISOR, agreement=agreement)
    assert list(told(enclave, signed).jobs_ended) == ["job-1"]
    stop_tasks.lift(enclave, LiftTask(stop=signed, lift=by))
    assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "stopped"
    jobs.contribute(enclave, "job-2", governed.task(governed.plan(), request_id="request-2"), lambda: False)


def test_whoever_may_not_stop_changes_nothing(governed: Trio) -> None:
    enclave = governed.enclaves[0]
    before = len(enclave.journal.records)
    forged = stop(stops.DATASET, "visits", SUPERVISOR)
    forged.signature = bytes(64)
    unsigned = SignedStop(body=stop(stops.AGREEMENT, "pilot", SUPERVISOR).body)
    attempts = {
        "bad_signature": [forged],
        "not_signed": [unsigned],
        "may_not_stop": [
            stop(stops.DATASET, "visits", STRANGER),
            stop(stops.DATASET, "visits", governed.developer),
            stop(stops.AGREEMENT, "pilot", governed.operator),
            stop(stops.SUSPENSION, "pilot", governed.operator),
            stop(stops.SUSPENSION, "pilot", STRANGER),
            stop(stops.ORGANISATION, "developer", SUPERVISOR, organisation_key=public(governed.developer)),
        ],
        "bad_stop": [
            stop(stops.JOB, "", SUPERVISOR),
            stop(stops.ORGANISATION, "developer", COORDINATOR),
            stop(stops.DATASET, "visits", SUPERVISOR, predecessors=["pilot"]),
            stop(stops.AGREEMENT, "more", SUPERVISOR, predecessors=["pilot", ""]),
            stop(stops.AGREEMENT, "more", SUPERVISOR, predecessors=["one two"]),
            stop(stops.AGREEMENT, "more", SUPERVISOR, predecessors=["pilot"] * 101),
        ],
        "bad_job": [stop(stops.JOB, "../etc", SUPERVISOR)],
    }
    for code, tries in attempts.items():
        for signed in tries:
            assert refusal(told, enclave, signed) == code
    assert len(enclave.journal.records) == before


def test_a_developer_stops_their_own_job_and_no_other(governed: Trio) -> None:
    """A job that is not there yet is another's as soon as another asks for it."""
    contributions = governed.contribute("job-1", governed.task(governed.plan()))
    enclave = governed.enclaves[0]
    assert refusal(told, enclave, stop(stops.JOB, "job-1", STRANGER)) == "may_not_stop"
    told(enclave, stop(stops.JOB, "job-2", STRANGER))
    jobs.contribute(enclave, "job-2", governed.task(governed.plan(), request_id="request-2"), lambda: False)
    told(enclave, stop(stops.JOB, "job-1", governed.developer))
    assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "stopped"


def test_a_person_stops_by_a_certificate_of_the_duty_alone(governed: Trio) -> None:
    enclave, person = governed.enclaves[0], Ed25519PrivateKey.generate()
    for duty, code in (("administrator", "other_duty"), ("assessor", None)):
        invitation, secret = certificates.invite(
            SUPERVISOR, organisation="supervisor", person="sue", duties=[duty], now=NOW
        )
        signed = stop(stops.DATASET, "visits", person)
        signed.certificate.CopyFrom(certificates.accept(invitation, secret, public(person)))
        if code:
            assert refusal(told, enclave, signed) == code
        else:
            told(enclave, signed)
    task = governed.task(governed.plan())
    assert refusal(jobs.contribute, enclave, "job-1", task, lambda: False) == "stopped"


def test_a_certificate_does_not_hide_who_asks(governed: Trio) -> None:
    """An organisation's developer claims to be another's, by a certificate that nobody has to believe."""
    enclave, task = governed.enclaves[0], governed.task(governed.plan())
    invitation, secret = certificates.invite(STRANGER, organisation="other", person="x", duties=["analyst"], now=NOW)
    task.authorization.certificate.CopyFrom(certificates.accept(invitation, secret, public(governed.developer)))
    told(enclave, stop(stops.ORGANISATION, "developer", COORDINATOR, organisation_key=public(governed.developer)))
    assert refusal(jobs.contribute, enclave, "job-1", task, lambda: False) == "stopped"


def test_who_cut_a_dataset_off_lifts_it_once(governed: Trio) -> None:
    """Neither another organisation, nor the word for an earlier cut-off, nor the stop told again changes that."""
    enclave = governed.enclaves[0]
    first, second = (stop(stops.DATASET, "visits", SUPERVISOR) for _ in range(2))

    def lifted(cut_off: SignedStop, by: SignedLift) -> StopProofBody:
        return checked(enclave, stop_tasks.lift(enclave, LiftTask(stop=cut_off, lift=by)))

    told(enclave, first)
    assert refusal(lifted, first, lift(first, PROVIDER)) == "may_not_lift"
    assert refusal(lifted, first, lift(first, SUPERVISOR, dataset="other")) == "no_such_cut_off"
    forged = lift(first, SUPERVISOR)
    forged.signature = bytes(64)
    assert refusal(lifted, first, forged) == "bad_signature"
    assert refusal(lifted, first, lift(second, SUPERVISOR)) == "no_such_cut_off"
    by = lift(first, SUPERVISOR)
    assert lifted(first, by).stop == digests.digest(digests.LIFT, by.body)
    assert refusal(told, enclave, first) == "lifted"
    jobs.contribute(enclave, "job-1", governed.task(governed.plan()), lambda: False)
    told(enclave, second)
    lifted(first, by)
    task = governed.task(governed.plan(), request_id="request-2")
    assert refusal(jobs.contribute, enclave, "job-2", task, lambda: False) == "stopped"


def test_a_refused_lift_closes_nothing_that_was_open(governed: Trio) -> None:
    """A node that never heard of the stop is told both: it writes down both or none."""
    enclave = governed.enclaves[0]
    before = len(enclave.journal.records)
    signed, not_obeyed = stop(stops.DATASET, "visits", SUPERVISOR), stop(stops.DATASET, "visits", STRANGER)
    for cut_off, by, code in (
        (signed, lift(signed, PROVIDER), "may_not_lift"),
        (signed, lift(signed, SUPERVISOR, dataset="other"), "no_such_cut_off"),
        # The gateway tells by this code alone that nothing is closed here.
        (not_obeyed, lift(not_obeyed, STRANGER), "never_stopped"),
    ):
        assert refusal(stop_tasks.lift, enclave, LiftTask(stop=cut_off, lift=by)) == code
        assert len(enclave.journal.records) == before
    jobs.contribute(enclave, "job-1", governed.task(governed.plan()), lambda: False)
    stop_tasks.lift(enclave, LiftTask(stop=signed, lift=lift(signed, SUPERVISOR)))
    assert refusal(told, enclave, signed) == "lifted"


def test_a_certificate_that_has_ended_by_the_journal_stops_and_lifts_nothing(
    governed: Trio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host sets its clock back; the latest charge is later than the certificate lasts."""
    enclave, person = governed.enclaves[0], Ed25519PrivateKey.generate()
    jobs.contribute(enclave, "job-1", governed.task(governed.plan()), lambda: False)
    charged = next(int(each["at"]) for each in enclave.journal.records if each["kind"] == "charge")
    invitation, secret = certificates.invite(
        SUPERVISOR, organisation="s", person="sue", duties=["assessor"], now=charged - 90, certificate_expires=charged
    )
    certificate = certificates.accept(invitation, secret, public(person))
    monkeypatch.setattr(time, "time", lambda: charged - 60.0)
    signed, own = stop(stops.DATASET, "other", person), stop(stops.DATASET, "visits", SUPERVISOR)
    signed.certificate.CopyFrom(certificate)
    assert refusal(told, enclave, signed) == "certificate_expired"
    told(enclave, own)
    by = lift(own, person)
    by.certificate.CopyFrom(certificate)
    assert refusal(stop_tasks.lift, enclave, LiftTask(stop=own, lift=by)) == "certificate_expired"


@pytest.mark.requirement("MON-01")
def test_nothing_of_a_job_leaves_after_the_proof_that_it_stopped(governed: Trio) -> None:
    """The computation is at its end when the stop comes: it is answered first, and the sum is withheld."""
    enclave = governed.enclaves[0]
    gate = Gate(enclave.engine)
    with working(replace(enclave, engine=gate)) as (worker, result):
        worker.accept(Task(id="1", job="job-1", contribute=governed.task(governed.plan())))
        assert gate.entered.wait(30)
        worker.accept(Task(id="2", job="job-1", stop=StopTask(stop=stop(stops.DATASET, "visits", SUPERVISOR))))
        proof = result()
        assert proof.id == "2"
        body = checked(enclave, proof.stopped)
        assert (list(body.jobs_ended), body.contributions_withheld) == (["job-1"], 1)
        gate.opened.set()
        answer = result()
        assert (answer.id, answer.WhichOneof("kind"), answer.failure.code) == ("1", "failure", "cancelled")
    assert governed.records("contribution")[0] == 0


def test_a_result_that_is_ready_when_a_stop_comes_is_withheld(governed: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last look is in the moment that it leaves."""
    enclave, signed = governed.enclaves[0], stop(stops.DATASET, "visits", SUPERVISOR)
    made = jobs.contribute
    computed, stopped = threading.Event(), threading.Event()

    def late(*given: object) -> object:
        contribution = made(*given)  # type: ignore[arg-type]
        computed.set()
        assert stopped.wait(30)
        return contribution

    monkeypatch.setattr(jobs, "contribute", late)
    with working(enclave) as (worker, result):
        worker.accept(Task(id="1", job="job-1", contribute=governed.task(governed.plan())))
        assert computed.wait(30)
        worker.accept(Task(id="2", job="job-1", stop=StopTask(stop=signed)))
        assert result().HasField("stopped")
        stopped.set()
        assert result().failure.code == "stopped"


@pytest.mark.requirement("MON-01")
@pytest.mark.parametrize("is_signed", [False, True], ids=["cancelled", "stopped"])
@pytest.mark.parametrize("late", ["_encrypt", "_store_contribution"], ids=["while it encrypts", "when it is stored"])
def test_after_the_proof_no_contribution_leaves_though_it_is_being_made(
    governed: Trio, monkeypatch: pytest.MonkeyPatch, late: str, is_signed: bool
) -> None:
    """Nobody may have signed the stop: what is proven is true all the same."""
    enclave, made = governed.enclaves[0], getattr(jobs, late)
    reached, answered = threading.Event(), threading.Event()

    def slowly(*given: object) -> object:
        result = made(*given)
        reached.set()
        assert answered.wait(30)
        return result

    monkeypatch.setattr(jobs, late, slowly)
    body = Stop(scope=stops.JOB, subject="job-1").SerializeToString(deterministic=True)
    signed = stop(stops.JOB, "job-1", SUPERVISOR) if is_signed else SignedStop(body=body)
    with working(enclave) as (worker, result):
        worker.accept(Task(id="1", job="job-1", contribute=governed.task(governed.plan())))
        assert reached.wait(30)
        worker.accept(Task(id="2", job="job-1", stop=StopTask(stop=signed)))
        proof = checked(enclave, result().stopped)
        stored = governed.records("contribution")[0]
        assert (list(proof.jobs_ended), proof.contributions_withheld) == (["job-1"], 1 - stored)
        answered.set()
        answer = result()
        assert (answer.id, answer.failure.code) == ("1", "stopped" if is_signed else "cancelled")
    assert governed.records("contribution")[0] == stored == (late == "_store_contribution")


def test_of_a_cancellation_and_a_bound_total_there_is_one(governed: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever is on disk first: a total is not bound after the proof that its job ended."""
    contributions = governed.contribute("job-1", governed.task(governed.plan()))
    enclave, looked = governed.enclaves[0], governed.enclaves[0].heads.check_peers

    def cancelled_meanwhile(*given: object) -> object:
        heads = looked(*given)  # type: ignore[arg-type]
        said = Stop(scope=stops.JOB, subject="job-1").SerializeToString(deterministic=True)
        assert list(told(enclave, SignedStop(body=said)).jobs_ended) == ["job-1"]
        return heads

    monkeypatch.setattr(enclave.heads, "check_peers", cancelled_meanwhile)
    assert refusal(opening.open_total, enclave, "job-1", OpenTask(contributions=contributions)) == "cancelled"
    assert governed.records("open")[0] == 0


def test_a_job_that_nobody_signed_to_stop_is_cancelled_as_before(governed: Trio) -> None:
    """The gateway may end a job alone, until its total is bound; that is its own kind of record."""
    contributions = governed.contribute("job-1", governed.task(governed.plan()))
    governed.consent("job-1", contributions)
    governed.contribute("job-2", governed.task(governed.plan(), request_id="request-2"))
    for job, ended in (("job-1", []), ("job-2", ["job-2"])):
        said = Stop(scope=stops.JOB, subject=job).SerializeToString(deterministic=True)
        body = told(governed.enclaves[0], SignedStop(body=said))
        assert (list(body.jobs_ended), body.contributions_withheld) == (ended, 0)
    assert governed.records("cancel") == [1, 0, 0]
    assert governed.records("stop") == [0, 0, 0]


def test_a_stop_between_the_look_at_the_peers_and_the_binding_leaves_the_next_job_alone(governed: Trio) -> None:
    """Of the first job of a zone: nothing is known of any peer, and nothing gets known."""
    contributions = governed.contribute("job-1", governed.task(governed.plan()))
    for enclave in governed.enclaves:
        enclave.heads.check_peers(enclave.node, enclave.epoch, "job-1", contributions)
        told(enclave, stop(stops.JOB, "job-1", SUPERVISOR))
    task = governed.task(governed.plan(epsilon=0.5), request_id="request-2")
    governed.consent("job-2", governed.contribute("job-2", task))


@pytest.mark.requirement("AUD-03")
def test_a_stop_that_cannot_be_written_is_not_proven(governed: Trio) -> None:
    enclave = governed.enclaves[0]
    enclave.journal._file.close()
    with pytest.raises(ValueError, match="closed file"):
        told(enclave, stop(stops.DATASET, "visits", SUPERVISOR))
