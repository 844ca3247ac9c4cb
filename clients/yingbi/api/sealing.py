"""Sealing a program to an enclave: to the encryption key in its evidence, under the cipher suite that it names."""

from __future__ import annotations

from yingbi.api import digests
from yingbi.api.eat import Claims
from yingbi.api.suites import SUITES
from yingbi.api.v1.job_pb2 import SealedProgram


def program_info(plan_hash: bytes) -> bytes:
    """What a sealed program is bound to: the plan that it is for."""
    return digests.digest(digests.PROGRAM, plan_hash)


def seal_program(program: bytes, enclave: Claims, plan_hash: bytes) -> SealedProgram:
    """The program, for this enclave alone, and for this plan alone; raises ValueError where its key is none."""
    sealed = SUITES[enclave.suite].seal(program, enclave.encryption_key, program_info(plan_hash))
    return SealedProgram(node=enclave.node, ciphertext=sealed)
