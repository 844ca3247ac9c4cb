"""`yingbi init`: make a zone's CA, keys, tokens and folders, and hold the key ceremony."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yingbi.api import credentials
from yingbi.api.evidence import DEALER, verify_evidence
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1.attestation_pb2 import Evidence, KeyCeremonyRequest, KeyCeremonyResult

from gateway.governance.callers import Caller, Role, save_callers
from gateway.zone.authority import Authority, certificate_der, certificate_pem, key_pem
from gateway.zone.folder import ROLES, ZoneFolder, write_private

MODULUS_BITS = 3072
MAX_NODES = 50
CEREMONY_SECONDS = 600


def make_zone(path: Path, nodes: int, *, auto_approve: bool, say: Callable[[str], None]) -> ZoneFolder:
    """Make a zone of `nodes` providers in `path`, which is absent or empty; raises Problem."""
    folder = ZoneFolder(path.absolute())
    _check(folder.root, nodes)
    folder.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.root.chmod(0o700)
    names = [f"node-{number}" for number in range(1, nodes + 1)]
    authority = Authority.new("yingbi zone CA")
    attestation_root = authority.subordinate("simulated attestation root")
    say("making certificates, keys and tokens")
    _write_authority(folder, authority, attestation_root)
    tokens = {role: secrets.token_urlsafe(32) for role in ROLES}
    _write_gateway(folder, authority, tokens, auto_approve=auto_approve)
    for name in names:
        _write_node(folder, name, authority, attestation_root, tokens, auto_approve=auto_approve)
    _write_platform(folder.authority / DEALER, DEALER, attestation_root)
    say(f"key ceremony: a dealer's enclave makes a {MODULUS_BITS}-bit key and seals a share to each node")
    measurement = _hold_ceremony(folder, names)
    for role, token in tokens.items():
        _write_profile(folder, role, token, measurement)
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
    (folder.gateway / "gateway.json").write_text(json.dumps({"auto_approve": auto_approve}))


def _write_node(
    folder: ZoneFolder,
    name: str,
    authority: Authority,
    attestation_root: Authority,
    tokens: dict[str, str],
    *,
    auto_approve: bool,
) -> None:
    node = folder.node(name)
    _write_tls(node, name, authority, server=False)
    _write_platform(node / "enclave" / "platform", name, attestation_root)
    policy = {
        "developers": [_public_key(tokens["developer"])],
        "operators": [_public_key(tokens["operator"])],
        "auto_approve": auto_approve,
    }
    write_private(node / "enclave" / "policy.json", json.dumps(policy).encode())


def _write_tls(target: Path, name: str, authority: Authority, *, server: bool) -> None:
    key, certificate = authority.tls_pair(name, server=server)
    write_private(target / "tls.key", key)
    write_private(target / "tls.crt", certificate)
    write_private(target / "ca.crt", certificate_pem(authority.certificate))


def _write_platform(target: Path, name: str, attestation_root: Authority) -> None:
    """The simulated platform of one enclave, as `enclave_sim.attestation.simulated` reads it."""
    key = Ed25519PrivateKey.generate()
    write_private(target / "name", name.encode())
    write_private(target / "secret", secrets.token_bytes(32))
    write_private(target / "key", key.private_bytes_raw())
    write_private(target / "platform.der", certificate_der(attestation_root.certify(name, key)))
    write_private(target / "root.der", certificate_der(attestation_root.certificate))


def _hold_ceremony(folder: ZoneFolder, names: list[str]) -> str:
    """Deal the key; returns the measurement of the zone's enclaves, hexadecimal."""
    dealer_folder = folder.authority / DEALER
    command = [sys.executable, "-m", "enclave_sim.ceremony", str(dealer_folder), str(folder.ca_file)]
    dealer = subprocess.Popen(
        [*command, "--bits", str(MODULUS_BITS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        evidence = [_evidence(folder.node(name)) for name in names]
        request = KeyCeremonyRequest(
            epoch=1, threshold=len(names) // 2 + 1, modulus_bits=MODULUS_BITS, enclaves=evidence
        )
        output, errors = dealer.communicate(_frame(request.SerializeToString()), timeout=CEREMONY_SECONDS)
    finally:
        dealer.kill()
    if dealer.returncode != 0:
        raise Problem(Kind.FAILED, "key_ceremony", f"The key ceremony failed: {_last_line(errors)}")
    result = KeyCeremonyResult.FromString(_unframe(output))
    for share in result.shares:
        target = folder.node(share.node) / "enclave"
        write_private(target / "key_epoch.pb", result.key_epoch.SerializeToString())
        write_private(target / "key_share.pb", share.SerializeToString())
    for file in dealer_folder.iterdir():
        file.unlink()
    dealer_folder.rmdir()
    return verify_evidence(evidence[0], folder.ca_file.read_bytes()).measurement.hex()


def _evidence(node: Path) -> Evidence:
    shown = subprocess.run(
        [sys.executable, "-m", "enclave_sim.show_evidence", str(node / "enclave")],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if shown.returncode != 0:
        raise Problem(Kind.FAILED, "enclave", f"The enclave of {node.name} failed: {_last_line(shown.stderr)}")
    return Evidence.FromString(_unframe(shown.stdout))


def _write_profile(folder: ZoneFolder, role: str, token: str, measurement: str) -> None:
    profile = {
        "address": None,
        "token": token,
        "role": role,
        "name": role,
        "ca_pem": folder.ca_file.read_text(),
        "measurement": measurement,
    }
    write_private(folder.profile(role), json.dumps(profile, indent=1).encode())


def _public_key(token: str) -> str:
    return credentials.signing_key(token).public_key().public_bytes_raw().hex()


def _frame(payload: bytes) -> bytes:
    return len(payload).to_bytes(8, "big") + payload


def _unframe(data: bytes) -> bytes:
    return data[8 : 8 + int.from_bytes(data[:8], "big")]


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
