"""Profiles: which zone to talk to, as whom, and which CA to trust. Files on disk, no network."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from yingbi.api.problem import Kind, Problem
from yingbi.api.suites import ACCEPTED
from yingbi.trust import Trust

Role = Literal["developer", "operator", "provider", "supervisor", "coordinator", "auditor"]
ZONE_VARIABLE = "YINGBI_ZONE"


@dataclass(frozen=True)
class Profile:
    """One role at one zone. `address` is None while the zone has never been up."""

    address: str | None
    token: str
    ca_pem: str
    role: str = "developer"
    name: str = ""
    measurement: str | None = None
    policy: str | None = None
    allow_simulation: bool = False
    # Before the zone's upgrades.
    earlier_measurements: tuple[str, ...] = ()
    path: Path | None = None
    suites: frozenset[str] = ACCEPTED
    # Where the zone's console is, once it is known: "http://localhost:8080".
    console: str | None = None

    def __repr__(self) -> str:
        return f"Profile(address={self.address!r}, role={self.role!r}, name={self.name!r})"

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read a profile file."""
        document = _read(path)
        ca_pem, token = _text(document, "ca_pem", path), _text(document, "token", path)
        if not token or not ca_pem:
            raise _broken(path, f"it has no {'ca_pem' if token else 'token'}")
        return cls(
            _text(document, "address", path) or None,
            token,
            ca_pem,
            _text(document, "role", path) or "developer",
            _text(document, "name", path),
            _text(document, "measurement", path) or None,
            _text(document, "policy", path) or None,
            document.get("allow_simulation") is True,
            _texts(document, "earlier_measurements", path),
            path,
            _suites(document, path),
            _text(document, "console", path) or None,
        )

    @property
    def folder(self) -> Path | None:
        """The zone's folder, where the profile comes from one."""
        return self.path.parent.parent if self.path and self.path.parent.name == "profiles" else None

    @property
    def trust(self) -> Trust:
        return Trust(
            self.ca_pem,
            self.measurement,
            self.policy,
            self.allow_simulation,
            earlier=self.earlier_measurements,
            suites=self.suites,
        )

    def up_hint(self) -> str:
        """What to do when the gateway does not answer."""
        return f"yingbi up {self.folder or 'DIR'}"

    def reachable_at(self) -> str:
        """The address, or the Problem that there is none yet."""
        if self.address is None:
            raise Problem(
                Kind.UNAVAILABLE,
                "gateway_unavailable",
                "The zone has no address yet: it was never up.",
                hint=self.up_hint(),
            )
        return self.address


def locate(
    address: str | None = None,
    token: str | None = None,
    ca: str | Path | None = None,
    *,
    folder: str | Path | None = None,
    role: str = "developer",
) -> Profile:
    """The profile to use: what is given, then `folder`, then $YINGBI_ZONE, then the current profile.

    Args:
        ca: a PEM file. It asks for `token` too: a stored token is never sent to a zone of another CA.
        role: whose profile to take from a zone's folder, or from beside the current profile: one of the zone's first
            accounts, or anybody who joined here, by name.
    """
    if ca is not None:
        ca_pem = read_ca(ca)
        if token is None:
            raise Problem(
                Kind.MALFORMED,
                "usage",
                "A CA of your own needs a token of your own: the stored one belongs to another zone.",
                field="token",
            )
        if address is not None:
            return Profile(address, token, ca_pem, role)
        stored = _stored(folder, role)
        # What the stored one knows of its zone's enclaves is of another zone.
        return Profile(stored.address, token, ca_pem, stored.role, stored.name, path=stored.path)
    profile = _stored(folder, role)
    return replace(profile, address=address or profile.address, token=token or profile.token)


def read_ca(path: str | Path) -> str:
    """The CA in a PEM file."""
    return _read_text(Path(path), "ca")


def current_file() -> Path:
    """The file that names the current profile."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "yingbi" / "current.json"


def write(path: Path, profile: Profile) -> None:
    """Write a profile that only its owner may read, in place of one that is there; raises Problem."""
    document = {
        "address": profile.address,
        "token": profile.token,
        "role": profile.role,
        "name": profile.name,
        "ca_pem": profile.ca_pem,
        "measurement": profile.measurement,
        "policy": profile.policy,
        "allow_simulation": profile.allow_simulation,
        "earlier_measurements": list(profile.earlier_measurements),
        "console": profile.console,
        **({} if profile.suites == ACCEPTED else {"suites": sorted(profile.suites)}),
    }
    temporary = path.with_suffix(".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)
        temporary.touch(mode=0o600, exist_ok=False)
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        why = error.strerror or "it cannot be written"
        raise Problem(Kind.MALFORMED, "file", f"Cannot write {str(path)!r}: {why}.", field="out") from error


def _stored(folder: str | Path | None, role: str) -> Profile:
    folder = folder or os.environ.get(ZONE_VARIABLE)
    if folder:
        return _named(Path(folder).expanduser() / "profiles" / f"{role}.json")
    pointer = current_file()
    if not pointer.exists():
        raise Problem(
            Kind.MALFORMED,
            "no_profile",
            "No zone is chosen: there is no current profile.",
            hint="yingbi init DIR, or set YINGBI_ZONE=DIR, or give --zone, --token and --ca",
        )
    named = _read(pointer).get("profile")
    if not isinstance(named, str):
        raise _broken(pointer, "it names no profile")
    path = Path(named)
    return _named(path if role == "developer" else path.with_name(f"{role}.json"))


def _named(path: Path) -> Profile:
    if not path.exists() and path.parent.is_dir():
        there = sorted(other.stem for other in path.parent.glob("*.json"))
        raise Problem(
            Kind.MALFORMED,
            "no_profile",
            f"There is no profile {path.stem!r} in {str(path.parent)!r}.",
            field="profile",
            hint=f"there are: {', '.join(there)}" if there else "yingbi init DIR",
        )
    return Profile.load(path)


def _read(path: Path) -> dict[str, object]:
    try:
        document = json.loads(_read_text(path, "profile"))
    except ValueError as error:
        raise _broken(path, "it is not JSON") from error
    if not isinstance(document, dict):
        raise _broken(path, "it is no JSON object")
    return document


def _text(document: dict[str, object], name: str, path: Path) -> str:
    value = document.get(name) or ""
    if not isinstance(value, str):
        raise _broken(path, f"its {name} is no text")
    return value


def _texts(document: dict[str, object], name: str, path: Path) -> tuple[str, ...]:
    values = document.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _broken(path, f"its {name} are no texts")
    return tuple(values)


def _suites(document: dict[str, object], path: Path) -> frozenset[str]:
    """The cipher suites that a profile lists; without a list, those of enclaves that start now."""
    named = document.get("suites")
    if named is None:
        return ACCEPTED
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise _broken(path, "its suites are no list of names")
    return frozenset(named)


def _read_text(path: Path, field: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise Problem(
            Kind.MALFORMED,
            "no_profile" if field == "profile" else "file",
            f"Cannot read {str(path)!r}: {reason}.",
            field=field,
            hint="yingbi init DIR" if field == "profile" else None,
        ) from error


def _broken(path: Path, why: str) -> Problem:
    return Problem(
        Kind.MALFORMED,
        "profile",
        f"The profile {str(path)!r} cannot be used: {why}.",
        field="profile",
        hint="yingbi init DIR",
    )
