"""Who is filed for a zone: organisations, their people, and one's own tokens."""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from yingbi.api import certificates, credentials
from yingbi.api.problem import Kind, Problem
from yingbi.api.v1 import people_pb2 as messages
from yingbi.api.v1.stop_pb2 import StopScope
from yingbi.profile import Profile
from yingbi.stops import signed_stop
from yingbi.transport import Gateway

DAY = 86_400
LINK_MINUTES = 10
SIGNING_SCOPES = frozenset({"ask", "decide", "administer"})
"""Scopes of tokens that sign something: others are made without a key."""


@dataclass(frozen=True)
class Invited:
    """A person who is invited, and what they need to join."""

    person: messages.Person
    # What `join` takes. Whoever has it can join in the person's place: for them alone.
    secret: str
    # The console's page to join on; None where its address is not known.
    link: str | None
    expires: Timestamp


@dataclass(frozen=True)
class People:
    """Who is filed for a zone, as one of its callers may see and change it. All raise Problem."""

    gateway: Gateway

    def me(self) -> messages.Me:
        """Who is calling, and what the token may do."""
        return self.gateway.who_am_i()

    def organisations(self) -> list[messages.Organisation]:
        """All that ever were filed."""
        return list(self.gateway.list_organisations().organisations)

    def file_organisation(
        self, name: str, kind: str, *, person: str = "", title: str = "", real_name: str = ""
    ) -> tuple[messages.Organisation, Profile]:
        """File an organisation, as the coordinator.

        Args:
            person: its first account, which has all duties of such an organisation; by default called as it is.

        Returns:
            The organisation, and the profile of its first account: it holds the organisation's key. Hand it over, and
            keep none.
        """
        token = secrets.token_urlsafe(32)
        request = messages.FileOrganisationRequest(
            organisation=name,
            kind=kind,
            title=title,
            key=_public(credentials.signing_key(token)),
            person=person or name,
            real_name=real_name,
            bearer_hash=_hash(token),
        )
        filed = self.gateway.file_organisation(request)
        return filed, replace(self.gateway.profile, token=token, role=kind, name=person or name, path=None)

    def remove_organisation(self, name: str, reason: str) -> messages.Organisation:
        """Remove an organisation with all its people, as the coordinator: at once, and for good.

        Where it is a developers', enclaves are told by a signed stop to do nothing more of what it asks.
        """
        asked = messages.RemoveOrganisationRequest(organisation=name, reason=reason)
        for each in self.gateway.list_organisations().organisations:
            if each.organisation == name and each.kind == "developer":
                scope = StopScope.STOP_SCOPE_ORGANISATION
                asked.signed_stop = signed_stop(self.gateway, scope, name, reason, each.key).SerializeToString()
        return self.gateway.remove_organisation(asked)

    def list_people(self, organisation: str = "") -> list[messages.Person]:
        """An organisation's people, also those who left; by default all whom the caller may see."""
        return [*self.gateway.list_people(organisation).people]

    def invite(
        self,
        person: str,
        duties: Iterable[str],
        *,
        real_name: str = "",
        days: float = certificates.ACCEPT_DAYS,
        certificate_days: float = certificates.CERTIFICATE_DAYS,
        key: Ed25519PrivateKey | None = None,
    ) -> Invited:
        """Invite a person to the caller's organisation, as its administrator.

        Args:
            days: for how long the invitation can be accepted.
            certificate_days: for how long what the person signs counts.
            key: the organisation's; by default the caller's own, which it is for an organisation's first account.

        Raises:
            Problem: REFUSED "organisation_key" where the key is not the organisation's.
        """
        organisation = self.me().organisation
        key = key or credentials.signing_key(self.gateway.profile.token)
        if _public(key) != organisation.key:
            raise Problem(
                Kind.REFUSED,
                "organisation_key",
                f"An invitation is signed with the key of {organisation.organisation}, and this is another.",
                hint="its first account's profile holds it: --key-of PROFILE",
            )
        now = time.time()
        signed, secret = certificates.invite(
            key,
            organisation=organisation.organisation,
            person=person,
            duties=duties,
            now=now,
            expires=now + days * DAY,
            certificate_expires=now + certificate_days * DAY,
        )
        filed = self.gateway.invite_person(messages.InvitePersonRequest(invitation=signed, real_name=real_name))
        text = _written(signed, secret)
        console = self.gateway.profile.console
        link = f"{console.rstrip('/')}/join#{text}" if console else None
        return Invited(filed, text, link, messages.Invitation.FromString(signed.body).expires)

    def remove(self, person: str, reason: str) -> messages.Person:
        """Remove a person of the caller's organisation, as its administrator: at once, and for good."""
        return self.gateway.remove_person(person, reason)

    def tokens(self) -> list[messages.Token]:
        """The caller's own."""
        return [*self.gateway.list_tokens().tokens]

    def create_token(
        self, label: str = "", *, scopes: Iterable[str] = (), days: float | None = None
    ) -> tuple[messages.Token, str]:
        """A further token of the caller, and its text, which nobody can show again.

        It signs with the caller's key, unless it is for reading alone.

        Args:
            scopes: of "read", "ask", "decide" and "administer"; by default all that the caller may.
            days: for how long; by default as long as the person is there.
        """
        named = set(scopes)
        token = secrets.token_urlsafe(32)
        expires = None if days is None else Timestamp(seconds=int(time.time() + days * DAY))
        made = self.gateway.create_token(
            messages.CreateTokenRequest(bearer_hash=_hash(token), label=label, scopes=sorted(named), expires=expires)
        )
        if named and not named & SIGNING_SCOPES:
            return made, token
        return made, credentials.with_key(token, credentials.signing_key(self.gateway.profile.token))

    def link(self) -> tuple[messages.Token, str]:
        """A link that signs the caller in to the console once, within ten minutes.

        It holds the caller's key, since what is decided in the console is signed there.

        Raises:
            Problem: UNAVAILABLE "no_console" where the profile does not say where the console is.
        """
        console = self.gateway.profile.console
        if not console:
            raise Problem(
                Kind.UNAVAILABLE,
                "no_console",
                "The profile does not say where the zone's console is.",
                hint=self.gateway.profile.up_hint(),
            )
        made, token = self.create_token("link", days=LINK_MINUTES / (24 * 60))
        return made, f"{console.rstrip('/')}/sign-in#{token}"

    def revoke_token(self, token_id: str) -> messages.Token:
        """Revoke a token of the caller's."""
        return self.gateway.revoke_token(token_id)


def join(base: Profile, secret: str) -> tuple[messages.Person, Profile]:
    """Accept an invitation, with a new token and a key of one's own; the profile of who joined.

    Args:
        base: where the zone is and which CA to trust. Its token counts only for who has joined before and is invited
            again, with other duties or for longer.
        secret: what came with the invitation, or its link.

    Raises:
        Problem: MALFORMED "secret"; others as the zone refuses the invitation.
    """
    signed, key = read_secret(secret)
    token = secrets.token_urlsafe(32)
    certificate = certificates.accept(signed, key, _public(credentials.signing_key(token)))
    request = messages.AcceptInvitationRequest(certificate=certificate, bearer_hash=_hash(token))
    with Gateway(base) as gateway:
        person = gateway.accept_invitation(request)
    with Gateway(replace(base, token=token)) as gateway:
        me = gateway.who_am_i()
    return person, replace(base, token=token, role=me.organisation.kind, name=person.person, path=None)


def read_secret(text: str) -> tuple[messages.SignedInvitation, Ed25519PrivateKey]:
    """The invitation in a secret, or link, and the key that accepts it; raises Problem MALFORMED "secret"."""
    encoded = text.strip().rpartition("#")[2]
    try:
        said = messages.InvitationSecret.FromString(base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
        return said.invitation, Ed25519PrivateKey.from_private_bytes(said.key)
    except (binascii.Error, DecodeError, ValueError) as error:
        raise Problem(
            Kind.MALFORMED,
            "secret",
            "This is no invitation, or not all of it.",
            field="secret",
            hint="copy what `yingbi person invite` printed, from its first character to its last",
        ) from error


def _written(signed: messages.SignedInvitation, secret: Ed25519PrivateKey) -> str:
    said = messages.InvitationSecret(invitation=signed, key=secret.private_bytes_raw())
    return base64.urlsafe_b64encode(said.SerializeToString()).decode().rstrip("=")


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _hash(token: str) -> str:
    return credentials.bearer_hash(credentials.bearer(token))
