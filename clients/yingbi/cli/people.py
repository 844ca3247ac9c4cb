"""The commands about organisations, people and tokens. Each reads its arguments, asks the SDK and shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from yingbi.api.problem import Kind, Problem
from yingbi.cli.session import Session, session_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from yingbi.api.v1 import people_pb2
    from yingbi.profile import Profile

Name = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why; it is kept.")]
RealName = Annotated[str, typer.Option(metavar="TEXT", help="The person's name, for people to read.")]
Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Where the new profile goes; by default beside your own.")
]


def register(app: typer.Typer, organisation: typer.Typer, person: typer.Typer, token: typer.Typer) -> None:
    """Add all commands, in the order of the help."""
    organisation.command("list")(list_organisations)
    organisation.command("add")(add_organisation)
    organisation.command("remove")(remove_organisation)
    app.add_typer(organisation, name="organisation")
    person.command("list")(list_people)
    person.command("invite")(invite)
    person.command("join")(join)
    person.command("remove")(remove_person)
    app.add_typer(person, name="person")
    token.command("list")(list_tokens)
    token.command("create")(create_token)
    token.command("link")(link)
    token.command("revoke")(revoke_token)
    app.add_typer(token, name="token")
    app.command()(whoami)


def whoami(context: typer.Context) -> None:
    """Say who you are, and what your token may do."""
    session = session_of(context)
    with session.zone() as zone:
        me = zone.people.me()
    document = {
        **_person_json(me.person),
        "kind": me.organisation.kind,
        "scopes": list(me.scopes),
        "expires": _iso(me, "expires"),
    }
    duties = ", ".join(me.person.duties) or "no duty"
    limits = f"; this token is for {', '.join(me.scopes)}" if me.scopes else ""
    until = f", until {_iso(me, 'expires')}" if me.HasField("expires") else ""
    session.terminal.show(
        document, f"{me.person.person} of the {me.organisation.kind} {me.person.organisation}: {duties}{limits}{until}"
    )


def list_organisations(context: typer.Context) -> None:
    """List the zone's organisations."""
    session = session_of(context)
    with session.zone() as zone:
        found = zone.people.organisations()
    from yingbi.cli import render

    rows = [(each.organisation, each.kind, each.title, "left" if each.left else "") for each in found]
    header = [(name, False) for name in ("organisation", "kind", "title", "")]
    session.terminal.show({"organisations": [*map(_organisation_json, found)]}, render.grid(header, rows))


def add_organisation(
    context: typer.Context,
    name: Name,
    kind: Annotated[
        str,
        typer.Option(help="developer, operator, auditor or coordinator; providers and supervisors come with the zone."),
    ],
    title: Annotated[str, typer.Option(metavar="TEXT", help="Its name, for people to read.")] = "",
    person: Annotated[str, typer.Option(metavar="NAME", help="Its first account; by default called as it is.")] = "",
    real_name: RealName = "",
    out: Out = None,
) -> None:
    """File an organisation with its first account, as the coordinator."""
    session = session_of(context)
    with session.zone("coordinator") as zone:
        path = _free(out, zone.profile, person or name)
        filed, profile = zone.people.file_organisation(name, kind, person=person, title=title, real_name=real_name)
    _write(path, profile)
    said = (
        f"{name} is filed. {path} is the profile of its first account and holds its key: hand it over, and keep none."
    )
    if kind == "operator":
        said += "\nIt operates nothing before it has an operating agreement: `yingbi operator notice`, then `apply`."
    session.terminal.show({**_organisation_json(filed), "profile": str(path)}, said)


def remove_organisation(context: typer.Context, name: Name, reason: Reason, yes: Yes = False) -> None:
    """Remove an organisation with all its people, as the coordinator: at once, and for good."""
    session = session_of(context)
    with session.zone("coordinator") as zone:
        if not yes:
            question = f"Remove {name} with all its people, for good?"
            session.terminal.confirm(question, to_do=f"remove {name} for good", otherwise=f"{name} stays as it was.")
        removed = zone.people.remove_organisation(name, reason)
        # Others ask for nothing that nodes would be told to stop.
        found = zone.stops(name) if removed.kind == "developer" else []
        stopped = [each for each in found if each.scope == "organisation"][:1]
    document = {**_organisation_json(removed), **({"stops": [each.to_json() for each in stopped]} if stopped else {})}
    said = [f"{name} is removed, with all its people.", *map(str, stopped)]
    session.terminal.show(document, "\n".join(said))


def list_people(
    context: typer.Context,
    organisation: Annotated[str, typer.Option(metavar="NAME", help="By default all whom you may see.")] = "",
) -> None:
    """List people: those of your organisation, or of all where you watch over them."""
    session = session_of(context)
    with session.zone() as zone:
        found = [_person_json(each) for each in zone.people.list_people(organisation)]
    from yingbi.cli import render

    rows = [
        (each["person"], each["real_name"], each["organisation"], ", ".join(each["duties"]), each["state"])
        for each in found
    ]
    header = [(name, False) for name in ("person", "name", "organisation", "duties", "state")]
    session.terminal.show({"people": found}, render.grid(header, rows))


def invite(
    context: typer.Context,
    name: Name,
    duty: Annotated[list[str], typer.Option(metavar="DUTY", help="What the person is for; once for each duty.")],
    real_name: RealName = "",
    days: Annotated[float, typer.Option(help="For how long it can be accepted.")] = 7,
    certificate_days: Annotated[float, typer.Option(help="For how long what the person signs counts.")] = 365,
    key_of: Annotated[
        str | None,
        typer.Option(metavar="PROFILE", help="Whose profile holds the organisation's key; by default yours."),
    ] = None,
) -> None:
    """Invite a person to your organisation, as its administrator."""
    session = session_of(context)
    from yingbi import profile
    from yingbi.api import credentials

    key = None if key_of is None else credentials.signing_key(profile.locate(role=key_of).token)
    with session.zone() as zone:
        invited = zone.people.invite(
            name, duty, real_name=real_name, days=days, certificate_days=certificate_days, key=key
        )
    document = {
        **_person_json(invited.person),
        "secret": invited.secret,
        "link": invited.link,
        "expires": invited.expires.ToJsonString(),
    }
    lines = [
        f"{name} is invited until {invited.expires.ToDatetime():%Y-%m-%d %H:%M} UTC. Whoever has this can join as "
        f"{name}: give it to nobody else.",
        *([f"  {invited.link}"] if invited.link else []),
        f"  yingbi person join {invited.secret}",
    ]
    session.terminal.show(document, "\n".join(lines))


def join(
    context: typer.Context,
    secret: Annotated[str, typer.Argument(metavar="SECRET", help="What the invitation says.", show_default=False)],
    out: Out = None,
) -> None:
    """Accept an invitation: makes your key and your profile."""
    session = session_of(context)
    from yingbi import people

    base = _base(session)
    invited, _ = people.read_secret(secret)
    path = _free(out, base, _named(invited))
    person, profile = people.join(base, secret)
    _write(path, profile)
    session.terminal.show(
        {**_person_json(person), "profile": str(path)},
        f"You are {person.person} of {person.organisation}: {', '.join(person.duties)}. Your profile is {path}; "
        f"commands take `--as {path.stem}`.",
    )


def remove_person(context: typer.Context, name: Name, reason: Reason) -> None:
    """Remove a person of your organisation, as its administrator: at once, and for good."""
    session = session_of(context)
    with session.zone() as zone:
        removed = zone.people.remove(name, reason)
    session.terminal.show(_person_json(removed), f"{name} is removed, with all tokens.")


def list_tokens(context: typer.Context) -> None:
    """List your tokens; none is shown itself."""
    session = session_of(context)
    with session.zone() as zone:
        found = [_token_json(each) for each in zone.people.tokens()]
    from yingbi.cli import render

    rows = [
        (
            each["token_id"],
            each["label"],
            ", ".join(each["scopes"]) or "everything",
            "revoked" if each["revoked"] else each["expires"] or "",
            each["last_used"] or "",
        )
        for each in found
    ]
    header = [(name, False) for name in ("token", "label", "for", "until", "last used")]
    session.terminal.show({"tokens": found}, render.grid(header, rows))


def create_token(
    context: typer.Context,
    label: Annotated[str, typer.Option(metavar="TEXT", help="What it is for, for you to read.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="read, ask, decide or administer; once for each. By default all that you may."),
    ] = None,
    days: Annotated[float | None, typer.Option(help="For how long; by default as long as you are there.")] = None,
) -> None:
    """Make a further token of your own; it is printed once."""
    session = session_of(context)
    with session.zone() as zone:
        made, token = zone.people.create_token(label, scopes=scope or (), days=days)
    session.terminal.show({**_token_json(made), "token": token}, token)


def link(context: typer.Context) -> None:
    """Print a link that signs you in to the console, once, within ten minutes."""
    session = session_of(context)
    with session.zone() as zone:
        made, address = zone.people.link()
    session.terminal.show({**_token_json(made), "link": address}, address)


def revoke_token(
    context: typer.Context,
    token: Annotated[str, typer.Argument(metavar="TOKEN_ID", help="As `token list` shows it.", show_default=False)],
) -> None:
    """Revoke a token of your own, at once."""
    session = session_of(context)
    with session.zone() as zone:
        revoked = zone.people.revoke_token(token)
    session.terminal.show(_token_json(revoked), f"{token} is revoked.")


def _base(session: Session) -> Profile:
    """Where the zone is; a CA of one's own needs no token here, since one is only being made."""
    from yingbi import profile

    common = session.common
    token = common.token or ("none yet" if common.ca else None)
    return profile.locate(common.zone, token, common.ca, role=common.profile or "developer")


def _named(invited: people_pb2.SignedInvitation) -> str:
    """The person's name as the invitation says it, as part of a path."""
    from yingbi.api.v1.people_pb2 import Invitation

    name = Invitation.FromString(invited.body).person
    if not name or not all(part.isalnum() for part in name.split("-")):
        raise Problem(Kind.MALFORMED, "secret", f"The invitation is for {name!r}, which is no name.", field="secret")
    return name


def _free(out: Path | None, base: Profile, name: str) -> Path:
    """Where the new profile goes, before anything is asked for; raises Problem where there is another's already."""
    path = out or (base.path.with_name(f"{name}.json") if base.path else Path(f"{name}.json"))
    # Who is invited again goes on with a new profile in place of the old one, whose token ends.
    if path.exists() and path != base.path:
        raise Problem(Kind.MALFORMED, "file", f"There is a file {str(path)!r} already.", field="out", hint="--out FILE")
    return path


def _write(path: Path, profile: Profile) -> None:
    from yingbi.profile import write

    write(path, profile)


def _organisation_json(organisation: people_pb2.Organisation) -> dict[str, Any]:
    return {
        "organisation": organisation.organisation,
        "kind": organisation.kind,
        "title": organisation.title,
        "key": organisation.key.hex(),
        "filed": _iso(organisation, "filed"),
        "left": organisation.left,
    }


def _person_json(person: people_pb2.Person) -> dict[str, Any]:
    from yingbi.api.v1.people_pb2 import PersonState

    return {
        "person": person.person,
        "organisation": person.organisation,
        "real_name": person.real_name,
        "duties": list(person.duties),
        "state": PersonState.Name(person.state).removeprefix("PERSON_STATE_").lower(),
        "filed": _iso(person, "filed"),
        "key": person.key.hex(),
    }


def _token_json(token: people_pb2.Token) -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "label": token.label,
        "scopes": list(token.scopes),
        "created": _iso(token, "created"),
        "expires": _iso(token, "expires"),
        "last_used": _iso(token, "last_used"),
        "revoked": token.revoked,
    }


def _iso(message: Any, name: str) -> str | None:
    time: Timestamp = getattr(message, name)
    return time.ToJsonString() if message.HasField(name) else None
