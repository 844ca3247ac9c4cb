"""`yingbi policy show`: who may do what, from the one table that the gateway asks; needs no zone."""

from __future__ import annotations

from typing import Any

import typer


def register(host: Any) -> None:
    """Add the command to `host`."""
    policy = typer.Typer(help="Say who may do what.", no_args_is_help=True)

    @policy.command("show")
    def show() -> None:
        """Print who may do what, and what tokens with a scope can be used for."""
        host.show(document(), text())

    host.app.add_typer(policy, name="policy")


def document() -> dict[str, Any]:
    """The table, for scripts."""
    from gateway.governance.callers import DUTIES
    from gateway.governance.policy import OPERATING, SCOPES, TABLE

    return {
        "actions": [
            {
                "action": action.name.lower(),
                "meaning": action.value,
                "who": [{"kind": kind.value, "duty": duty.value} for kind, duty in who if duty in DUTIES[kind]],
                "scopes": [scope.value for scope, actions in SCOPES.items() if action in actions],
                "needs_operating_agreement": action in OPERATING,
            }
            for action, who in TABLE.items()
        ],
        "duties": {kind.value: sorted(duties) for kind, duties in DUTIES.items()},
    }


def text() -> str:
    """The table, for people: an action a paragraph."""
    from gateway.governance.callers import Duty, Role
    from gateway.governance.policy import with_article

    lines = []
    for row in document()["actions"]:
        kinds = sorted({each["kind"] for each in row["who"]})
        duties = {each["duty"] for each in row["who"]}
        if len(kinds) == len(Role):
            who = "everybody with a duty" if len(duties) == len(Duty) else f"the {min(duties)} of every organisation"
        else:
            who = ", ".join(f"{with_article(each['kind'])}'s {each['duty']}" for each in row["who"])
        lines += [row["meaning"], f"    {who}"]
        if row["needs_operating_agreement"]:
            lines.append("    of an operator only while its operating agreement is in force")
        lines += [f"    tokens for {', '.join(row['scopes'])}", ""]
    return "\n".join(lines)
