"""What an enclave does for a job, in three steps: contribute, open, sign. Each may be asked for again.

Here the first; the other two are in `opening`. A node trusts no gateway. Before it computes it checks by itself that
the plan is well-formed, its sensitivities and noise right, that an agreement which its provider signed covers it, the
developer's signature on it, the approvers' where the grade asks, and its own copy of the budget. It charges before it
unseals; it stores its contribution before it sends it, and sends those bytes again. A job that was charged goes on,
after a crash too, for the request and the terms that it was charged for alone: for others it would be a use that nobody
counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yingbi.api import digests
from yingbi.api.models.check import CheckedModel
from yingbi.api.v1.agreement_pb2 import Agreement
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Authorization
from yingbi.api.v1.node_pb2 import ContributeTask, Contribution, PlaintextProof
from yingbi.api.v1.plan_pb2 import KeyValues, Plan
from yingbi.api.v1.receipt_pb2 import ContributionBody, SignedContribution

from enclave_sim import agreement, budget, contributions, standing_approvals, stops, versions
from enclave_sim.approvals import Asked, check_approvals, check_mode
from enclave_sim.authority import check_authorization
from enclave_sim.bodies import read_body
from enclave_sim.contributions import DatasetVersion
from enclave_sim.enclave import Enclave
from enclave_sim.engine.predictions import Predict, batch_rows, evaluated_sums
from enclave_sim.engine.programs import RunBlocks, block_sums
from enclave_sim.engine.protocol import Cancelled, OpenTable
from enclave_sim.job_records import (
    check_in_force,
    check_job_id,
    check_not_cancelled,
    find_record,
    own_contribution,
    refused,
    unstopped,
)
from enclave_sim.journal import Record
from enclave_sim.key_epochs import check_begun_here
from enclave_sim.key_release import release_keys
from enclave_sim.models import unseal_model
from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.encryption import encrypt
from enclave_sim.paillier.packing import pack
from enclave_sim.paillier.plaintext_proof import prove_plaintexts
from enclave_sim.plan.canonical import NotCanonicalError, decode, plan_hash
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.layout import layout_of
from enclave_sim.plan.sensitivity import cells_of, charge_of, total_rho_units
from enclave_sim.plan.services import check_closed_since
from enclave_sim.plan.validation import check_plan
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.programs import unseal_program
from enclave_sim.sealed.shard import read_header, stream_table
from enclave_sim.standing_approvals import Standing


def contribute(enclave: Enclave, job: str, task: ContributeTask, cancelled: Callable[[], bool]) -> Contribution:
    """This provider's clipped sum plus its share of the noise, encrypted; raises Problem.

    Privacy: what leaves is a ciphertext; its plaintext is a bounded sum whose sensitivity `check_plan`
    proved, plus a discrete Gaussian share; only a total over all shares is ever opened (`open_total`).
    """
    check_job_id(job)
    charge = find_record(enclave, "charge", job)
    if charge and charge["plan_hash"] != plan_hash(task.plan).hex():
        raise refused("other_plan", f"Job {job} was started with another plan.")
    if charge:
        check_begun_here(enclave.epoch, job, charge)
        if not _is_asked_for(charge, task):
            raise refused("other_request", f"Job {job} was charged for another request, or under other terms.")
        check_in_force(enclave, charge)
    check_not_cancelled(enclave, job)
    if find_record(enclave, "contribution", job):
        return own_contribution(enclave, job)
    if cancelled():
        raise stops.was_cancelled(job)
    admission = _admit(enclave, job, task)
    with _sandbox(enclave, admission) as run, _model_place(enclave, admission) as predict:
        if not charge:
            _charge(enclave, job, admission, task)
        return _contribution(enclave, job, admission, run, predict, cancelled)


def _contribution(
    enclave: Enclave,
    job: str,
    admission: _Admission,
    run: RunBlocks | None,
    predict: Predict | None,
    cancelled: Callable[[], bool],
) -> Contribution:
    try:
        vector = _noised_sum(enclave, admission, run, predict, cancelled)
        keys = _selected_keys(enclave, admission, cancelled)
    except Cancelled as error:
        raise stops.was_cancelled(job) from error
    check_not_cancelled(enclave, job)
    contribution = _encrypt(enclave, job, admission, vector, keys)
    _store_contribution(enclave, job, contribution)
    return own_contribution(enclave, job)


def cancel(enclave: Enclave, job: str) -> None:
    """Never contribute to this job nor open it from now on, unless its total is already bound. Durable.

    Of a cancellation and a bound total the journal has one: each is written where the other is not there (`unstopped`).
    """
    check_job_id(job)
    if not find_record(enclave, "cancel", job):
        with suppress(_BoundError):
            enclave.journal.append({"kind": "cancel", "job": job}, partial(_check_unbound, job))


class _BoundError(Exception):
    """The job's total is bound: it comes too late to be cancelled."""


def _check_unbound(job: str, records: Sequence[Record]) -> None:
    if any(record["kind"] == "open" and record["job"] == job for record in records):
        raise _BoundError


@dataclass(frozen=True)
class _Admission:
    """A plan that may be computed, and all that was checked for it."""

    plan: Plan
    plan_hash: bytes
    declaration: DatasetDeclaration
    shard: Path
    # Who asked, and under which request id.
    request: str
    # What a stop can name of it.
    about: stops.About
    # Of a plan of a batch: who asked for the batch and under which id, and for which set of plans.
    batch: tuple[str, str] | None
    # The agreement that it is under, if it is under one.
    terms: Agreement | None
    # When it was admitted: seconds since 1970.
    at: float
    # Among its approvals.
    standing: tuple[Standing, ...]
    # Of a plan with a program: its code.
    program: bytes = b""
    # Of a plan with a model: that, checked.
    model: CheckedModel | None = None


def _admit(enclave: Enclave, job: str, task: ContributeTask) -> _Admission:
    version = contributions.dataset_version(task.shards, enclave.epoch)
    shard = enclave.shards / version.dataset / version.commitments[enclave.node].hex()
    declaration = _declaration(shard, version, enclave.keys.of(version.dataset))
    try:
        plan = decode(task.plan)
        check_plan(plan, declaration, dataset_version=version.version)
        check_closed_since(plan, declaration, _newest(enclave, declaration, shard))
    except (NotCanonicalError, PlanError) as error:
        raise refused("bad_plan", f"The plan is refused: {error}") from error
    if plan.noise.parties != len(enclave.epoch.holders):
        raise refused("bad_plan", "The plan's noise is shared among other parties than the key's holders.")
    hash_ = plan_hash(task.plan)
    records = enclave.journal.records
    now = agreement.clock(records, time.time())
    terms = agreement.signed_terms(task.agreement, enclave.policy, declaration, records, now=now)
    authorization, standing = _check_authority(enclave, job, task, plan, terms, declaration, now)
    developer = authorization.developer_key.hex()
    batch = (f"{developer} {authorization.batch}", authorization.batch_digest.hex()) if authorization.batch else None
    request = f"{developer} {authorization.request_id}"
    program, model = b"", None
    if plan.HasField("program"):
        program = unseal_program(enclave.identity, task.program, plan.program, hash_)
    if plan.HasField("evaluation"):
        model = unseal_model(enclave.identity, task.program, plan.evaluation.model, hash_)
    about = stops.about_request(job, declaration.dataset, task.authorization)
    stops.check_not_stopped(records, about)
    return _Admission(plan, hash_, declaration, shard, request, about, batch, terms, now, standing, program, model)


def _declaration(shard: Path, version: DatasetVersion, wrapping_key: bytes) -> DatasetDeclaration:
    header = read_header(shard, wrapping_key)
    if (header.commitment.hex(), header.declaration_digest) != (shard.name, version.declaration_digest):
        raise refused("bad_shards", "The sealed shard is another one than was registered.")
    return DatasetDeclaration.FromString(header.declaration)


def _newest(enclave: Enclave, declaration: DatasetDeclaration, shard: Path) -> DatasetDeclaration:
    """The declaration that was brought last, whichever version a gateway names; raises SealedFileError."""
    dataset = declaration.dataset
    commitment = versions.newest(enclave.journal.records, dataset)
    if commitment in (None, shard.name):
        return declaration
    header = read_header(shard.with_name(commitment), enclave.keys.of(dataset))
    return DatasetDeclaration.FromString(header.declaration)


def _check_authority(
    enclave: Enclave,
    job: str,
    task: ContributeTask,
    plan: Plan,
    terms: Agreement | None,
    declaration: DatasetDeclaration,
    now: float,
) -> tuple[Authorization, tuple[Standing, ...]]:
    """The developer's authorization, with everybody's agreement and approval that it takes; the standing ones."""
    grade, hash_ = declaration.grade, plan_hash(task.plan)
    authorization, organisation = check_authorization(
        task.authorization,
        agreement.may_ask(terms, enclave.policy),
        plan_hash=hash_,
        rho_units=total_rho_units(plan),
        delta=plan.delta,
        now=now,
    )
    if terms:
        agreement.check_agreement(terms, declaration, plan, authorization, now=now)
    check_mode(plan, grade=grade, providers=len(enclave.epoch.holders))
    # The one that older gateways send counts like any other.
    approvals = [task.approval, *task.approvals]
    under = terms.agreement if terms else ""
    asked = Asked(job, plan, hash_, organisation, under, enclave.journal.records)
    return authorization, check_approvals(approvals, enclave.policy, asked, grade=grade, now=now)


def _charge(enclave: Enclave, job: str, admission: _Admission, task: ContributeTask) -> None:
    records = enclave.journal.records
    if any(record.get("request") == admission.request for record in records):
        raise refused("request_reused", "The developer's authorization was already used for another job.")
    _check_batch(records, admission.batch)
    declaration = admission.declaration
    charge = charge_of(admission.plan)
    budget.check_charge(records, declaration, charge)
    if admission.terms:
        agreement.check_uses(admission.terms, records, charge, now=admission.at)
    for each in admission.standing:
        standing_approvals.check_left(each, records, job, admission.plan)
    enclave.files.save(job, "plan", task.plan)
    enclave.journal.append(
        {
            "kind": "charge",
            "job": job,
            "key_epoch": enclave.epoch.epoch,
            "dataset": declaration.dataset,
            "unit_namespace": declaration.unit_namespace,
            "rho_units": charge.rho_units,
            "delta0_units": charge.delta0_units,
            "plan_hash": admission.plan_hash.hex(),
            "request": admission.request,
            "asked_for": _asked_for(task),
            **agreement.noted(admission.terms, admission.at),
            **_stoppable_by(admission.about),
            **standing_approvals.noted(admission.standing, admission.plan),
            **({} if admission.batch is None else dict(zip(("batch", "batch_digest"), admission.batch, strict=True))),
        },
        # It may have taken a while to come here: a sandbox was started.
        lambda records: stops.check_not_stopped(records, admission.about),
    )


def _asked_for(task: ContributeTask) -> str:
    """What a charge is bound to beside its plan: all that the developer signed, and the terms that it is under."""
    return digests.digest(digests.ASKED_FOR, task.authorization.body, task.agreement.terms).hex()


def _is_asked_for(charge: Record, task: ContributeTask) -> bool:
    """Whether the job was charged for this very request, under these very terms."""
    if "asked_for" in charge:
        return charge["asked_for"] == _asked_for(task)
    # An earlier release noted less, which a job that it began goes on by: who asked under which id, and the agreement.
    asked = read_body(Authorization, task.authorization.body)
    said = (f"{asked.developer_key.hex()} {asked.request_id}", asked.agreement)
    return said == (charge["request"], charge.get("agreement", ""))


def _stoppable_by(about: stops.About) -> Record:
    """What `stops.about_charge` reads again."""
    return {"asked_by": " ".join(sorted(about.keys)), **({"agreement": about.agreement} if about.agreement else {})}


def _check_batch(records: Sequence[Record], batch: tuple[str, str] | None) -> None:
    """Of several sets of plans that were signed for one batch, only one is run: a mixture could cost more than each."""
    if batch is None:
        return
    used = (record["batch_digest"] for record in records if record.get("batch") == batch[0])
    if any(digest != batch[1] for digest in used):
        raise refused("request_reused", "Other plans were already run for this batch of the developer's.")


def _sandbox(enclave: Enclave, admission: _Admission) -> AbstractContextManager[RunBlocks | None]:
    """Where the plan's program runs: there before anything is charged, so that its absence costs nothing."""
    if not admission.plan.HasField("program"):
        return nullcontext()
    return enclave.open_sandbox(admission.plan.program, admission.program)


def _model_place(enclave: Enclave, admission: _Admission) -> AbstractContextManager[Predict | None]:
    """Where the plan's model runs: it is there, and has run on made-up rows, before anything is charged."""
    if admission.model is None:
        return nullcontext()
    return enclave.open_model(admission.plan.evaluation.model, admission.model)


def _noised_sum(
    enclave: Enclave,
    admission: _Admission,
    run: RunBlocks | None,
    predict: Predict | None,
    cancelled: Callable[[], bool],
) -> list[int]:
    plan, opener = admission.plan, _opener(enclave, admission)
    if admission.model is not None and predict is not None:
        batch = batch_rows(admission.model.work)
        exact = evaluated_sums(plan, enclave.engine, opener, predict, batch=batch, cancelled=cancelled)
    elif run is None:
        exact = enclave.engine.contribution(plan, opener, cancelled)
    else:
        exact = block_sums(plan, admission.declaration, opener, admission.program, run, cancelled=cancelled)
    noise = [n for s in plan.statistics for n in sample_share(cells_of(plan, s), s.sigma)]
    return [value + share for value, share in zip(exact, noise, strict=True)]


def _selected_keys(enclave: Enclave, admission: _Admission, cancelled: Callable[[], bool]) -> list[KeyValues]:
    """What this provider names of its own keys: private by its own noise, before anybody adds anything."""
    plan = admission.plan
    if not plan.HasField("key_selection"):
        return []
    return release_keys(plan, enclave.engine.unit_keys(plan, _opener(enclave, admission), cancelled))


def _opener(enclave: Enclave, admission: _Admission) -> OpenTable:
    key = enclave.keys.of(admission.declaration.dataset)
    return partial(stream_table, admission.shard, wrapping_key=key)


def _encrypt(
    enclave: Enclave, job: str, admission: _Admission, vector: list[int], keys: list[KeyValues]
) -> Contribution:
    public = enclave.key.public
    plaintexts = pack(vector, layout_of(admission.plan, public.bits))
    encryption = encrypt(public, plaintexts, enclave.masks)
    context = contributions.plaintext_context(job, admission.plan_hash)
    proof = prove_plaintexts(enclave.key, enclave.key_share.index, encryption, context)
    ciphertexts = to_bytes(encryption.ciphertexts, public.nsquare)
    body = ContributionBody(
        job=job,
        node=enclave.node,
        plan_hash=admission.plan_hash,
        shard_commitment=bytes.fromhex(admission.shard.name),
        key_epoch=enclave.epoch.epoch,
        ciphertexts_digest=digests.digest_all(digests.CIPHERTEXTS, ciphertexts),
        selected_keys=keys,
    ).SerializeToString(deterministic=True)
    signed = SignedContribution(body=body, signature=enclave.identity.sign(digests.CONTRIBUTION, body))
    said = PlaintextProof(challenge=proof.challenge, root=proof.root.to_bytes(number_bytes(public.n), "big"))
    return Contribution(signed=signed, ciphertexts=ciphertexts, proof=said)


def _store_contribution(enclave: Enclave, job: str, contribution: Contribution) -> None:
    """Keep what is about to be sent. From the record on, no other contribution to the job is ever made."""
    data = contribution.SerializeToString(deterministic=True)
    enclave.files.save(job, "contribution", data)
    stored = digests.digest(digests.CONTRIBUTION, data).hex()
    record: Record = {"kind": "contribution", "job": job, "stored": stored, "since": enclave.heads.since()}
    enclave.journal.append(record, unstopped(enclave, job))
