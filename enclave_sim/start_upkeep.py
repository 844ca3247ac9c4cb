"""`python -m enclave_sim.start_upkeep WHAT FOLDER CA`: confined as an enclave is, then `enclave_sim.upkeep`.

It opens the root as the enclave does, and reads what other people sent. So whatever comes in, and whatever a link in
the folder leads to, it has the enclave's folder and nothing else of the machine, though root may have started it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from enclave_sim import privilege


def main() -> None:
    """Parse the arguments, give up all rights that are not needed, and do one thing."""
    parser = argparse.ArgumentParser(prog="enclave_sim.start_upkeep")
    parser.add_argument("action")
    parser.add_argument("folder", type=Path)
    parser.add_argument("ca", type=Path)
    arguments = parser.parse_args()
    try:
        ca_pem = arguments.ca.read_bytes()
        privilege.give_up(arguments.folder)
    except OSError as error:
        sys.exit(str(error))
    # Not before: libraries start threads, which would keep the rights.
    from enclave_sim.upkeep import run

    run(arguments.action, ca_pem)


if __name__ == "__main__":
    main()
