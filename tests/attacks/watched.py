"""A zone that the real commands make and run, from primes that the tests know, and that is looked into."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gmpy2
from yingbi.api.v1.attestation_pb2 import SealedKeyShare

from enclave_sim.identity import Identity
from enclave_sim.key_share import unseal_share
from enclave_sim.paillier.keys import KeyShare
from gateway.zone import ceremony
from gateway.zone.folder import ZoneFolder
from tests.attacks.dumps import Needles, WatchedZone, named
from tests.primes import P3072, Q3072

N = P3072 * Q3072
PHI = (P3072 - 1) * (Q3072 - 1)
KEY = {
    "p": P3072,
    "q": Q3072,
    "(p - 1) / 2": P3072 // 2,
    "(q - 1) / 2": Q3072 // 2,
    "phi": PHI,
    "lambda": PHI // 2,
    "m": PHI // 4,
    "1 / n mod m": int(gmpy2.invert(N, PHI // 4)),
    "1 / n mod phi": int(gmpy2.invert(N, PHI)),
}
"""Each of these alone opens every ciphertext, with what is public."""

PUBLIC = {"n": N}
DELTA = 6
"""Of three parties: what an opening raises to is a share times 2 DELTA."""


@dataclass(frozen=True)
class Watched:
    """The running zone, and what was in the dealer's and in `init`'s memory when it was made."""

    zone: WatchedZone
    in_dealer: set[str]
    in_init: set[str]

    def processes(self) -> dict[str, int]:
        """Gateway, console, nodes and enclaves."""
        shown = self.zone.fetch("status", self.zone.root)
        return {f"{one['role']} {one['name']}": one["pid"] for one in shown["processes"]}

    def enclaves(self) -> dict[str, int]:
        """The enclaves alone."""
        return {name: pid for name, pid in self.processes().items() if name.startswith("enclave")}

    def found(self, needles: Needles) -> dict[str, set[str]]:
        """What is found in each process and in the zone's files."""
        found = {name: needles.found_in_process(pid) for name, pid in self.processes().items()}
        assert len(found) == 8
        return {**found, "files": needles.found_in_files(self.zone.root)}

    def shares(self) -> dict[bytes, str]:
        """Every enclave's share of the key as a needle; a test may look into every enclave's platform."""
        return _shares(self.zone)


@contextmanager
def watched_zone(base: Path) -> Iterator[Watched]:
    """A running zone of three nodes below `base`."""
    # It has a way of its own to the primes: in an environment they would be in every process.
    zone = WatchedZone(base / "zone", base / "config", primes=None)
    zone.watch.mkdir()
    (zone.watch / "primes").write_text(json.dumps([P3072, Q3072]))
    key = {**named(KEY), **named(PUBLIC)}
    try:
        with zone.stopping("made") as at_its_end:
            with zone.stopping("dealt") as before_it_answers:
                init = zone.begin("init", zone.root, "--auto-approve")
                in_dealer = Needles(key).found_in_process(*before_it_answers(1))
            (pid,) = at_its_end(1)
            in_init = Needles({**key, **_shares(zone)}).found_in_process(pid)
        output = init.communicate(timeout=60)
        assert init.returncode == 0, output
        zone.up()
        yield Watched(zone, in_dealer, in_init)
    finally:
        zone.down()


def _shares(zone: WatchedZone) -> dict[bytes, str]:
    folder = ZoneFolder(zone.root)
    shares = {name: _share(folder, name) for name in folder.node_names}
    return {
        **named({f"the share of enclave {name}": share.value for name, share in shares.items()}),
        **named({f"the share of enclave {name}": 2 * DELTA * share.value for name, share in shares.items()}),
    }


def _share(folder: ZoneFolder, name: str) -> KeyShare:
    enclave = folder.node(name) / "enclave"
    sealed = SealedKeyShare.FromString((enclave / "key_share.pb").read_bytes())
    identity, _ = Identity.kept(enclave, folder.ca_file.read_bytes())
    return unseal_share(identity, sealed.ciphertext, ceremony.present(folder).body)
