"""A made-up zone with real keys, certificates and signatures: everything a client meets, without a server."""

from __future__ import annotations

import datetime
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from yingbi.api import cose, digests, eat, suites, zcdp
from yingbi.api.configuration import MEASURES
from yingbi.api.v1 import attestation_pb2, plan_pb2, receipt_pb2

# Far too short for anything but arithmetic.
MODULUS = 283910936661938661025579630583592723679 * 273133117210864770337848443476595827849
MEASUREMENT = bytes(range(32))
POLICY = bytes(range(32, 64))
ENCRYPTION_KEY = suites.DEFAULT.key(bytes(32)).public
# Long ago: receipts are to verify in years.
SIGNED_AT = 1_500_000_000
DELTA = 1e-7
EPSILON = 1.0
AnyKey = ec.EllipticCurvePrivateKey | Ed25519PrivateKey


@dataclass(frozen=True)
class Authority:
    """A key and its certificate."""

    key: AnyKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def issue(self, name: str, key: AnyKey, *, ca: bool = False, server: bool = False) -> Authority:
        builder = _builder(name, key, self.certificate.subject, ca=ca)
        if server:
            names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Authority(key, builder.sign(self.key, _hash_for(self.key)))


def authority(name: str = "zone CA") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return Authority(key, _builder(name, key, subject, ca=True).sign(key, _hash_for(key)))


@dataclass(frozen=True)
class Enclave:
    name: str
    key: Ed25519PrivateKey
    platform_key: Ed25519PrivateKey
    certificates: tuple[bytes, bytes]
    measurement: bytes

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def attest(self, nonce: bytes, **changes: Any) -> attestation_pb2.Evidence:
        """Evidence for this nonce; `changes` are of claims."""
        statement = eat.Statement(nonce, self.public, ENCRYPTION_KEY, POLICY, configuration=tuple(sorted(MEASURES)))
        claims = eat.Claims(self.name, self.measurement, True, SIGNED_AT, SIGNED_AT + 3600, statement)
        payload = eat.encode(replace(claims, **changes))
        return attestation_pb2.Evidence(token=cose.sign(payload, self.certificates, self.platform_key.sign))


def enclave(name: str, root: Authority, measurement: bytes = MEASUREMENT, platform_name: str | None = None) -> Enclave:
    key, platform_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    platform = root.issue(platform_name or name, platform_key)
    return Enclave(name, key, platform_key, (platform.der, root.der), measurement)


@dataclass(frozen=True)
class Scene:
    """A zone with a dealer and some nodes."""

    ca: Authority
    dealer: Enclave
    nodes: tuple[Enclave, ...]
    key_epoch: attestation_pb2.SignedKeyEpoch


@dataclass
class Changes:
    """What a receipt of this scene has otherwise than it should; for tests of what is noticed."""

    plan_in_body: bytes | None = None
    contributors: Sequence[int] | None = None
    signers: Sequence[int] = (0, 1)
    body: dict[str, object] = field(default_factory=dict)


def scene(nodes: int = 3, threshold: int = 2, root_is_ca: bool = True) -> Scene:
    ca = authority()
    root = ca.issue("attestation root", Ed25519PrivateKey.generate(), ca=root_is_ca)
    return scene_of(ca, enclave("dealer", root), [enclave(f"node-{i}", root) for i in range(1, nodes + 1)], threshold)


def scene_of(ca: Authority, dealer: Enclave, nodes: Sequence[Enclave], threshold: int = 2) -> Scene:
    epoch = attestation_pb2.KeyEpoch(
        epoch=1,
        modulus=MODULUS.to_bytes(32, "big"),
        threshold=threshold,
        holders=[
            attestation_pb2.KeyHolder(node=node.name, index=i, signing_key=node.public, measurement=MEASUREMENT)
            for i, node in enumerate(nodes, 1)
        ],
        ceremony="trusted dealer",
    ).SerializeToString(deterministic=True)
    signed = attestation_pb2.SignedKeyEpoch(
        body=epoch,
        signature=digests.sign(dealer.key, digests.KEY_EPOCH, epoch),
        dealer=dealer.attest(digests.digest(digests.KEY_EPOCH, epoch)),
    )
    return Scene(ca, dealer, tuple(nodes), signed)


def receipt_of(
    scene: Scene, plan: plan_pb2.Plan, opened: Sequence[int], job: str = "job-1", changes: Changes | None = None
) -> receipt_pb2.Receipt:
    changes = changes or Changes()
    plan_bytes = plan.SerializeToString(deterministic=True)
    plan_hash = digests.digest(digests.PLAN, plan_bytes)
    order = changes.contributors if changes.contributors is not None else range(len(scene.nodes))
    manifest = receipt_pb2.Manifest(
        job=job,
        plan_hash=plan_hash,
        dataset_version=plan.dataset_version,
        key_epoch=1,
        contributions=[_contribution(scene.nodes[i], job, plan_hash) for i in order],
    )
    decryption = decryption_of(opened, plan.slot_bits)
    values: dict[str, object] = {
        "manifest": manifest,
        "plan": changes.plan_in_body or plan_bytes,
        "mechanism": "sum of 3 discrete Gaussians",
        "rho_units": sum(statistic.rho_units for statistic in plan.statistics),
        "epsilon": plan.epsilon,
        "delta": plan.delta,
        "opened": list(opened),
        "total_digest": digests.digest_all(digests.CIPHERTEXTS, decryption.total),
        **changes.body,
    }
    body = receipt_pb2.ReceiptBody(**values).SerializeToString(deterministic=True)  # type: ignore[arg-type]
    signatures = [
        receipt_pb2.EnclaveSignature(
            node=node.name,
            signature=digests.sign(node.key, digests.RECEIPT, body),
            evidence=node.attest(digests.digest(digests.RECEIPT, body)),
        )
        for node in (scene.nodes[i] for i in changes.signers)
    ]
    return receipt_pb2.Receipt(body=body, signatures=signatures, key_epoch=scene.key_epoch, decryption=decryption)


def decryption_of(opened: Sequence[int], slot_bits: int) -> receipt_pb2.Decryption:
    """Ciphertexts that hold these cells, and their randomness."""
    slots = (MODULUS.bit_length() - 2) // max(slot_bits, 2)
    made = receipt_pb2.Decryption()
    for first in range(0, len(opened), slots):
        plaintext = sum(cell << (slot_bits * i) for i, cell in enumerate(opened[first : first + slots]))
        root = 2 + first
        number = (1 + plaintext * MODULUS) * pow(root, MODULUS, MODULUS**2) % MODULUS**2
        made.total.append(number.to_bytes(64, "big"))
        made.randomness.append(root.to_bytes(32, "big"))
    return made


def column(name: str, type: plan_pb2.ColumnType.ValueType) -> plan_pb2.Expression:
    return plan_pb2.Expression(column=plan_pb2.ColumnReference(name=name, type=type))


def counting_plan(epsilon: float = EPSILON, delta: float = DELTA) -> plan_pb2.Plan:
    """SELECT sex, COUNT(*), SUM(age), AVG(age) FROM patients GROUP BY sex, over 3 parties."""
    rho = zcdp.bought(epsilon, delta)[0]
    age = column("age", plan_pb2.COLUMN_TYPE_FLOAT64)
    bounded = plan_pb2.BoundedSum(term=age, lower=0, upper=100, centre=50, half_range=50)
    half = rho // 2
    return plan_pb2.Plan(
        language_version=2,
        dataset="clinic",
        dataset_version=b"\x01" * 32,
        relation=plan_pb2.Relation(scan=plan_pb2.Scan(table="patients")),
        group_by=[
            plan_pb2.GroupKey(
                expression=column("sex", plan_pb2.COLUMN_TYPE_STRING),
                values=[plan_pb2.Value(string_value="f"), plan_pb2.Value(string_value="m")],
            )
        ],
        statistics=[
            plan_pb2.Statistic(non_null_count=plan_pb2.NonNullCount(term=age), sigma=800, rho_units=rho - half),
            plan_pb2.Statistic(bounded_sum=bounded, sigma=600, rho_units=half),
        ],
        clipping=plan_pb2.Clipping(max_rows=1, max_groups=1),
        fraction_bits=6,
        noise=plan_pb2.Noise(parties=3, parties_per_unit=1),
        slot_bits=40,
        outputs=[
            plan_pb2.Output(name="sex", key=0),
            plan_pb2.Output(name="n", measure=COUNT),
            plan_pb2.Output(name="years", measure=SUM),
            plan_pb2.Output(name="age", measure=MEAN),
        ],
        epsilon=epsilon,
        delta=delta,
    )


COUNT = plan_pb2.Measure(count=plan_pb2.CountMeasure(statistic=0))
SUM = plan_pb2.Measure(sum=plan_pb2.SumMeasure(bounded_sum=1, non_null_count=0))
MEAN = plan_pb2.Measure(mean=plan_pb2.MeanMeasure(bounded_sum=1, non_null_count=0))

OPENED = (4000 * 64, 6000 * 64, 400 * 64, -1200 * 64)


def write_profiles(folder: Path, scene: Scene, address: str | None) -> Path:
    """The zone folder's profiles, as `yingbi init` and `up` leave them; returns the developer's."""
    profiles = folder / "profiles"
    profiles.mkdir(parents=True, exist_ok=True)
    for role in ("developer", "operator", "provider"):
        document = {
            "address": address,
            "token": f"{role}-token",
            "role": role,
            "name": role.title(),
            "ca_pem": scene.ca.pem,
            "measurement": MEASUREMENT.hex(),
            "policy": POLICY.hex(),
            "allow_simulation": True,
        }
        (profiles / f"{role}.json").write_text(json.dumps(document))
    return profiles / "developer.json"


def _contribution(node: Enclave, job: str, plan_hash: bytes) -> receipt_pb2.SignedContribution:
    body = receipt_pb2.ContributionBody(
        job=job,
        node=node.name,
        plan_hash=plan_hash,
        shard_commitment=bytes(32),
        key_epoch=1,
        ciphertexts_digest=bytes(32),
    ).SerializeToString(deterministic=True)
    return receipt_pb2.SignedContribution(body=body, signature=digests.sign(node.key, digests.CONTRIBUTION, body))


def _builder(name: str, key: AnyKey, issuer: x509.Name, *, ca: bool) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _hash_for(key: AnyKey) -> hashes.SHA256 | None:
    return None if isinstance(key, Ed25519PrivateKey) else hashes.SHA256()
