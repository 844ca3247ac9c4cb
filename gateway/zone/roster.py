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
from gateway.zone.folder import ROLES, ZoneFolder, write_private
from gateway.zone.init import ANNOUNCED, ATTESTATION_ROOT, MAX_NODES, write_dealer, write_node
from gateway.zone.lock import only_one
from gateway.zone.standings import merged

Say = Callable[[str], None]


def add_node(folder: ZoneFolder, say: Say) -> str:
    """Make a provider node and deal a new key to all; returns its name. Raises Problem, nothing then being changed."""
    with alone(folder, say):
        names, named = folder.node_names, folder.named
        if len(names) == MAX_NODES:
            raise Problem(Kind.REFUSED, "nodes", f"A zone here has 1 to {MAX_NODES} nodes, and this has as many.")
        new = f"node-{named + 1}"
        _change(folder, [*names, new], new, say)
        return new


def remove_node(folder: ZoneFolder, name: str, say: Say) -> None:
    """Deal a new key to all nodes but `name`, whose folder stays as it is; raises Problem."""
    check_removable(folder, name)
    with alone(folder, say):
        check_removable(folder, name)
        _change(folder, [one for one in folder.node_names if one != name], None, say)


def rekey(folder: ZoneFolder, say: Say) -> None:
    """Deal a new key to the same nodes; raises Problem."""
    with alone(folder, say):
        _change(folder, folder.node_names, None, say)


def rekey_upgraded(folder: ZoneFolder, measurement: str, say: Say) -> None:
    """As `rekey`, for nodes that run other code than before: its measurement becomes the profiles' reference value.

    The values before stay in the profiles, for the receipts of their time. Raises Problem.
    """
    with alone(folder, say):
        _change(folder, folder.node_names, None, say, measurement)


def check_removable(folder: ZoneFolder, name: str) -> None:
    """Raise Problem unless the zone has this node and another."""
    check_node(folder, name)
    if len(folder.node_names) == 1:
        raise Problem(
            Kind.REFUSED, "last_node", f"{name} is the zone's only node.", field="NAME", hint="add another one first"
        )


def check_node(folder: ZoneFolder, name: str) -> None:
    """Raise Problem unless the zone has this node."""
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


@contextmanager
def alone(folder: ZoneFolder, say: Say) -> Iterator[None]:
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


def _change(folder: ZoneFolder, names: list[str], new: str | None, say: Say, upgraded: str | None = None) -> None:
    """Prepare the files of a key epoch for `names`, of which `new` is made, and put them in place together."""
    authority, attestation_root = authorities(folder)
    staged = swap.prepare(folder)
    if new is not None:
        settings = json.loads(folder.settings_file.read_text())
        write_node(staged, new, authority, attestation_root, _tokens(folder), auto_approve=settings["auto_approve"])
    dealer = write_dealer(staged, attestation_root)
    say(ANNOUNCED)
    request = cache(lambda: _request(folder, staged, names, new, upgraded))
    result = ceremony.hold(dealer, folder.ca_file, request)
    staged.authority.rmdir()
    ceremony.write(staged, result, request().standing)
    _write_settings(folder, staged, names, new)
    if upgraded is not None:
        _write_profiles(folder, staged, upgraded)
    swap.decide(folder)
    swap.finish(folder)


def _request(
    folder: ZoneFolder, staged: ZoneFolder, names: list[str], new: str | None, upgraded: str | None
) -> KeyCeremonyRequest:
    """What the dealer needs: the present epoch, who is to hold the next, and what is spent."""
    present = ceremony.present(folder)
    enclaves, standings = zip(
        *(ceremony.ask((staged if name == new else folder).node(name)) for name in names), strict=True
    )
    _check_code(folder, enclaves, upgraded or reference_of(folder))
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


def reference_of(folder: ZoneFolder) -> str:
    """What the zone's enclaves are to measure according to its profiles, in hexadecimal."""
    return str(json.loads(folder.profile(ROLES[0]).read_text())["measurement"])


def _check_code(folder: ZoneFolder, enclaves: Sequence[Evidence], wanted: str) -> None:
    """A key is dealt to code that the profiles know, and not silently to another."""
    try:
        measured = {verify_evidence(one, folder.ca_file.read_bytes()).measurement.hex() for one in enclaves}
    except EvidenceError as error:
        raise Problem(Kind.FAILED, "enclave", f"An enclave's evidence does not verify: {error}.") from error
    if measured != {wanted}:
        raise Problem(
            Kind.REFUSED,
            "other_code",
            "The enclaves run other code than the zone was made with.",
            hint="use the version of Yingbi that made the zone, or upgrade: `yingbi upgrade --help`",
        )


def _write_settings(folder: ZoneFolder, staged: ZoneFolder, names: list[str], new: str | None) -> None:
    settings = json.loads(folder.settings_file.read_text())
    changed = {"nodes": names, "named": folder.named + (new is not None)}
    staged.settings_file.write_text(json.dumps({**settings, **changed}))


def _write_profiles(folder: ZoneFolder, staged: ZoneFolder, measurement: str) -> None:
    for role in folder.profiles:
        profile = json.loads(folder.profile(role).read_text())
        known = [*profile.get("earlier_measurements", []), profile["measurement"]]
        changed = {"measurement": measurement, "earlier_measurements": known}
        write_private(staged.profile(role), json.dumps({**profile, **changed}, indent=1).encode())


def _tokens(folder: ZoneFolder) -> dict[str, str]:
    return {role: json.loads(folder.profile(role).read_text())["token"] for role in ROLES}


def authorities(folder: ZoneFolder) -> tuple[Authority, Authority]:
    """The zone's CA and the attestation root below it, from their keys and certificates."""
    ca_key = load_pem_private_key((folder.authority / "ca.key").read_bytes(), None)
    root_key = load_pem_private_key((folder.authority / "attestation_root.key").read_bytes(), None)
    assert isinstance(ca_key, EllipticCurvePrivateKey)
    assert isinstance(root_key, Ed25519PrivateKey)
    authority = Authority(ca_key, x509.load_pem_x509_certificate(folder.ca_file.read_bytes()))
    # Any node's: one may have lost its platform. Where all have, the same key is certified again.
    found = next((folder.root / "nodes").glob("*/enclave/platform/root.der"), None)
    if found is None:
        return authority, authority.subordinate(ATTESTATION_ROOT, root_key)
    return authority, Authority(root_key, x509.load_der_x509_certificate(found.read_bytes()))
