"""Which zone the console shows, from the file that `yingbi up` writes for it. No secret is in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from yingbi.api.problem import Kind, Problem
from yingbi.profile import Profile


def read_settings(path: Path) -> Profile:
    """A profile of the zone without a token; raises Problem."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
        return Profile(
            document["address"],
            "",
            document["ca_pem"],
            measurement=document.get("measurement"),
            policy=document.get("policy"),
            allow_simulation=document.get("allow_simulation") is True,
            earlier_measurements=tuple(document.get("earlier_measurements", ())),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Problem(Kind.MALFORMED, "settings", f"{path} cannot be read: {error}.") from error
