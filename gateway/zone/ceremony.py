"""Key ceremonies: start the dealer's enclave, bring it the others' evidence, put its results where they belong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import Evidence, KeyCeremonyRequest, KeyCeremonyResult, KeyEpoch, SignedKeyEpoch
from yingbi.api.v1.standing_pb2 import Standing

from gateway.zone.folder import ZoneFolder, write_private

MODULUS_BITS = 3072
CEREMONY_SECONDS = 600


def hold(dealer: Path, ca_file: Path, make_request: Callable[[], KeyCeremonyRequest]) -> KeyCeremonyResult:
    """Deal a key of MODULUS_BITS to the enclaves of a request, by the enclave whose platform is in `dealer`.

    The request is made while the dealer looks for primes; its bits and threshold are filled in here. The dealer's
    platform is removed: no second key is dealt with it. Raises Problem.
    """
    command = [sys.executable, "-m", "enclave_sim.ceremony", str(dealer), str(ca_file), "--bits", str(MODULUS_BITS)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        request = make_request()
        request.modulus_bits, request.threshold = MODULUS_BITS, len(request.enclaves) // 2 + 1
        output, errors = process.communicate(frame(request.SerializeToString()), timeout=CEREMONY_SECONDS)
    finally:
        process.kill()
    if process.returncode != 0:
        raise Problem(Kind.FAILED, "key_ceremony", f"The key ceremony failed: {last_line(errors)}")
    for file in dealer.iterdir():
        file.unlink()
    dealer.rmdir()
    return KeyCeremonyResult.FromString(unframe(output)[0])


def write(folder: ZoneFolder, result: KeyCeremonyResult, standing: bytes = b"") -> None:
    """Put a ceremony's results, and the serialized Standing that the key epoch names, into a zone's folder."""
    epoch = result.key_epoch.SerializeToString()
    write_private(key_epoch_file(folder), epoch)
    for share in result.shares:
        enclave = folder.node(share.node) / "enclave"
        write_private(enclave / "key_epoch.pb", epoch)
        write_private(enclave / "key_share.pb", share.SerializeToString())
        if standing:
            write_private(enclave / "standing.pb", standing)


def key_epoch_file(folder: ZoneFolder) -> Path:
    """Where the gateway's process finds the zone's present key epoch."""
    return folder.gateway / "key_epoch.pb"


def present(folder: ZoneFolder) -> SignedKeyEpoch:
    """The zone's present key epoch."""
    return SignedKeyEpoch.FromString(key_epoch_file(folder).read_bytes())


def shown(folder: ZoneFolder) -> dict[str, object]:
    """The zone's present key epoch as `yingbi status` and `yingbi node` tell it."""
    epoch = KeyEpoch.FromString(present(folder).body)
    return {
        "epoch": epoch.epoch,
        "ceremony": epoch.ceremony,
        "modulus_bits": int.from_bytes(epoch.modulus, "big").bit_length(),
        "threshold": epoch.threshold,
        "nodes": [holder.node for holder in epoch.holders],
    }


def measured() -> list[str]:
    """What the enclave's code measures here: line by line, and the measurement last; raises Problem."""
    return _run("enclave_sim.show_measurement").decode().splitlines()


def ask(node: Path) -> tuple[Evidence, Standing]:
    """What the enclave of the node in this folder shows of itself, and what is spent by its journal; raises Problem."""
    files = str(node / "enclave"), str(node / "ca.crt")
    shown, rest = unframe(_run("enclave_sim.start_upkeep", "show", *files, of=f" of {node.name}"))
    return Evidence.FromString(shown), Standing.FromString(unframe(rest)[0])


def _run(module: str, *arguments: str, of: str = "") -> bytes:
    """The output of one of the enclave's programs."""
    command = [sys.executable, "-P", "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise Problem(Kind.FAILED, "enclave", f"The enclave{of} failed: {last_line(done.stderr)}")
    return done.stdout


def frame(payload: bytes) -> bytes:
    """As `enclave_sim.frames` has it."""
    return len(payload).to_bytes(8, "big") + payload


def unframe(data: bytes) -> tuple[bytes, bytes]:
    """The first frame's payload, and what follows it."""
    end = 8 + int.from_bytes(data[:8], "big")
    return data[8:end], data[end:]


def last_line(text: bytes) -> str:
    """What a program that failed said last."""
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
