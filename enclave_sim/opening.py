"""The second and third step of a job in an enclave: open its one total, and sign what that holds.

An enclave consents to one total a job: the one it adds up itself from one signed contribution of every key holder, each
with a proof that its maker knows what is inside. It gives its partial decryptions for that alone, once every holder has
consented to it. Whoever has partial decryptions of a threshold can open the total, and shows the randomness of its
ciphertexts with the result: so an enclave that signs checks what the total holds by itself, whoever opened it.
"""

from __future__ import annotations

from collections.abc import Sequence

from yingbi.api import digests
from yingbi.api.v1.node_pb2 import (
    BoundTotal,
    Contribution,
    OpeningShare,
    OpeningShareBody,
    OpenTask,
    ReceiptSignature,
    SignTask,
)
from yingbi.api.v1.plan_pb2 import Plan
from yingbi.api.v1.receipt_pb2 import EnclaveSignature, Manifest, ReceiptBody

from enclave_sim import contributions
from enclave_sim.consents import check_consents
from enclave_sim.enclave import Enclave
from enclave_sim.job_records import (
    altered,
    charged_plan,
    check_in_force,
    check_not_cancelled,
    find_record,
    job_file,
    own_contribution,
    refused,
    started,
    unstopped,
)
from enclave_sim.journal import Record
from enclave_sim.paillier import opening, packing
from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.encryption import UnequalLengthsError, add
from enclave_sim.paillier.plaintext_proof import Claim, PlaintextProof, UnknownPlaintextError, check_plaintexts
from enclave_sim.paillier.share_proof import prove_partials
from enclave_sim.paillier.threshold import partial_decrypt
from enclave_sim.plan.layout import layout_of
from enclave_sim.plan.sensitivity import total_rho_units
from enclave_sim.privacy.gaussian import mechanism_name


def open_total(enclave: Enclave, job: str, task: OpenTask) -> OpeningShare:
    """This enclave's consent to the job's one total or, shown everybody's, its partial decryption; raises Problem.

    The total is the product of exactly one contribution of every key holder, each signed by its enclave for
    this job and plan and proven to be its maker's own; this enclave's own must be the one it stored. The total is on
    disk before the consent is given, and another one for the same job is refused for good. See `consents` for why
    nothing is decrypted before all have consented.
    """
    charge = started(enclave, job)
    check_not_cancelled(enclave, job)
    check_in_force(enclave, charge)
    if not task.consents:
        manifest = _manifest(enclave, job, charge, task)
        total = to_bytes(_add_up(enclave, job, charge, task), enclave.key.public.nsquare)
        digest = _bind(enclave, job, BoundTotal(manifest=manifest, ciphertexts=total), task.contributions)
        return _share(enclave, job, _digest_of(manifest), digest, [])
    bound, digest = _bound_total(enclave, job)
    manifest_digest = _digest_of(bound.manifest)
    check_consents(task.consents, enclave.epoch, job=job, manifest_digest=manifest_digest, total_digest=digest)
    ciphertexts = [int.from_bytes(number, "big") for number in bound.ciphertexts]
    opened = partial_decrypt(enclave.key, enclave.key_share, ciphertexts)
    share = _share(enclave, job, manifest_digest, digest, to_bytes(opened, enclave.key.n))
    if task.prove:
        proven = prove_partials(enclave.key, enclave.key_share, ciphertexts, opened, manifest_digest)
        share.proof.challenge, share.proof.response = proven.to_bytes(enclave.key)
    return share


def _share(
    enclave: Enclave, job: str, manifest_digest: bytes, total_digest: bytes, partials: Sequence[bytes]
) -> OpeningShare:
    """Signed; a consent where there are no partial decryptions. The proof of them is still to come."""
    body = OpeningShareBody(
        job=job,
        node=enclave.node,
        manifest_digest=manifest_digest,
        total_digest=total_digest,
        partials_digest=digests.digest_all(digests.CIPHERTEXTS, partials),
    ).SerializeToString(deterministic=True)
    return OpeningShare(body=body, signature=enclave.identity.sign(digests.OPENING_SHARE, body), partials=partials)


def sign_receipt(enclave: Enclave, job: str, task: SignTask) -> ReceiptSignature:
    """This enclave's signature of the opened total, once it has checked that the total holds it; raises Problem."""
    charge = started(enclave, job)
    check_in_force(enclave, charge)
    plan_bytes = job_file(enclave, job, "plan")
    plan = charged_plan(plan_bytes, charge, job)
    bound, total_digest = _bound_total(enclave, job)
    _check_opened(enclave, plan, bound, task)
    enclave.heads.acknowledge(job)
    body = ReceiptBody(
        manifest=bound.manifest,
        plan=plan_bytes,
        mechanism=mechanism_name(plan.noise.parties, plan.noise.curious),
        rho_units=total_rho_units(plan),
        epsilon=plan.epsilon,
        delta=plan.delta,
        opened=task.opened.cells,
        total_digest=total_digest,
    ).SerializeToString(deterministic=True)
    return ReceiptSignature(
        receipt_body=body,
        signature=EnclaveSignature(
            node=enclave.node,
            signature=enclave.identity.sign(digests.RECEIPT, body),
            # Made for this body: it says what ran, under which policy, when this was signed.
            evidence=enclave.identity.attest(digests.digest(digests.RECEIPT, body)),
        ),
    )


def _manifest(enclave: Enclave, job: str, charge: Record, task: OpenTask) -> Manifest:
    plan = charged_plan(job_file(enclave, job, "plan"), charge, job)
    manifest = contributions.manifest_of(
        task.contributions,
        enclave.epoch,
        job=job,
        plan_hash=bytes.fromhex(str(charge["plan_hash"])),
        version=plan.dataset_version,
    )
    if own_contribution(enclave, job).signed not in manifest.contributions:
        raise refused("bad_contributions", "The total leaves out what this enclave contributed.")
    return manifest


def _add_up(enclave: Enclave, job: str, charge: Record, task: OpenTask) -> list[int]:
    key = enclave.key
    vectors = [contributions.from_bytes(each.ciphertexts, key.public) for each in task.contributions]
    claims = [
        Claim(holder.index, vector, _proof(contribution))
        for contribution, holder, vector in zip(task.contributions, enclave.epoch.holders, vectors, strict=True)
        # What this enclave stored itself it need not prove to itself.
        if holder.index != enclave.key_share.index
    ]
    context = contributions.plaintext_context(job, bytes.fromhex(str(charge["plan_hash"])))
    try:
        check_plaintexts(key, claims, context)
    except UnknownPlaintextError as error:
        node = next(holder.node for holder in enclave.epoch.holders if holder.index == error.holder)
        message = f"{node} did not prove that it knows what is in its contribution."
        raise refused("bad_contributions", message) from error
    try:
        return add(key.public, vectors)
    except UnequalLengthsError as error:
        raise refused("bad_contributions", f"The contributions do not add up: {error}.") from error


def _proof(contribution: Contribution) -> PlaintextProof:
    said = contribution.proof
    return PlaintextProof(said.challenge, int.from_bytes(said.root, "big"))


def _bind(enclave: Enclave, job: str, total: BoundTotal, contributions: Sequence[Contribution]) -> bytes:
    """Bind the job to this total for good, unless a peer forgot something; its digest."""
    digest = digests.digest_all(digests.CIPHERTEXTS, total.ciphertexts)
    record: Record = {"kind": "open", "job": job, "manifest": _digest_of(total.manifest).hex(), "total": digest.hex()}
    bound = find_record(enclave, "open", job)
    if bound is None:
        heads = enclave.heads.check_peers(enclave.node, enclave.epoch, job, contributions)
        enclave.files.save(job, "total", total.SerializeToString(deterministic=True))
        enclave.journal.append({**record, "heads": heads}, unstopped(enclave, job))
    elif not record.items() <= bound.items():
        raise refused("already_bound", f"Job {job} is bound to another total; one total a job is opened.")
    return digest


def _bound_total(enclave: Enclave, job: str) -> tuple[BoundTotal, bytes]:
    """The total that the job is bound to, and its digest."""
    record = find_record(enclave, "open", job)
    if record is None:
        raise refused("not_opened", f"This enclave consented to no total of job {job}.")
    total = BoundTotal.FromString(job_file(enclave, job, "total"))
    digest = digests.digest_all(digests.CIPHERTEXTS, total.ciphertexts)
    if (_digest_of(total.manifest).hex(), digest.hex()) != (record["manifest"], record["total"]):
        raise altered("total", job)
    return total, digest


def _check_opened(enclave: Enclave, plan: Plan, bound: BoundTotal, task: SignTask) -> None:
    public = enclave.key.public
    width = number_bytes(public.n)
    try:
        residues = [value % public.n for value in packing.pack(task.opened.cells, layout_of(plan, public.bits))]
        if any(len(root) != width for root in task.opened.randomness):
            raise opening.BadOpeningError(f"the randomness of a ciphertext has {width} bytes")
        shown = opening.Opening(tuple(residues), tuple(int.from_bytes(root, "big") for root in task.opened.randomness))
        total = [int.from_bytes(number, "big") for number in bound.ciphertexts]
        opening.check_opening(public, total, shown)
    except (packing.LayoutError, packing.SlotOverflowError, opening.BadOpeningError) as error:
        raise refused("bad_opening", f"The total does not hold these numbers: {error}.") from error


def _digest_of(manifest: Manifest) -> bytes:
    return digests.digest(digests.MANIFEST, manifest.SerializeToString(deterministic=True))
