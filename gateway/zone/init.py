"""`yingbi init`: make a zone's CA, keys, tokens and folders, and hold the key ceremony."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import credentials
from yingbi.api.eat import Claims
from yingbi.api.evidence import DEALER, verify_evidence
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import KeyCeremonyRequest

from gateway.governance.callers import Caller, Role, save_callers
from gateway.zone import ceremony, first_operator
from gateway.zone.authority import Authority, certificate_der, certificate_pem, key_pem
from gateway.zone.folder import ROLES, ZoneFolder, write_private

MAX_NODES = 50
ATTESTATION_ROOT = "simulated attestation root"
ANNOUNCED = f"key ceremony: a dealer's enclave makes a {ceremony.MODULUS_BITS}-bit key and seals a share to each node"


def make_zone(path: Path, nodes: int, *, auto_approve: bool, say: Callable[[str], None]) -> ZoneFolder:
    """Make a zone of `nodes` providers in `path`, which is absent or empty; raises Problem."""
    folder = ZoneFolder(path.absolute())
    _check(folder.root, nodes)
    folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.root.chmod(0o700)
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    authority = Authority.new("yingbi zone CA")
    attestation_root = authority.subordinate(ATTESTATION_ROOT)
    say("making certificates, keys and tokens")
    _write_authority(folder, authority, attestation_root)
    tokens = {role: secrets.token_urlsafe(32) for role in ROLES}
    _write_gateway(folder, authority, tokens, auto_approve=auto_approve)
    for name in names:
        write_node(folder, name, authority, attestation_root, tokens, auto_approve=auto_approve)
    dealer = write_dealer(folder, attestation_root)
    say(ANNOUNCED)
    request = cache(lambda: _first_request(folder, names))
    ceremony.write(folder, ceremony.hold(dealer, folder.ca_file, request))
    shown = verify_evidence(request().enclaves[0], folder.ca_file.read_bytes())
    for role, token in tokens.items():
        _write_profile(folder, role, token, shown)
    folder.settings_file.write_text(json.dumps({"nodes": names, "auto_approve": auto_approve}))
    return folder


def make_current(folder: ZoneFolder, role: str) -> None:
    """Make a role's profile the one that commands use when nothing else is said."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "yingbi"
    config.mkdir(parents=True, exist_ok=True)
    (config / "current.json").write_text(json.dumps({"profile": str(folder.profile(role))}))


def _check(root: Path, nodes: int) -> None:
    if not 1 <= nodes <= MAX_NODES:
        raise Problem(Kind.MALFORMED, "nodes", f"A zone here has 1 to {MAX_NODES} nodes, not {nodes}.", field="--nodes")
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise Problem(
            Kind.REFUSED,
            "folder_in_use",
            f"{root} is not empty; nothing was changed.",
            field="DIR",
            hint="name a new folder, or remove this one if its zone is no longer wanted",
        )


def _write_authority(folder: ZoneFolder, authority: Authority, attestation_root: Authority) -> None:
    write_private(folder.authority / "ca.key", key_pem(authority.key))
    write_private(folder.authority / "attestation_root.key", key_pem(attestation_root.key))


def _write_gateway(folder: ZoneFolder, authority: Authority, tokens: dict[str, str], *, auto_approve: bool) -> None:
    _write_tls(folder.gateway, "gateway", authority, server=True)
    callers = [
        Caller(
            name=role,
            role=Role(role),
            bearer_hash=credentials.bearer_hash(credentials.bearer(token)),
            signing_key=_public_key(token),
            organisation=role,
        )
        for role, token in tokens.items()
    ]
    save_callers(folder.gateway / "callers.json", callers)
    made = first_operator.first_agreement(tokens, time.time())
    write_private(folder.gateway / "operating_agreement.pb", made.SerializeToString())
    (folder.gateway / "gateway.json").write_text(json.dumps({"auto_approve": auto_approve}))


def write_node(
    folder: ZoneFolder,
    name: str,
    authority: Authority,
    attestation_root: Authority,
    tokens: dict[str, str],
    *,
    auto_approve: bool,
) -> None:
    """One provider node: its certificate, its enclave's platform, and whose signatures the enclave accepts.

    `tokens` are those of the zone's first accounts, by role.
    """
    node = folder.node(name)
    _write_tls(node, name, authority, server=False)
    write_platform(node / "enclave" / "platform", name, attestation_root)
    policy = {
        "developers": [_public_key(tokens["developer"])],
        "operators": [_public_key(tokens["operator"])],
        "providers": [_public_key(tokens["provider"])],
        "supervisors": [_public_key(tokens["supervisor"])],
        "coordinators": [_public_key(tokens["coordinator"])],
        "auto_approve": auto_approve,
    }
    write_private(node / "enclave" / "policy.json", json.dumps(policy).encode())


def _write_tls(target: Path, name: str, authority: Authority, *, server: bool) -> None:
    key, certificate = authority.tls_pair(name, server=server)
    write_private(target / "tls.key", key)
    write_private(target / "tls.crt", certificate)
    write_private(target / "ca.crt", certificate_pem(authority.certificate))


def write_platform(target: Path, name: str, attestation_root: Authority) -> None:
    """The simulated platform of one enclave, as `enclave_sim.attestation.simulated` reads it."""
    key = Ed25519PrivateKey.generate()
    write_private(target / "name", name.encode())
    write_private(target / "secret", secrets.token_bytes(32))
    write_private(target / "key", key.private_bytes_raw())
    write_private(target / "platform.der", certificate_der(attestation_root.certify(name, key)))
    write_private(target / "root.der", certificate_der(attestation_root.certificate))


def write_dealer(folder: ZoneFolder, attestation_root: Authority) -> Path:
    """The platform of a dealer's enclave, for one ceremony; returns its folder."""
    target = folder.authority / DEALER
    write_platform(target, DEALER, attestation_root)
    return target


def _first_request(folder: ZoneFolder, names: list[str]) -> KeyCeremonyRequest:
    return KeyCeremonyRequest(epoch=1, enclaves=[ceremony.ask(folder.node(name))[0] for name in names])


def _write_profile(folder: ZoneFolder, role: str, token: str, shown: Claims) -> None:
    profile = {
        "address": None,
        "token": token,
        "role": role,
        "name": role,
        "ca_pem": folder.ca_file.read_text(),
        "measurement": shown.measurement.hex(),
        "policy": shown.policy.hex(),
        # Whoever makes a zone here knows that its enclaves are simulated.
        "allow_simulation": True,
    }
    write_private(folder.profile(role), json.dumps(profile, indent=1).encode())


def _public_key(token: str) -> str:
    return credentials.signing_key(token).public_key().public_bytes_raw().hex()
