"""The root of all keys of a node: made once, sealed to the code that runs, never older than the platform's counters.

Signing key, encryption key, journal key and zone key all follow from the root's 32 random bytes, so whoever has them
is the node, and without them its share of the key and its rows are lost. They are on disk only as `Backend.seal` made
it: for one measurement on one platform.

Two counters of the platform say which state is the present one: how often the zone key was renewed, and how often the
root went to other code. A state is accepted where both its versions are equal to them. To change one, the next state
is written beside the present one, the counter is counted up, and the next state takes the present one's name. Killed
before the count, the old state is still the present one, after it the new one; no moment lies between.

Why no older state comes back. Versions only rise, since counters do. Two states of the same versions differ in nothing
that matters: the root never changes, the zone key follows from root and version, and who may sign is copied. Two
counters and not one: a renewal that was written and not counted would otherwise be taken for the state after a change
of code, and bring the old code back.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from yingbi.api.evidence import zone_of
from yingbi.api.v1 import storage_pb2

from enclave_sim.attestation.backend import Backend, SealError
from enclave_sim.authority import Policy
from enclave_sim.durable import sync

FORMAT = 1
ROOT_BYTES = 32
# The platform's counters.
KEYS = "storage-keys"
CODE = "storage-code"
# In the enclave's folder: the present state, the next one on its way, and one for other code.
SEALED = "storage.sealed"
NEXT = "storage.next"
HANDOVER = "storage.handover"
_PURPOSE = "storage root"
_HANDOVER_PURPOSE = "storage root of earlier code"


class RootError(Exception):
    """The root cannot be opened; says why and what to do."""


class RolledBackError(RootError):
    """The state is older than the platform's counters say."""


class OtherCodeError(RootError):
    """The state was sealed by other code, which did not hand it over to this."""


@dataclass(frozen=True)
class Root:
    """A node's root as it is while its enclave runs; 32 bytes each where nothing else is said."""

    secret: bytes = field(repr=False)
    # Which zone it belongs to.
    zone: bytes
    # From 1.
    key_version: int
    # From 0.
    code_version: int
    # Whose signatures an upgrade and an escrow need.
    authorities: frozenset[bytes]

    @property
    def versions(self) -> tuple[int, int]:
        """As the counters must say."""
        return self.key_version, self.code_version

    def derive(self, purpose: str, context: bytes = b"") -> bytes:
        """The 32-byte key for this purpose (HKDF-SHA256, RFC 5869)."""
        info = b"yingbi/v1/root/" + purpose.encode() + b"\0" + context
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self.secret)

    def zone_key(self) -> bytes:
        """What wraps the datasets' keys: another one for each zone and version."""
        return self.derive("zone key", self.zone + self.key_version.to_bytes(4, "big"))


def open_root(folder: Path, backend: Backend, ca_pem: bytes) -> Root:
    """The root of the enclave whose folder this is, made now if the enclave never ran; raises RootError, OSError."""
    now = backend.count(KEYS), backend.count(CODE)
    if now == (0, 0):
        return _found(folder, backend, zone_of(ca_pem))
    root = _present(folder, backend, now)
    if root is None and not (folder / SEALED).exists():
        raise _lost()
    if root is None and _unsealed(folder / HANDOVER, backend, _HANDOVER_PURPOSE):
        raise OtherCodeError("this node was handed over to this code, which has not taken it: `yingbi upgrade finish`")
    if root is None:
        raise _of_other_code()
    if root.zone != zone_of(ca_pem):
        raise RootError("this node's storage root belongs to another zone than its CA's certificate says")
    return root


def handed_over(folder: Path, backend: Backend) -> Root | None:
    """The root that earlier code left for this code; None where this code has the root already. Changes nothing.

    Raises RootError where there is none, or it changed since.
    """
    now = backend.count(KEYS), backend.count(CODE)
    if now != (0, 0) and _present(folder, backend, now):
        return None
    root = _unsealed(folder / HANDOVER, backend, _HANDOVER_PURPOSE)
    if root is None:
        raise _of_other_code()
    if root.versions != now:
        raise RolledBackError(
            "this node's storage changed since it was handed over to this code. Install the version before again and "
            "repeat `yingbi upgrade prepare`"
        )
    return root


def take_over(folder: Path, backend: Backend) -> None:
    """Make the root that was left for this code this code's alone; nothing where it is. Raises as `handed_over`."""
    root = handed_over(folder, backend)
    if root is not None:
        commit(folder, backend, replace(root, code_version=root.code_version + 1), CODE)
    (folder / HANDOVER).unlink(missing_ok=True)


def commit(folder: Path, backend: Backend, root: Root, counter: str) -> None:
    """Make `root` the present state, whose version by this counter is the next; all of it or nothing.

    Raises RootError where the counter was moved meanwhile, OSError.
    """
    _write(folder / NEXT, backend.seal(_encode(root), _PURPOSE))
    value = backend.counter(counter)
    if value != (root.key_version if counter == KEYS else root.code_version):
        raise RootError(f"the platform's counter {counter} was moved by another process")
    (folder / NEXT).rename(folder / SEALED)
    sync(folder)


def hand_over(folder: Path, backend: Backend, root: Root, measurement: bytes) -> None:
    """Leave the root for the code that has this measurement. Whether that may be is `handover`'s question."""
    _write(folder / HANDOVER, backend.seal(_encode(root), _HANDOVER_PURPOSE, measurement))


def restore(folder: Path, backend: Backend, root: Root) -> None:
    """Make `root` the present state on a platform that has none or lost it; its key version stays as it is.

    The platform's counters begin anew, so nothing here tells how old the node's other files are: its peers do
    (`enclave_sim.heads`). Raises RootError, OSError.
    """
    if _unsealed(folder / SEALED, backend, _PURPOSE) or backend.count(KEYS) > root.key_version:
        raise RootError("this platform has this node's storage root, or a later one; nothing was restored")
    while backend.count(KEYS) < root.key_version:
        backend.counter(KEYS)
    (folder / HANDOVER).unlink(missing_ok=True)
    _write(folder / NEXT, backend.seal(_encode(replace(root, code_version=backend.count(CODE))), _PURPOSE))
    (folder / NEXT).rename(folder / SEALED)
    sync(folder)


def _found(folder: Path, backend: Backend, zone: bytes) -> Root:
    if (folder / "key_epoch.pb").exists() or (folder / SEALED).exists():
        raise _lost()
    operators = Policy.from_json((folder / "policy.json").read_text()).operators
    root = Root(secrets.token_bytes(ROOT_BYTES), zone, key_version=1, code_version=0, authorities=operators)
    commit(folder, backend, root, KEYS)
    return root


def _present(folder: Path, backend: Backend, now: tuple[int, int]) -> Root | None:
    """The present state, if this code sealed it; raises RolledBackError where this code sealed an older one only."""
    sealed = _unsealed(folder / SEALED, backend, _PURPOSE)
    following = _unsealed(folder / NEXT, backend, _PURPOSE)
    if following is not None and following.versions == now:
        (folder / NEXT).rename(folder / SEALED)
        sync(folder)
        return following
    if sealed is not None and sealed.versions != now:
        raise RolledBackError(
            f"this node's storage was put back to an earlier state: its versions are {sealed.versions}, and the "
            f"platform counted to {now}. Put back the latest copy of its folder"
        )
    return sealed


def _lost() -> RootError:
    return RootError(
        "this platform has no storage root, though the node was dealt a key. Where an earlier version of Yingbi made "
        f"the zone (before storage format {FORMAT}), make it anew; where the platform was lost, restore the root from "
        "its escrow: `yingbi escrow request`"
    )


def _of_other_code() -> OtherCodeError:
    return OtherCodeError(
        "this node's storage was sealed by other code, which did not hand it over to this. To upgrade, install the "
        "version before again, then `yingbi upgrade approve`, `yingbi upgrade prepare`; then this version, and "
        "`yingbi upgrade finish`"
    )


def _unsealed(path: Path, backend: Backend, purpose: str) -> Root | None:
    """None where there is no such file, or it was sealed by other code, elsewhere, or not to its end."""
    if not path.exists():
        return None
    try:
        said = storage_pb2.StorageRoot.FromString(backend.unseal(path.read_bytes(), purpose))
    except SealError:
        return None
    if said.format != FORMAT:
        raise RootError(f"this node's storage has format {said.format}, and this version reads format {FORMAT} only")
    return Root(said.secret, said.zone, said.key_version, said.code_version, frozenset(said.authorities))


def _encode(root: Root) -> bytes:
    return storage_pb2.StorageRoot(
        format=FORMAT,
        secret=root.secret,
        zone=root.zone,
        key_version=root.key_version,
        code_version=root.code_version,
        authorities=sorted(root.authorities),
    ).SerializeToString(deterministic=True)


def _write(path: Path, content: bytes) -> None:
    """On disk when this returns. Killed within, the file does not unseal, and is as good as not there."""
    path.touch(mode=0o600)
    path.write_bytes(content)
    sync(path)
    sync(path.parent)
