"""What an enclave does for a job, in three steps: contribute, open, sign. Each may be asked for again.

A node trusts no gateway. Before it computes it checks by itself that the plan is well-formed, its
sensitivities and noise right, the developer's signature on it, the operator's where the grade asks, and its
own copy of the budget. It charges before it unseals; it stores its contribution before it sends it, and
sends those bytes again; it opens one total a job, the one it adds up itself from one signed contribution of
every key holder; and it signs only numbers that it combined itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from yingbi.api import digests
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.dataset_pb2 import DatasetDeclaration
from yingbi.api.v1.job_pb2 import Authorization
from yingbi.api.v1.node_pb2 import (
    ContributeTask,
    Contribution,
    OpeningShare,
    OpeningShareBody,
    OpenTask,
    ReceiptSignature,
    SignTask,
)
from yingbi.api.v1.plan_pb2 import KeyValues, Plan
from yingbi.api.v1.receipt_pb2 import (
    ContributionBody,
    EnclaveSignature,
    Manifest,
    ReceiptBody,
    SignedContribution,
)

from enclave_sim import budget, contributions
from enclave_sim.authority import check_approval, check_authorization
from enclave_sim.contributions import DatasetVersion
from enclave_sim.enclave import Enclave
from enclave_sim.engine.protocol import Cancelled, OpenTable
from enclave_sim.journal import Record
from enclave_sim.key_release import release_keys
from enclave_sim.paillier.encryption import UnequalLengthsError, add, encrypt
from enclave_sim.paillier.keys import ThresholdKey
from enclave_sim.paillier.packing import Layout, pack, unpack
from enclave_sim.paillier.threshold import InconsistentSharesError, combine, partial_decrypt
from enclave_sim.plan.canonical import NotCanonicalError, decode, plan_hash
from enclave_sim.plan.errors import PlanError
from enclave_sim.plan.sensitivity import cells, cells_of, charge_of, total_rho_units
from enclave_sim.plan.validation import check_plan
from enclave_sim.privacy.gaussian import mechanism_name
from enclave_sim.privacy.sampling import sample_share
from enclave_sim.sealed.shard import read_header, stream_table

JOB_ID = re.compile(r"[a-z0-9-]{1,64}")


def layout_of(plan: Plan, key: ThresholdKey) -> Layout:
    """How the plan's cells are packed into plaintexts: public, fixed before data is read."""
    return Layout(slot_bits=plan.slot_bits, count=cells(plan), modulus_bits=key.public.bits)


def contribute(enclave: Enclave, job: str, task: ContributeTask, cancelled: Callable[[], bool]) -> Contribution:
    """This provider's clipped sum plus its share of the noise, encrypted; raises Problem.

    Privacy: what leaves is a ciphertext; its plaintext is a bounded sum whose sensitivity `check_plan`
    proved, plus a discrete Gaussian share; only a total over all shares is ever opened (`open_total`).
    """
    _check_job_id(job)
    charge = _record(enclave, "charge", job)
    if charge and charge["plan_hash"] != plan_hash(task.plan).hex():
        raise _refused("other_plan", f"Job {job} was started with another plan.")
    _check_not_cancelled(enclave, job)
    if _record(enclave, "contribution", job):
        return _own_contribution(enclave, job)
    if cancelled():
        raise _cancelled(job)
    admission = _admit(enclave, job, task)
    if not charge:
        _charge(enclave, job, admission, task.plan)
    try:
        vector = _noised_sum(enclave, admission, cancelled)
        keys = _selected_keys(enclave, admission, cancelled)
    except Cancelled as error:
        raise _cancelled(job) from error
    _check_not_cancelled(enclave, job)
    contribution = _encrypt(enclave, job, admission, vector, keys)
    _store_contribution(enclave, job, contribution)
    return contribution


def open_total(enclave: Enclave, job: str, task: OpenTask) -> OpeningShare:
    """This enclave's partial decryption of the job's one total, or its consent alone; raises Problem.

    The total is the product of exactly one contribution of every key holder, each signed by its enclave for
    this job and plan; this enclave's own must be the one it stored. The digest of the total is on disk
    before the share is given, and another total for the same job is refused for good.
    """
    charge = _started(enclave, job)
    _check_not_cancelled(enclave, job)
    manifest = _manifest(enclave, job, charge, task)
    public = enclave.key.public
    vectors = [contributions.from_bytes(c.ciphertexts, public) for c in task.contributions]
    try:
        total = add(public, vectors)
    except UnequalLengthsError as error:
        raise _refused("bad_contributions", f"The contributions do not add up: {error}.") from error
    total_digest = digests.digest_all(digests.CIPHERTEXTS, contributions.to_bytes(total, public.bits))
    manifest_bytes = manifest.SerializeToString(deterministic=True)
    _bind(enclave, job, manifest_bytes, total_digest)
    opened = [] if task.consent_only else partial_decrypt(enclave.key, enclave.key_share, total)
    partials = contributions.to_bytes(opened, public.bits)
    body = OpeningShareBody(
        job=job,
        node=enclave.node,
        manifest_digest=digests.digest(digests.MANIFEST, manifest_bytes),
        total_digest=total_digest,
        partials_digest=digests.digest_all(digests.CIPHERTEXTS, partials),
    ).SerializeToString(deterministic=True)
    signature = enclave.identity.sign(digests.OPENING_SHARE, body)
    return OpeningShare(body=body, signature=signature, partials=partials)


def sign_receipt(enclave: Enclave, job: str, task: SignTask) -> ReceiptSignature:
    """This enclave's signature of the opened total, which it combined from the shares itself; raises Problem."""
    charge = _started(enclave, job)
    opening = _record(enclave, "open", job)
    if opening is None:
        raise _refused("not_opened", f"This enclave gave no share for job {job}.")
    plan_bytes = _file(enclave, job, "plan")
    plan = _charged_plan(plan_bytes, charge, job)
    partials = {}
    for share in task.shares:
        index, numbers = _checked_share(enclave, job, opening, share)
        # Those that only consented gave none.
        if numbers:
            partials[index] = numbers
    try:
        opened = unpack(combine(enclave.key, partials), layout_of(plan, enclave.key), enclave.key.n)
    except (InconsistentSharesError, ValueError) as error:
        raise _refused("bad_shares", f"The opening shares do not combine: {error}.") from error
    manifest = _file(enclave, job, "manifest")
    if digests.digest(digests.MANIFEST, manifest).hex() != opening["manifest"]:
        raise _altered("manifest", job)
    body = ReceiptBody(
        manifest=Manifest.FromString(manifest),
        plan=plan_bytes,
        mechanism=mechanism_name(plan.noise.parties),
        rho_units=total_rho_units(plan),
        epsilon=plan.epsilon,
        delta=plan.delta,
        opened=opened,
    ).SerializeToString(deterministic=True)
    return ReceiptSignature(
        receipt_body=body,
        signature=EnclaveSignature(
            node=enclave.node,
            signature=enclave.identity.sign(digests.RECEIPT, body),
            evidence=enclave.identity.evidence,
        ),
    )


def cancel(enclave: Enclave, job: str) -> None:
    """Never contribute to this job nor open it from now on, unless its total is already bound. Durable."""
    _check_job_id(job)
    if not _record(enclave, "cancel", job) and not _record(enclave, "open", job):
        enclave.journal.append({"kind": "cancel", "job": job})


@dataclass(frozen=True)
class _Admission:
    """A plan that may be computed, and all that was checked for it."""

    plan: Plan
    plan_hash: bytes
    declaration: DatasetDeclaration
    shard: Path
    # Who asked, and under which request id.
    request: str
    # Of a plan of a batch: who asked for the batch and under which id, and for which set of plans.
    batch: tuple[str, str] | None


def _admit(enclave: Enclave, job: str, task: ContributeTask) -> _Admission:
    version = contributions.dataset_version(task.shards, enclave.epoch)
    shard = enclave.shards / version.dataset / version.commitments[enclave.node].hex()
    declaration = _declaration(shard, version, enclave.wrapping_key)
    try:
        plan = decode(task.plan)
        check_plan(plan, declaration, dataset_version=version.version)
    except (NotCanonicalError, PlanError) as error:
        raise _refused("bad_plan", f"The plan is refused: {error}") from error
    if plan.noise.parties != len(enclave.epoch.holders):
        raise _refused("bad_plan", "The plan's noise is shared among other parties than the key's holders.")
    hash_ = plan_hash(task.plan)
    authorization = _check_authority(enclave, job, task, plan, hash_, declaration.grade)
    developer = authorization.developer_key.hex()
    batch = (f"{developer} {authorization.batch}", authorization.batch_digest.hex()) if authorization.batch else None
    return _Admission(plan, hash_, declaration, shard, f"{developer} {authorization.request_id}", batch)


def _declaration(shard: Path, version: DatasetVersion, wrapping_key: bytes) -> DatasetDeclaration:
    header = read_header(shard, wrapping_key)
    if (header.commitment.hex(), header.declaration_digest) != (shard.name, version.declaration_digest):
        raise _refused("bad_shards", "The sealed shard is another one than was registered.")
    return DatasetDeclaration.FromString(header.declaration)


def _check_authority(
    enclave: Enclave, job: str, task: ContributeTask, plan: Plan, hash_: bytes, grade: int
) -> Authorization:
    authorization = check_authorization(
        task.authorization,
        enclave.policy,
        plan_hash=hash_,
        rho_units=total_rho_units(plan),
        delta=plan.delta,
        now=time.time(),
    )
    check_approval(task.approval, enclave.policy, job=job, plan_hash=hash_, grade=grade)
    return authorization


def _charge(enclave: Enclave, job: str, admission: _Admission, plan: bytes) -> None:
    records = enclave.journal.records
    if any(record.get("request") == admission.request for record in records):
        raise _refused("request_reused", "The developer's authorization was already used for another job.")
    _check_batch(records, admission.batch)
    declaration = admission.declaration
    charge = charge_of(admission.plan)
    budget.check_charge(records, declaration, charge)
    enclave.files.save(job, "plan", plan)
    enclave.journal.append(
        {
            "kind": "charge",
            "job": job,
            "dataset": declaration.dataset,
            "unit_namespace": declaration.unit_namespace,
            "rho_units": charge.rho_units,
            "delta0_units": charge.delta0_units,
            "plan_hash": admission.plan_hash.hex(),
            "request": admission.request,
            **({} if admission.batch is None else dict(zip(("batch", "batch_digest"), admission.batch, strict=True))),
        }
    )


def _check_batch(records: Sequence[Record], batch: tuple[str, str] | None) -> None:
    """Of several sets of plans that were signed for one batch, only one is run: a mixture could cost more than each."""
    if batch is None:
        return
    used = (record["batch_digest"] for record in records if record.get("batch") == batch[0])
    if any(digest != batch[1] for digest in used):
        raise _refused("request_reused", "Other plans were already run for this batch of the developer's.")


def _noised_sum(enclave: Enclave, admission: _Admission, cancelled: Callable[[], bool]) -> list[int]:
    plan = admission.plan
    exact = enclave.engine.contribution(plan, _opener(enclave, admission), cancelled)
    noise = [n for s in plan.statistics for n in sample_share(cells_of(plan, s), s.sigma)]
    return [value + share for value, share in zip(exact, noise, strict=True)]


def _selected_keys(enclave: Enclave, admission: _Admission, cancelled: Callable[[], bool]) -> list[KeyValues]:
    """What this provider names of its own keys: private by its own noise, before anybody adds anything."""
    plan = admission.plan
    if not plan.HasField("key_selection"):
        return []
    return release_keys(plan, enclave.engine.unit_keys(plan, _opener(enclave, admission), cancelled))


def _opener(enclave: Enclave, admission: _Admission) -> OpenTable:
    return partial(stream_table, admission.shard, wrapping_key=enclave.wrapping_key)


def _encrypt(
    enclave: Enclave, job: str, admission: _Admission, vector: list[int], keys: list[KeyValues]
) -> Contribution:
    public = enclave.key.public
    plaintexts = pack(vector, layout_of(admission.plan, enclave.key))
    ciphertexts = contributions.to_bytes(encrypt(public, plaintexts), public.bits)
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
    return Contribution(signed=signed, ciphertexts=ciphertexts)


def _store_contribution(enclave: Enclave, job: str, contribution: Contribution) -> None:
    """Keep what is about to be sent. From the record on, no other contribution to the job is ever made."""
    data = contribution.SerializeToString(deterministic=True)
    enclave.files.save(job, "contribution", data)
    stored = digests.digest(digests.CONTRIBUTION, data).hex()
    enclave.journal.append({"kind": "contribution", "job": job, "stored": stored})


def _own_contribution(enclave: Enclave, job: str) -> Contribution:
    record = _record(enclave, "contribution", job)
    if record is None:
        raise _refused("not_contributed", f"This enclave contributed nothing to job {job} yet.")
    data = _file(enclave, job, "contribution")
    if digests.digest(digests.CONTRIBUTION, data).hex() != record["stored"]:
        raise _altered("contribution", job)
    return Contribution.FromString(data)


def _charged_plan(plan: bytes, charge: Record, job: str) -> Plan:
    if plan_hash(plan).hex() != charge["plan_hash"]:
        raise _altered("plan", job)
    return decode(plan)


def _manifest(enclave: Enclave, job: str, charge: Record, task: OpenTask) -> Manifest:
    plan = _charged_plan(_file(enclave, job, "plan"), charge, job)
    manifest = contributions.manifest_of(
        task.contributions,
        enclave.epoch,
        job=job,
        plan_hash=bytes.fromhex(str(charge["plan_hash"])),
        version=plan.dataset_version,
    )
    if _own_contribution(enclave, job).signed not in manifest.contributions:
        raise _refused("bad_contributions", "The total leaves out what this enclave contributed.")
    return manifest


def _bind(enclave: Enclave, job: str, manifest: bytes, total_digest: bytes) -> None:
    record: Record = {
        "kind": "open",
        "job": job,
        "manifest": digests.digest(digests.MANIFEST, manifest).hex(),
        "total": total_digest.hex(),
    }
    bound = _record(enclave, "open", job)
    if bound is None:
        enclave.files.save(job, "manifest", manifest)
        enclave.journal.append(record)
    elif bound != record:
        raise _refused("already_bound", f"Job {job} is bound to another total; one total a job is opened.")


def _checked_share(enclave: Enclave, job: str, opening: Record, share: OpeningShare) -> tuple[int, list[int]]:
    body = OpeningShareBody.FromString(share.body)
    holder = next((holder for holder in enclave.epoch.holders if holder.node == body.node), None)
    if holder is None or not digests.is_signed(holder.signing_key, digests.OPENING_SHARE, share.body, share.signature):
        raise _refused("bad_shares", f"The opening share of {body.node!r} is not signed by a key holder.")
    bound = (job, opening["manifest"], opening["total"])
    if (body.job, body.manifest_digest.hex(), body.total_digest.hex()) != bound:
        raise _refused("bad_shares", f"The opening share of {body.node} is for another job or total.")
    if digests.digest_all(digests.CIPHERTEXTS, share.partials) != body.partials_digest:
        raise _refused("bad_shares", f"The opening share of {body.node} is not what its enclave signed.")
    return holder.index, contributions.from_bytes(share.partials, enclave.key.public)


def _started(enclave: Enclave, job: str) -> Record:
    charge = _record(enclave, "charge", job)
    if charge is None:
        raise _refused("not_started", f"This enclave contributed nothing to job {job}.")
    return charge


def _record(enclave: Enclave, kind: str, job: str) -> Record | None:
    found = (r for r in enclave.journal.records if r["kind"] == kind and r.get("job") == job)
    return next(found, None)


def _check_not_cancelled(enclave: Enclave, job: str) -> None:
    if _record(enclave, "cancel", job):
        raise _cancelled(job)


def _file(enclave: Enclave, job: str, name: str) -> bytes:
    data = enclave.files.load(job, name)
    if data is None:
        raise Problem(Kind.FAILED, "lost_file", f"The file {name!r} of job {job} is gone from this node.")
    return data


def _cancelled(job: str) -> Problem:
    return _refused("cancelled", f"Job {job} was cancelled.")


def _check_job_id(job: str) -> None:
    # Job ids become folder names and go into the journal.
    if not JOB_ID.fullmatch(job):
        raise Problem(Kind.MALFORMED, "bad_job", "A job id is 1 to 64 of a-z, 0-9 and '-'.")


def _altered(name: str, job: str) -> Problem:
    return Problem(Kind.FAILED, "altered_file", f"The file {name!r} of job {job} was altered on this node.")


def _refused(code: str, message: str) -> Problem:
    return Problem(Kind.REFUSED, code, message)
