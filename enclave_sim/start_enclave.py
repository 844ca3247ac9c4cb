"""`python -m enclave_sim.start_enclave FOLDER CA --channel FD --ingest FD --launcher FD`: confined, then an enclave.

The process gives up its rights (`enclave_sim.privilege`) before it loads the enclave's libraries, and before it reads
anything of the folder; only the zone's CA, which is public and lies elsewhere, it reads first.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from pathlib import Path

from enclave_sim import kernel, privilege

log = logging.getLogger("enclave")


def main() -> None:
    """Parse the arguments, give up all rights that are not needed, and serve."""
    # Said again when the process has become another user, which takes it back.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    parser = argparse.ArgumentParser(prog="enclave_sim.start_enclave")
    parser.add_argument("folder", type=Path)
    parser.add_argument("ca", type=Path)
    for name in ("--channel", "--ingest", "--launcher"):
        parser.add_argument(name, type=int, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    name = arguments.folder.absolute().parent.name
    try:
        ca_pem = arguments.ca.read_bytes()
        privileges = privilege.give_up(arguments.folder)
    except OSError as error:
        sys.exit(f"the enclave of {name} refuses to start: {error}")
    level = logging.WARNING if privileges.missing else logging.INFO
    log.log(level, "this process %s", privileges)
    # The engine has a thread for each core already; matrices' own would take turns with them, waiting busily.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # Not before: libraries start threads, which would keep the rights.
    from enclave_sim.enclave_process import Sockets, run

    descriptors = (arguments.channel, arguments.ingest, arguments.launcher)
    run(name, ca_pem, Sockets(*(socket.socket(fileno=number) for number in descriptors)), privileges.held)


if __name__ == "__main__":
    main()
