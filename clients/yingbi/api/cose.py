"""COSE_Sign1 (RFC 9052, section 4.2) with a certificate chain (RFC 9360), signed with Ed25519.

One form only: tagged, all headers protected, deterministic CBOR (RFC 8949, section 4.2.1), so that no byte of a token
can be changed without breaking its signature or its form, and no two readers can read one token differently.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cbor2

from yingbi.api.evidence_error import DOWNGRADED, MALFORMED, EvidenceError

MAX_BYTES = 16 << 10
MAX_DEPTH = 6
# Labels of header parameters, and the algorithm EdDSA, in IANA's registries.
_ALGORITHM, _CONTENT_TYPE, _X5CHAIN = 1, 3, 33
_EDDSA = -8
_COSE_SIGN1 = 18
CONTENT_TYPE = "application/eat+cwt"


@dataclass(frozen=True)
class Signed:
    """A token taken apart; nothing of it is believed yet."""

    payload: bytes
    # DER: the signer's certificate first.
    certificates: tuple[bytes, ...]
    # What the signature covers, and the signature.
    covered: bytes
    signature: bytes


def encode(value: object) -> bytes:
    """Deterministic CBOR. For maps whose keys are all integers, as ours, cbor2's order is that of RFC 8949."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes) -> Any:
    """Plain CBOR in its deterministic form: maps, arrays, strings, integers, booleans. Raises EvidenceError.

    Bytes that would not be written back the same are refused: longer lengths than needed, keys out of order or twice,
    tags, floats, anything behind the end.
    """
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"it has {len(data)} bytes, and a token has at most {MAX_BYTES}", MALFORMED)
    try:
        value = cbor2.loads(data, max_depth=MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False)
        same = _is_plain(value) and encode(value) == data
    except Exception as error:  # whatever a decoder may say of garbage
        raise EvidenceError("it is not CBOR", MALFORMED) from error
    if not same:
        raise EvidenceError("it is not in the deterministic form of CBOR", MALFORMED)
    return value


def sign(payload: bytes, certificates: Sequence[bytes], signer: Callable[[bytes], bytes]) -> bytes:
    """A token over `payload`; `signer` makes the Ed25519 signature that the first certificate's key verifies."""
    protected = encode({_ALGORITHM: _EDDSA, _CONTENT_TYPE: CONTENT_TYPE, _X5CHAIN: list(certificates)})
    signature = signer(_covered(protected, payload))
    return encode(cbor2.CBORTag(_COSE_SIGN1, [protected, {}, payload, signature]))


def take_apart(token: bytes) -> Signed:
    """The parts of a token; raises EvidenceError where it has another form, or names a weaker algorithm."""
    tag, rest = token[:1], token[1:]
    # Tag 18 is one byte: decoded here, so that `decode` need know no tags.
    if tag != bytes([0xC0 | _COSE_SIGN1]):
        raise EvidenceError("it is no COSE_Sign1", MALFORMED)
    protected, unprotected, payload, signature = _items(decode(rest), bytes, dict, bytes, bytes)
    if unprotected:
        raise EvidenceError("it has headers that are not signed", MALFORMED)
    headers = decode(protected)
    if not isinstance(headers, dict) or set(headers) != {_ALGORITHM, _CONTENT_TYPE, _X5CHAIN}:
        raise EvidenceError("it has other headers than an algorithm, a content type and a certificate chain", MALFORMED)
    if headers[_ALGORITHM] != _EDDSA:
        raise EvidenceError(f"it is signed by algorithm {headers[_ALGORITHM]!r}, and not by EdDSA", DOWNGRADED)
    if headers[_CONTENT_TYPE] != CONTENT_TYPE:
        raise EvidenceError(f"its content is not {CONTENT_TYPE}", MALFORMED)
    chain = headers[_X5CHAIN]
    if not isinstance(chain, list) or not all(isinstance(one, bytes) for one in chain):
        raise EvidenceError("its certificate chain is none", MALFORMED)
    return Signed(payload, tuple(chain), _covered(protected, payload), signature)


def _covered(protected: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052, section 4.4, without external data."""
    return encode(["Signature1", protected, b"", payload])


def _items(value: object, *kinds: type) -> tuple[Any, ...]:
    if not isinstance(value, list) or [type(item) for item in value] != list(kinds):
        raise EvidenceError("it is no COSE_Sign1", MALFORMED)
    return tuple(value)


def _is_plain(value: object) -> bool:
    match value:
        case bool() | int() | bytes() | str():
            return True
        case list():
            return all(map(_is_plain, value))
        case dict():
            return all(type(key) is int and _is_plain(item) for key, item in value.items())
        case _:
            return False
