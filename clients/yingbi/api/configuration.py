"""How an enclave's process is confined, as its evidence says it: short texts, each of which held when it was tried."""

from __future__ import annotations

from typing import Final

OWN_USER: Final = "own user"
NO_CAPABILITIES: Final = "no capabilities"
NO_NEW_PRIVILEGES: Final = "no new privileges"
NOT_DUMPABLE: Final = "not dumpable"
NO_CORE_DUMPS: Final = "no core dumps"
OWN_NETWORK: Final = "own network namespace"
OWN_FILES: Final = "own files alone"
SYSTEM_CALLS: Final = "system calls of a list"
LOCKED_MEMORY: Final = "memory not swapped"

MEASURES: Final = (
    OWN_USER,
    NO_CAPABILITIES,
    NO_NEW_PRIVILEGES,
    NOT_DUMPABLE,
    NO_CORE_DUMPS,
    OWN_NETWORK,
    OWN_FILES,
    SYSTEM_CALLS,
    LOCKED_MEMORY,
)
"""What an enclave's process gives up on a machine that lets it."""

SANDBOX: Final = "sandbox "
"""Before the hexadecimal digest of what isolates programs there, once a sandbox has proven it."""

MOST_FACTS: Final = 64
LONGEST_FACT: Final = 200
