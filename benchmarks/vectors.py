"""What a gateway's memory comes to when long vectors pass through it: `python -m benchmarks.vectors`.

The gateway is a process of its own: Runner, database and NodeService on loopback, with TLS, as `gateway.app` wires
them. Ten nodes in this process send it a million cells each at 3072 bits. They are the real ones as far as the
wire goes; what an enclave would compute is made of 64 ciphertexts over and over. The total opens to the right
numbers, or this fails. Prints the gateway's resident memory: before the job, and the peak of each step.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import logging
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table
from yingbi.api import digests
from yingbi.api.evidence import roster_digest
from yingbi.api.parts import TaskParts, split_result
from yingbi.api.v1.attestation_pb2 import KeyEpoch, KeyHolder, SignedKeyEpoch
from yingbi.api.v1.dataset_pb2 import RegisterDatasetRequest, ShardRegistration, SignedShardRegistration
from yingbi.api.v1.job_pb2 import SignedAuthorization
from yingbi.api.v1.node_pb2 import (
    Contribution,
    Hello,
    OpeningShare,
    OpeningShareBody,
    ReceiptSignature,
    Task,
    TaskResult,
)
from yingbi.api.v1.node_pb2_grpc import add_NodeServiceServicer_to_server
from yingbi.api.v1.plan_pb2 import GroupKey, Plan, RowCount, Statistic, Value
from yingbi.api.v1.receipt_pb2 import (
    ContributionBody,
    EnclaveSignature,
    Manifest,
    ReceiptBody,
    SignedContribution,
)

from enclave_sim.node import Node, connect
from enclave_sim.paillier.dealer import deal, generate_modulus
from enclave_sim.paillier.encoding import number_bytes, to_bytes
from enclave_sim.paillier.encryption import add, encrypt
from enclave_sim.paillier.keys import KeyShare, ThresholdKey
from enclave_sim.paillier.packing import pack
from enclave_sim.paillier.threshold import majority, partial_decrypt
from enclave_sim.plan.layout import layout_of
from enclave_sim.plan.sensitivity import cells
from enclave_sim.shared_key import key_of
from gateway.aggregation.vectors import Vectors
from gateway.api.nodes import NodeService
from gateway.app import OPTIONS
from gateway.jobs import records, states
from gateway.jobs.feed import Feed
from gateway.jobs.nodes import Nodes
from gateway.jobs.runner import Runner
from gateway.storage.database import Database
from gateway.zone.authority import Authority, certificate_pem

JOB = "job-1"
SLOT_BITS = 40
# How many ciphertexts are made, for whatever length.
DIFFERENT = 64
MEBIBYTE = 1 << 20
MANIFEST = Manifest(job=JOB)
MANIFEST_DIGEST = digests.digest(digests.MANIFEST, MANIFEST.SerializeToString(deterministic=True))


def main() -> None:
    """Run and print, or be the gateway."""
    parser = argparse.ArgumentParser(prog="benchmarks.vectors")
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--gateway", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.gateway:
        asyncio.run(_be_gateway(arguments.gateway))
        return
    logging.disable()  # The nodes find their gateway gone at the end.
    with tempfile.TemporaryDirectory() as name:
        _measure(Path(name), arguments.cells, arguments.nodes)


def _plan(count: int) -> Plan:
    """A count in each of about so many groups."""
    keys = [GroupKey(values=[Value(int64_value=value) for value in range(size)]) for size in (1000, -(-count // 1000))]
    return Plan(group_by=keys, statistics=[Statistic(row_count=RowCount())], slot_bits=SLOT_BITS, fraction_bits=16)


@dataclass
class Zone:
    """What all nodes of this process have."""

    key: ThresholdKey
    shares: Sequence[KeyShare]
    signers: Sequence[Ed25519PrivateKey]
    plan: Plan
    steps: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        layout = layout_of(self.plan, self.key.public.bits)
        self.count = layout.plaintexts
        period = DIFFERENT * layout.slots_per_plaintext
        self.values = [index % period - period // 2 for index in range(layout.count)]
        # The last plaintext may be a shorter one.
        plaintexts = pack(self.values, layout)
        made = encrypt(self.key.public, [*plaintexts[:DIFFERENT], plaintexts[-1]]).ciphertexts
        self.total = add(self.key.public, [made] * len(self.shares))
        self.ciphertexts = to_bytes(self.repeated(made), self.key.public.nsquare)

    def repeated(self, made: Sequence[int]) -> list[int]:
        """A whole vector of the few numbers that there are, the last of them at its end."""
        pattern = made[: min(DIFFERENT, self.count - 1)]
        return [*itertools.islice(itertools.cycle(pattern), self.count - 1), made[-1]]


class SimulatedEnclave:
    """An enclave as its node sees it: see enclave_sim.node.EnclaveProcess."""

    def __init__(self, zone: Zone, index: int, name: str) -> None:
        self._zone, self._index, self._name = zone, index, name
        self._parts = TaskParts(1 << 30)
        self._results: queue.Queue[TaskResult] = queue.Queue()
        self._counted = 0
        self.hello = Hello(node=name)

    def send(self, task: Task) -> None:
        """Take a message of a task."""
        self._zone.steps.add(str(task.WhichOneof("kind")))
        if task.HasField("open"):
            # Ten vectors for each of ten nodes are more than this process should hold: they are counted.
            self._counted += sum(len(one.ciphertexts) for one in task.open.contributions)
            whole = None if task.more else task
        else:
            whole = self._parts.add(task)
        if whole is not None:
            threading.Thread(target=self._do, args=(whole,)).start()

    def receive(self) -> TaskResult | None:
        """The next message of a result."""
        return self._results.get()

    def _do(self, task: Task) -> None:
        result = TaskResult(id=task.id, job=task.job)
        match task.WhichOneof("kind"):
            case "contribute":
                result.contribution.CopyFrom(self._contribution())
            case "open":
                # Consents come after the contributions, which are counted then.
                assert self._counted == self._zone.count * len(self._zone.shares)
                assert not task.open.prove
                result.opening_share.CopyFrom(self._share(consent_only=not task.open.consents))
            case _:
                assert list(task.sign.opened.cells) == [len(self._zone.shares) * one for one in self._zone.values]
                result.receipt_signature.CopyFrom(self._signature(task))
        for message in split_result(result):
            self._results.put(message)

    def _contribution(self) -> Contribution:
        digest = digests.digest_all(digests.CIPHERTEXTS, self._zone.ciphertexts)
        body = ContributionBody(job=JOB, node=self._name, ciphertexts_digest=digest).SerializeToString()
        return Contribution(signed=SignedContribution(body=body), ciphertexts=self._zone.ciphertexts)

    def _share(self, *, consent_only: bool) -> OpeningShare:
        key, share, total = self._zone.key, self._zone.shares[self._index], self._zone.repeated(self._zone.total)
        numbers = [] if consent_only else self._zone.repeated(partial_decrypt(key, share, self._zone.total))
        partials = to_bytes(numbers, key.n)
        body = OpeningShareBody(
            job=JOB,
            node=self._name,
            manifest_digest=MANIFEST_DIGEST,
            total_digest=digests.digest_all(digests.CIPHERTEXTS, to_bytes(total, key.public.nsquare)),
            partials_digest=digests.digest_all(digests.CIPHERTEXTS, partials),
        ).SerializeToString()
        signature = digests.sign(self._zone.signers[self._index], digests.OPENING_SHARE, body)
        return OpeningShare(body=body, signature=signature, partials=partials)

    def _signature(self, task: Task) -> ReceiptSignature:
        plan = self._zone.plan.SerializeToString(deterministic=True)
        body = ReceiptBody(manifest=MANIFEST, plan=plan, opened=task.sign.opened.cells).SerializeToString()
        signature = digests.sign(self._zone.signers[self._index], digests.RECEIPT, body)
        return ReceiptSignature(receipt_body=body, signature=EnclaveSignature(node=self._name, signature=signature))


def _measure(folder: Path, count: int, parties: int) -> None:
    names = [f"node-{index + 1}" for index in range(parties)]
    key, shares = deal(*generate_modulus(), parties=parties, threshold=majority(parties), epoch=1)
    zone = Zone(key, shares, [Ed25519PrivateKey.generate() for _ in names], _plan(count))
    _write(folder, zone, names)
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "benchmarks.vectors", "--gateway", str(folder)]) as gateway:
        while not (folder / "port").exists():
            time.sleep(0.05)
            assert gateway.poll() is None
        address = f"127.0.0.1:{(folder / 'port').read_text()}"
        peaks, seconds = {"before": _resident(gateway.pid)}, {"before": time.perf_counter() - began}
        for index, name in enumerate(names):
            enclave = SimulatedEnclave(zone, index, name)
            node = Node(enclave, connect(folder / name, address))  # type: ignore[arg-type]
            threading.Thread(target=node.run, daemon=True).start()
        while gateway.poll() is None:
            step = next(one for one in ("sign", "open", "contribute", "before") if one in zone.steps or one == "before")
            peaks[step] = max(peaks.get(step, 0), _resident(gateway.pid))
            seconds[step] = time.perf_counter() - began
            time.sleep(0.01)
    outcome = json.loads((folder / "outcome.json").read_text())
    _print(peaks, seconds, outcome, f"{cells(zone.plan):,} cells, {zone.count:,} ciphertexts, {parties} nodes")


def _resident(pid: int) -> int:
    """A process's resident memory, bytes; 0 once it ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("VmRSS")]
    return int(lines[0][1]) * 1024 if lines else 0


def _write(folder: Path, zone: Zone, names: Sequence[str]) -> None:
    """What the gateway and the nodes find on their disks."""
    ca = Authority.new("benchmark CA")
    holders = [
        KeyHolder(
            node=name,
            index=index + 1,
            signing_key=zone.signers[index].public_key().public_bytes_raw(),
            verification_key=zone.key.verification_key(index + 1).to_bytes(number_bytes(zone.key.n), "big"),
        )
        for index, name in enumerate(names)
    ]
    modulus = zone.key.n.to_bytes(number_bytes(zone.key.n), "big")
    epoch = KeyEpoch(epoch=1, modulus=modulus, threshold=zone.key.threshold, holders=holders)
    (folder / "epoch.pb").write_bytes(epoch.SerializeToString())
    (folder / "plan.pb").write_bytes(zone.plan.SerializeToString(deterministic=True))
    for name in ("gateway", *names):
        key, certificate = ca.tls_pair(name, server=name == "gateway")
        (folder / name).mkdir()
        (folder / name / "tls.key").write_bytes(key)
        (folder / name / "tls.crt").write_bytes(certificate)
        (folder / name / "ca.crt").write_bytes(certificate_pem(ca.certificate))


async def _be_gateway(folder: Path) -> None:
    epoch = KeyEpoch.FromString((folder / "epoch.pb").read_bytes())
    assert key_of(epoch).threshold == epoch.threshold
    database, feed = Database(folder / "gateway.db"), Feed()
    nodes = Nodes(lambda hello: epoch)
    nodes.expect(SignedKeyEpoch(), epoch)
    runner = Runner(database, nodes, feed, Vectors(folder / "vectors"))
    server = grpc.aio.server(options=OPTIONS)
    add_NodeServiceServicer_to_server(NodeService(nodes), server)
    pair = ((folder / "gateway" / "tls.key").read_bytes(), (folder / "gateway" / "tls.crt").read_bytes())
    ca = (folder / "gateway" / "ca.crt").read_bytes()
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair], ca, require_client_auth=True))
    await server.start()
    await database.run(records.create, _job(folder, epoch), states.QUEUED)
    (folder / "port").write_text(str(port))
    await runner.resume()
    await asyncio.gather(*runner._running.values())
    # As a caller would see it.
    record = await database.run(records.get, JOB)
    outcome = {"state": record.state, "failure": record.message.failure.message, "peak": _peak()}
    outcome["receipt"] = record.message.receipt.ByteSize()
    (folder / "outcome.json").write_text(json.dumps(outcome))
    await server.stop(0.2)
    database.close()


def _peak() -> int:
    """This process's peak, bytes: what `_resident` may have missed between two looks."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def _job(folder: Path, epoch: KeyEpoch) -> records.NewJob:
    shard = ShardRegistration(roster=roster_digest(epoch)).SerializeToString()
    return records.NewJob(
        job=JOB,
        developer="developer",
        organisation="organisation",
        request_id="request-1",
        request_digest=b"",
        dataset="clinic",
        sql="",
        plan=(folder / "plan.pb").read_bytes(),
        plan_hash=bytes(32),
        authorization=SignedAuthorization(),
        registration=RegisterDatasetRequest(shards=[SignedShardRegistration(body=shard)]).SerializeToString(),
    )


def _print(peaks: dict[str, int], seconds: dict[str, float], outcome: dict[str, object], title: str) -> None:
    table = Table("of the gateway, until the end of", "most MiB", "after s", title=title)
    for step, size in peaks.items():
        table.add_row(step, f"{size / MEBIBYTE:.1f}", f"{seconds[step]:.1f}")
    table.add_row("all", f"{int(str(outcome['peak'])) / MEBIBYTE:.1f}", "")
    table.add_row("its receipt", f"{int(str(outcome['receipt'])) / MEBIBYTE:.1f}", "")
    Console().print(table)
    if outcome["state"] != states.SUCCEEDED:
        sys.exit(f"the job {outcome['state']}: {outcome['failure']}")


if __name__ == "__main__":
    main()
