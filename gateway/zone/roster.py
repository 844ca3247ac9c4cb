"""`yingbi node add`, `remove`, `rekey`: a new key epoch for the nodes that are to hold it from now on.

All or nothing: see `gateway.zone.swap`. The new key has new primes, and every node a new share of it. What was
spent goes along: see `enclave_sim.standing`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from yingbi.api.evidence import EvidenceError, verify_evidence
from yingbi.api.problem import Kind, Problem, nearest
from yingbi.api.v1.attestation_pb2 import Evidence, KeyCeremonyRequest, KeyEpoch
from yingbi.api.v1.standing_pb2 import Standing

from gateway.zone import ceremony, processes, swap
from gateway.zone.authority import Authority
from gateway.zone.folder import ROLES, ZoneFolder
from gateway.zone.init import ANNOUNCED, MAX_NODES, write_dealer, write_node
from gateway.zone.lock import only_one
from gateway.zone.standings import merged

Say = Callable[[str], None]


def add_node(folder: ZoneFolder, say: Say) -> str:
    """Make a provider node and deal a new key to all; returns its name. Raises Problem, nothing then being changed."""
    with _alone(folder, say):
        names, named = folder.node_names, folder.named
        if len(names) == MAX_NODES:
            raise Problem(Kind.REFUSED, "nodes", f"A zone here has 1 to {MAX_NODES} nodes, and this has as many.")
        new = f"node-{named + 1}"
        _change(folder, [*names, new], new, say)
        return new


def remove_node(folder: ZoneFolder, name: str, say: Say) -> None:
    """Deal a new key to all nodes but `name`, whose folder stays as it is; raises Problem."""
    check_removable(folder, name)
    with _alone(folder, say):
        check_removable(folder, name)
        _change(folder, [one for one in folder.node_names if one != name], None, say)


def rekey(folder: ZoneFolder, say: Say) -> None:
    """Deal a new key to the same nodes; raises Problem."""
    with _alone(folder, say):
        _change(folder, folder.node_names, None, say)


def check_removable(folder: ZoneFolder, name: str) -> None:
    """Raise Problem unless the zone has this node and another."""
    names = folder.node_names
    if name not in names:
        near = nearest(name, names)
        raise Problem(
            Kind.MALFORMED,
            "no_node",
            f"The zone has no node {name!r}; it has {', '.join(names)}.",
            field="NAME",
            hint=f"did you mean {near}?" if near else None,
        )
    if len(names) == 1:
        raise Problem(
            Kind.REFUSED, "last_node", f"{name} is the zone's only node.", field="NAME", hint="add another one first"
        )


@contextmanager
def _alone(folder: ZoneFolder, say: Say) -> Iterator[None]:
    """Nothing of the zone runs or starts meanwhile, and an earlier change is complete or gone."""
    with only_one(folder, "up"):
        if processes.status(folder).processes:
            raise Problem(
                Kind.REFUSED,
                "already_up",
                f"The zone in {folder.root} is running, and its nodes hold the present key.",
                hint=f"yingbi down {folder.root}",
            )
        processes.finish_change(folder, say)
        yield


def _change(folder: ZoneFolder, names: list[str], new: str | None, say: Say) -> None:
    """Prepare the files of a key epoch for `names`, of which `new` is made, and put them in place together."""
    authority, attestation_root = _authorities(folder)
    staged = swap.prepare(folder)
    if new is not None:
        settings = json.loads(folder.settings_file.read_text())
        write_node(staged, new, authority, attestation_root, _tokens(folder), auto_approve=settings["auto_approve"])
    dealer = write_dealer(staged, attestation_root)
    say(ANNOUNCED)
    request = cache(lambda: _request(folder, staged, names, new))
    result = ceremony.hold(dealer, folder.ca_file, request)
    staged.authority.rmdir()
    ceremony.write(staged, result, request().standing)
    _write_settings(folder, staged, names, new)
    swap.decide(folder)
    swap.finish(folder)


def _request(folder: ZoneFolder, staged: ZoneFolder, names: list[str], new: str | None) -> KeyCeremonyRequest:
    """What the dealer needs: the present epoch, who is to hold the next, and what is spent."""
    present = ceremony.present(folder)
    enclaves, standings = zip(
        *(ceremony.ask((staged if name == new else folder).node(name)) for name in names), strict=True
    )
    _check_code(folder, enclaves)
    staying = next(name for name in names if name != new)
    previous = folder.node(staying) / "enclave" / "standing.pb"
    before = previous.read_bytes() if previous.exists() else b""
    # The earlier standing too: a node that joined in an epoch that never ran has not written it down yet.
    spent = merged([Standing.FromString(before), *standings], secrets.token_bytes(16))
    return KeyCeremonyRequest(
        epoch=KeyEpoch.FromString(present.body).epoch + 1,
        enclaves=enclaves,
        previous=present,
        previous_standing=before,
        standing=spent.SerializeToString(deterministic=True),
    )


def _check_code(folder: ZoneFolder, enclaves: Sequence[Evidence]) -> None:
    """The reference value in the profiles is that of all epochs: a new one would disown the receipts of the earlier."""
    known = json.loads(folder.profile(ROLES[0]).read_text())["measurement"]
    try:
        measured = {verify_evidence(one, folder.ca_file.read_bytes()).measurement.hex() for one in enclaves}
    except EvidenceError as error:
        raise Problem(Kind.FAILED, "enclave", f"An enclave's evidence does not verify: {error}.") from error
    if measured != {known}:
        raise Problem(
            Kind.REFUSED,
            "other_code",
            "The enclaves run other code than the zone was made with.",
            hint="use the version of Yingbi that made the zone, or make a zone anew",
        )


def _write_settings(folder: ZoneFolder, staged: ZoneFolder, names: list[str], new: str | None) -> None:
    settings = json.loads(folder.settings_file.read_text())
    changed = {"nodes": names, "named": folder.named + (new is not None)}
    staged.settings_file.write_text(json.dumps({**settings, **changed}))


def _tokens(folder: ZoneFolder) -> dict[str, str]:
    return {role: json.loads(folder.profile(role).read_text())["token"] for role in ROLES}


def _authorities(folder: ZoneFolder) -> tuple[Authority, Authority]:
    """The zone's CA and the attestation root below it, from their keys and certificates."""
    ca_key = load_pem_private_key((folder.authority / "ca.key").read_bytes(), None)
    root_key = load_pem_private_key((folder.authority / "attestation_root.key").read_bytes(), None)
    assert isinstance(ca_key, EllipticCurvePrivateKey)
    assert isinstance(root_key, Ed25519PrivateKey)
    root = folder.node(folder.node_names[0]) / "enclave" / "platform" / "root.der"
    return (
        Authority(ca_key, x509.load_pem_x509_certificate(folder.ca_file.read_bytes())),
        Authority(root_key, x509.load_der_x509_certificate(root.read_bytes())),
    )
