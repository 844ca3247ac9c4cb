"""No socket of any family can be made, so that nothing is sent, received, or asked of the kernel through one."""

from __future__ import annotations

import pytest

from enclave_sim.sandbox import Sandbox
from tests.attacks.programs.attempts import FAILED, SUCCEEDED, inside, program, without_sandbox

FAMILIES = {
    "TCP": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
    "TCP over IPv6": "socket.socket(socket.AF_INET6, socket.SOCK_STREAM)",
    "UDP": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "Unix": "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
    "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
    "a pair": "socket.socketpair()",
}
# Families that this kernel or user may not have: then they show nothing without the sandbox either.
RARE = {
    "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
    "packet": "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "raw IP": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "kernel crypto": "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
}
LOOPBACK = """
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname(), timeout=2) as there:
            here, _ = server.accept()
            here.sendall(b"1")
            return there.recv(1) == b"1"
"""
ABSTRACT = """
    name = b"\\0yingbi-attack"
    family, kind = socket.AF_UNIX, socket.SOCK_DGRAM
    with socket.socket(family, kind) as one, socket.socket(family, kind) as two:
        one.bind(name)
        two.sendto(b"1", name)
        return one.recv(1) == b"1"
"""
# Every family by number, as raw calls: the only errors are EPERM.
EVERY_FAMILY = """
    for family in range(64):
        for kind in (1, 2, 3, 5):
            if syscall(41, family, kind, 0) >= 0 or ctypes.get_errno() != errno.EPERM: return True
    return False
"""


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
def test_sockets(sandbox: Sandbox, family: str) -> None:
    source = program(f"return {family} is not None")
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]


@pytest.mark.parametrize("family", RARE.values(), ids=RARE.keys())
def test_sockets_that_not_every_machine_has(sandbox: Sandbox, family: str) -> None:
    source = program(f"return {family} is not None")
    if without_sandbox(source) != [SUCCEEDED]:
        pytest.skip("not to be had on this machine")
    assert inside(sandbox, source) == [FAILED]


@pytest.mark.parametrize("attempt", [LOOPBACK, ABSTRACT, EVERY_FAMILY], ids=["loopback", "abstract", "every family"])
def test_talking(sandbox: Sandbox, attempt: str) -> None:
    source = program(attempt)
    assert without_sandbox(source) == [SUCCEEDED]
    assert inside(sandbox, source) == [FAILED]
