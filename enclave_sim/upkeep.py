"""What is done to an enclave's root while the enclave does not run, by a process that `start_upkeep` confines.

Messages go in by framed standard input and out by framed standard output. What cannot be done ends it with a sentence.

show        out: what the key ceremony needs, see `show_evidence`; an enclave that never ran makes its root here
rotate      renews the keys at rest; out: the new version as text
hand-over   in: a SignedUpgradePolicy; leaves the root for the code that it names
handed-over says whether the root was left for this code, and changes nothing
take-over   makes the root that was left for this code this code's alone
split       in: a SignedEscrowOrder; out: an EscrowShare for each holder
recipient   out: Evidence of a key that shares may be encrypted to
drill       in: shares so encrypted; says what they restore, and writes nothing
restore     the same; makes the root that they restore this platform's
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import DecodeError
from yingbi.api.escrow import recipient_nonce
from yingbi.api.evidence import zone_of
from yingbi.api.problem import Problem
from yingbi.api.suites import DEFAULT
from yingbi.api.v1.storage_pb2 import EscrowShare, SignedEscrowOrder, SignedUpgradePolicy

from enclave_sim.attestation.backend import SealError
from enclave_sim.attestation.simulated import SimulatedBackend
from enclave_sim.frames import FrameError, read_frame, write_frame
from enclave_sim.identity import Identity
from enclave_sim.journal import Journal, JournalError
from enclave_sim.show_evidence import shown
from enclave_sim.storage import escrow, handover, rotation, state
from enclave_sim.storage.state import Root, RootError

RECIPIENT = "escrow.recipient"
# The platform's counter of keys that were drawn for shares.
RECIPIENTS = "escrow-recipients"


def show(folder: Path, ca_pem: bytes, backend: SimulatedBackend, _: list[bytes]) -> list[bytes]:
    """What the enclave shows of itself, and what is spent by its journal."""
    return [message.SerializeToString(deterministic=True) for message in shown(folder, ca_pem, backend)]


def rotate(folder: Path, ca_pem: bytes, backend: SimulatedBackend, _: list[bytes]) -> list[bytes]:
    """Renew every key that wraps others."""
    root = state.open_root(folder, backend, ca_pem)
    with _not_running(folder, root):
        return [str(rotation.rotate(folder, backend, root).key_version).encode()]


def hand_over(folder: Path, ca_pem: bytes, backend: SimulatedBackend, given: list[bytes]) -> list[bytes]:
    """Leave the root for the code that a signed policy names; it stays this code's until that code takes it."""
    root = state.open_root(folder, backend, ca_pem)
    signed = SignedUpgradePolicy.FromString(_only(given))
    measurement = handover.new_measurement(signed, root, backend.name, backend.measure(), time.time())
    state.hand_over(folder, backend, root, measurement)
    return []


def handed_over(folder: Path, _: bytes, backend: SimulatedBackend, __: list[bytes]) -> list[bytes]:
    """Refuse where `take_over` would."""
    state.handed_over(folder, backend)
    return []


def take_over(folder: Path, _: bytes, backend: SimulatedBackend, __: list[bytes]) -> list[bytes]:
    """Take the root that earlier code left for this; nothing where this code has it."""
    state.take_over(folder, backend)
    return []


def split(folder: Path, ca_pem: bytes, backend: SimulatedBackend, given: list[bytes]) -> list[bytes]:
    """Shares of the root for the holders of a signed order."""
    root = state.open_root(folder, backend, ca_pem)
    shares = escrow.split(SignedEscrowOrder.FromString(_only(given)), root, backend.name, time.time())
    return [share.SerializeToString(deterministic=True) for share in shares]


def recipient(folder: Path, _: bytes, backend: SimulatedBackend, __: list[bytes]) -> list[bytes]:
    """A key drawn for a drill or for restoring, its private half sealed to this code on this platform.

    It ends with the next one, with what is restored by it, and with an upgrade: else the code before could keep shares
    that were released to it for a drill, and restore the root for itself.
    """
    drawn = Identity.of(backend)
    backend.counter(RECIPIENTS)
    (folder / RECIPIENT).touch(mode=0o600)
    (folder / RECIPIENT).write_bytes(backend.seal(drawn.encryption_key.seed, _for_shares(backend)))
    evidence = drawn.attest(recipient_nonce(drawn.encryption_key.public))
    return [evidence.SerializeToString(deterministic=True)]


def drill(folder: Path, ca_pem: bytes, backend: SimulatedBackend, given: list[bytes]) -> list[bytes]:
    """Say whether the shares make the root of this node."""
    root = _recovered(folder, ca_pem, backend, given)
    with _not_running(folder, root):
        rotation.found_version(folder, root)
    return []


def restore(folder: Path, ca_pem: bytes, backend: SimulatedBackend, given: list[bytes]) -> list[bytes]:
    """Make the root that the shares make this platform's, once it opens all that lies in the folder."""
    root = _recovered(folder, ca_pem, backend, given)
    with _not_running(folder, root):
        state.restore(folder, backend, rotation.found_version(folder, root))
        backend.counter(RECIPIENTS)
    return []


Action = Callable[[Path, bytes, SimulatedBackend, list[bytes]], list[bytes]]
ACTIONS: dict[str, Action] = {
    "show": show,
    "rotate": rotate,
    "hand-over": hand_over,
    "handed-over": handed_over,
    "take-over": take_over,
    "split": split,
    "recipient": recipient,
    "drill": drill,
    "restore": restore,
}


def _recovered(folder: Path, ca_pem: bytes, backend: SimulatedBackend, given: list[bytes]) -> Root:
    try:
        key = DEFAULT.key(backend.unseal((folder / RECIPIENT).read_bytes(), _for_shares(backend)))
    except (OSError, SealError) as error:
        raise RootError("this enclave asked nobody for shares: `yingbi escrow request` comes first") from error
    shares = [EscrowShare.FromString(one) for one in given]
    return escrow.recover(shares, key, zone_of(ca_pem), backend.name)


def _for_shares(backend: SimulatedBackend) -> str:
    """The purpose for which a key is sealed, until one of these counters moves."""
    return f"escrow recipient {backend.count(RECIPIENTS)} {backend.count(state.CODE)}"


@contextmanager
def _not_running(folder: Path, root: Root) -> Iterator[None]:
    """Hold the journal, which has to verify under the root, so that the enclave neither runs nor starts."""
    if not (folder / "journal").exists():
        yield
        return
    journal = Journal(folder / "journal", root.derive("journal"))
    try:
        yield
    finally:
        journal.close()


def _only(given: list[bytes]) -> bytes:
    if len(given) != 1:
        raise RootError("one document is to be given")
    return given[0]


def _frames() -> Iterator[bytes]:
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        yield frame


def run(action: str, ca_pem: bytes) -> None:
    """Do one thing to the enclave whose folder this process is in."""
    try:
        backend = SimulatedBackend.load(Path("platform"))
        answers = ACTIONS[action](Path(), ca_pem, backend, list(_frames()))
    except DecodeError:
        sys.exit("what was given is no document of its kind")
    except (RootError, JournalError, FrameError, Problem, OSError) as error:
        sys.exit(str(error))
    for answer in answers:
        write_frame(sys.stdout.buffer, answer)
