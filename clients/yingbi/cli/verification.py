"""The commands about verification: asking, and what issuers of consents do."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli.asking import check_writable
from yingbi.cli.options import DatasetName
from yingbi.cli.session import session_of, trust_of

Subject = Annotated[str, typer.Option(metavar="ID", help="The subject's identifier, as the provider's data has it.")]
ClaimOption = Annotated[
    list[str], typer.Option("--claim", metavar="FIELD=VALUE", help="Once for each field; all are to be so.")
]
Purpose = Annotated[str, typer.Option(metavar="P", help="What it is for: one of the dataset's purposes.")]


def register(app: typer.Typer, consent: typer.Typer, receipt: typer.Typer) -> None:
    """Add the commands."""
    app.command()(verify)
    consent.command()(key)
    consent.command()(ask)
    consent.command()(sign)
    app.add_typer(consent, name="consent")
    receipt.command()(verdict)


def verify(
    context: typer.Context,
    name: DatasetName,
    subject: Subject,
    claim: ClaimOption,
    purpose: Purpose,
    consent: Annotated[Path, typer.Option(metavar="FILE", help="The consent's token, from its issuer.")],
    save_receipt: Annotated[
        Path | None, typer.Option("--save-receipt", metavar="F", help="Write the signed verdict to this file.")
    ] = None,
) -> None:
    """Ask whether what is claimed about one consenting subject is so: match or no match."""
    session = session_of(context)
    claims, token = _claims(claim), _read(consent)
    # Before the consent is used up.
    check_writable(save_receipt, None)
    with session.zone() as zone:
        answered = zone.dataset(name).verify(subject, claims, purpose, token)
    if save_receipt is not None:
        answered.receipt.save(save_receipt)
    session.terminal.show(answered.to_json(), f"{answered}. Uses: {answered.uses}, together {answered.owed}.")


def key(
    context: typer.Context,
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write.", show_default=False)],
) -> None:
    """Make an issuer's key pair: FILE, which the issuer keeps, and the public key, for the dataset's metadata."""
    from yingbi.consents import IssuerKey

    made = IssuerKey.new()
    made.save(target)
    public = made.public.hex()
    said = f"Keep {target}. The provider approves you in the dataset's metadata, as this key:\n{public}"
    session_of(context).terminal.show({"key": str(target), "public_key": public}, said)


def ask(
    context: typer.Context,
    name: DatasetName,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The provider to be asked.", show_default=False)],
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write.", show_default=False)],
) -> None:
    """Write what an issuer has to know to sign a consent for you: your key, and the provider's enclave's."""
    session = session_of(context)
    with session.zone() as zone:
        asked = zone.dataset(name).consent_request(node)
    target.write_text(json.dumps(asked.to_json(), indent=1) + "\n")
    session.terminal.show(asked.to_json(), f"Give {target} to the issuer; there is no secret in it.")


def sign(
    context: typer.Context,
    request: Annotated[Path, typer.Argument(metavar="REQUEST", help="Of the developer who asks.", show_default=False)],
    issuer: Annotated[Path, typer.Option("--key", metavar="FILE", help="Your key.", show_default=False)],
    subject: Subject,
    claim: ClaimOption,
    purpose: Purpose,
    target: Annotated[Path, typer.Option("--to", metavar="FILE", help="The file to write.", show_default=False)],
    minutes: Annotated[int, typer.Option(metavar="M", help="For how long it is valid, at most a day.")] = 15,
) -> None:
    """Sign that one subject consents to one use: these values, for this purpose, of this developer."""
    from yingbi.consents import Ask, IssuerKey, sign_consent

    token = sign_consent(
        IssuerKey.load(issuer),
        Ask.load(request),
        subject=subject,
        claims=_claims(claim),
        purpose=purpose,
        now=time.time(),
        seconds=60 * minutes,
    )
    target.touch(mode=0o600)
    target.write_text(token + "\n")
    said = f"{target} is good for one answer within {minutes} minutes; give it to the developer."
    session_of(context).terminal.show({"consent": token}, said)


def verdict(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Of yingbi verify.", show_default=False)],
    consent: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also check that it answers this consent.")
    ] = None,
) -> None:
    """Check a verdict's signature against the zone's roster, offline."""
    from yingbi.api.v1.verification_pb2 import VerificationUse
    from yingbi.verification import VerdictReceipt, Verification

    session = session_of(context)
    receipt = VerdictReceipt.load(file)
    receipt.verify(trust_of(session.common).ca_pem)
    if consent is not None and not receipt.is_about(_read(consent)):
        raise Problem(Kind.BAD_EVIDENCE, "verdict", f"{file} is the answer to another consent.", field="consent")
    said = Verification.of(receipt, VerificationUse())
    document = {key: value for key, value in said.to_json().items() if key not in ("uses", "owed")}
    session.terminal.show({"verified": True, **document}, f"{said}, signed by the enclave of {said.node}.")


def _claims(options: list[str]) -> dict[str, str]:
    """From FIELD=VALUE to values by field; raises Problem."""
    found: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name or name in found:
            said = f"{option!r} is no claim, or its field is claimed twice."
            raise Problem(
                Kind.MALFORMED, "claims", said, field="claim", hint="write --claim FIELD=VALUE for each field"
            )
        found[name] = value
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        said = f"Cannot read {str(path)!r}."
        raise Problem(Kind.MALFORMED, "file", said, field="consent", hint="name the file of the token") from error
